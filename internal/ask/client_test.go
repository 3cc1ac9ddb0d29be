package ask

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// brokers answer from fields.
type brokers struct {
	kafka.Operator
	group     kafka.GroupState
	committed int64
	produce   func() error
}

func (b *brokers) Members(context.Context, string) (int, bool, error) { return 1, true, nil }

func (b *brokers) Topics(_ context.Context, names ...string) (map[string]kafka.TopicState, error) {
	all := map[string]kafka.TopicState{}
	for _, n := range names {
		all[n] = kafka.TopicState{Partitions: 1}
	}
	return all, nil
}

func (b *brokers) Ends(_ context.Context, _ kafka.Isolation, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return map[kafka.TopicPartition]int64{tps[0]: 0}, nil
}

func (b *brokers) Group(context.Context, string) (kafka.GroupState, error) { return b.group, nil }

func (b *brokers) CommittedOffsets(_ context.Context, _ string, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	return map[kafka.TopicPartition]kafka.Position{tps[0]: {Offset: b.committed}}, nil
}

func (b *brokers) Produce(_ context.Context, _ []string, out *kafka.Outputs) ([]int64, error) {
	if b.produce != nil {
		return nil, b.produce()
	}
	return make([]int64, out.Len()), nil
}

// replies is a reader that is given what it reads, or its end.
type replies struct {
	batches chan *kafka.Batch
	fail    chan error
	closed  chan struct{}
}

func newReplies() *replies {
	return &replies{make(chan *kafka.Batch, 1), make(chan error, 1), make(chan struct{})}
}

func (r *replies) Assign(kafka.TopicPartition, int64) error { return nil }
func (r *replies) Remove(kafka.TopicPartition) error        { return nil }
func (r *replies) Close() error                             { close(r.closed); return nil }

func (r *replies) Poll(wait time.Duration) (*kafka.Batch, error) {
	select {
	case b := <-r.batches:
		return b, nil
	case err := <-r.fail:
		return nil, err
	case <-time.After(wait):
		return nil, nil //nolint:nilnil // nothing came
	}
}

func doubling(t *testing.T) plan.Request {
	t.Helper()
	topo := topology.New("asked")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	topology.Answer(topo, "double", in, func(_ *topology.Context, e topology.Event[string, int64]) (int64, error) { return 2 * e.Value, nil }, codec.Int64)
	p, err := topo.Plan()
	require.NoError(t, err)
	for _, a := range p.Agents {
		if a.Name == "double" {
			return plan.Request{Plan: p, Agent: a, Key: []byte("k"), Value: make([]byte, 8)}
		}
	}
	require.FailNow(t, "there is no agent double")
	return plan.Request{}
}

// What keeps an answer from coming is told apart by who has the partition, whether he is there, and how far he is.
func TestWhyThereIsNoAnswer(t *testing.T) {
	t.Parallel()
	listen := func() net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return l
	}
	listener, shut := listen(), listen()
	there := "troupe-a@http://" + listener.Addr().String()
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	gone := "troupe-a@http://" + shut.Addr().String()
	require.NoError(t, shut.Close())
	rq := doubling(t)
	slots := kafka.NewSlotMap("asked")
	missing, faults := slots.Plan([]kafka.StageSize{{Key: rq.Plan.Stages[rq.Agent.Stage].Key, Partitions: 1}})
	require.Empty(t, faults)
	for _, e := range missing {
		require.NoError(t, slots.Fold(e.Encode()))
	}
	owner := func(client string) []kafka.GroupMember {
		return []kafka.GroupMember{{Instance: "a", Client: client, Assigned: []kafka.TopicPartition{{Topic: "asked-slots", Partition: missing[0].Slot}}}}
	}
	for name, c := range map[string]struct {
		members   []kafka.GroupMember
		looked    error
		committed int64
		is        error
		says      string
	}{
		"no nodes any more":        {is: topology.ErrNotRunning, says: "the request in/0 waits for a node"},
		"nobody has the partition": {members: []kafka.GroupMember{{Instance: "b"}}, is: topology.ErrDeadOwner, says: "nobody has the partition in/0 at the moment; 1 nodes are left"},
		"the owner is gone":        {members: owner(gone), is: topology.ErrDeadOwner, says: "a has the partition in/0"},
		"the owner is behind":      {members: owner(there), committed: 4, is: topology.ErrSlow, says: "is 3 offsets before the request"},
		"the owner is at it":       {members: owner(there), committed: 7, is: topology.ErrSlow, says: "comes to the request next, or is at it"},
		"the owner has passed it":  {members: owner(there), committed: 8, is: topology.ErrSlow, says: "does it run a version in which this agent answers?"},
		"he has no address":        {members: owner("troupe-a"), committed: 7, is: topology.ErrSlow, says: "node a has the partition in/0"},
		"nobody can be asked":      {looked: errors.New("no broker"), is: topology.ErrSlow, says: "why is not known: no broker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := New(&brokers{committed: c.committed}, nil)
			defer func() { require.NoError(t, client.Close()) }()
			client.looks["asked"] = &look{at: time.Now().Add(time.Hour), group: kafka.GroupState{Members: c.members}, slots: slots, err: c.looked, alive: map[string]error{}}
			a := &asking{rq: rq, tp: kafka.TopicPartition{Topic: "in"}, offset: 7}
			err := client.why(t.Context(), a)
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// asks sends a request, and returns what comes of it.
func asks(ctx context.Context, t *testing.T, c *Client, rq plan.Request) chan error {
	t.Helper()
	got := make(chan error, 1)
	require.NoError(t, c.Request(ctx, rq, func(_ []byte, err error) { got <- err }))
	return got
}

// onlyWaiting is the id of the one request that waits.
func (c *Client) onlyWaiting() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.waiting))[0]
}

// A reader of answers that fails is told to those who wait, and the next ask opens another one.
func TestAReaderThatFails(t *testing.T) {
	t.Parallel()
	first, second := newReplies(), newReplies()
	readers := []*replies{first, second}
	client := New(&brokers{}, func() (kafka.Reader, error) {
		r := readers[0]
		readers = readers[1:]
		return r, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rq := doubling(t)
	got := asks(ctx, t, client, rq)
	first.fail <- errors.New("the connection is gone")
	require.ErrorContains(t, <-got, "answers cannot be read any more: the connection is gone")
	<-first.closed

	got = asks(ctx, t, client, rq)
	id := client.onlyWaiting()
	b := &kafka.Batch{Topic: "asked-replies"}
	b.Append(0, 0, []byte("other"), nil, kafka.AppendHeaders(nil, kafka.Header{Key: kafka.ReplyHeader, Value: []byte(`{"id":"of another client"}`)}))
	b.Append(1, 0, []byte(id), make([]byte, 8), kafka.AppendHeaders(nil, kafka.Header{Key: kafka.ReplyHeader, Value: []byte(`{"id":"` + id + `"}`)}))
	second.batches <- b
	require.NoError(t, <-got)
	require.NoError(t, client.Close())
	<-second.closed
	require.ErrorIs(t, client.Request(ctx, rq, nil), topology.ErrAskerClosed)
}

// A request that no broker has acknowledged is not said to wait anywhere, and one that a broker refuses fails at once.
func TestARequestThatIsNotWritten(t *testing.T) {
	t.Parallel()
	answered := make(chan error, 1)
	client := New(&brokers{produce: func() error { return <-answered }}, func() (kafka.Reader, error) { return newReplies(), nil })
	defer func() { require.NoError(t, client.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := <-asks(ctx, t, client, doubling(t))
	require.ErrorContains(t, err, "the request is not known to be written: no broker has acknowledged it")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	answered <- errors.New("too late")

	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := asks(ctx, t, client, doubling(t))
	answered <- kafka.ErrDenied
	err = <-got
	require.ErrorContains(t, err, "send the request: ")
	require.ErrorIs(t, err, kafka.ErrDenied)
}
