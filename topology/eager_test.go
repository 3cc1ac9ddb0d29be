package topology_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// eager is a topology with an agent whose handler asks another one of its partition, which counts in a table of theirs.
type eager struct {
	t             *topology.Topology
	in, questions *topology.Topic[string, string]
	out           *topology.Topic[string, string]
	counts        *topology.Table[string, int64]
	judge         *topology.AgentRef[string, string, string]
	d             *topologytest.Driver
	deadline      time.Duration
	update        func(value string) error // in the table
}

func newEager(t *testing.T, opts ...topology.AgentOption) *eager {
	t.Helper()
	x := &eager{t: topology.New("eager"), deadline: time.Minute, update: func(string) error { return nil }}
	x.in, x.questions, x.out = topology.NewTopic(x.t, "in", codec.String, codec.String), topology.NewTopic(x.t, "questions", codec.String, codec.String), topology.NewTopic(x.t, "out", codec.String, codec.String)
	x.counts = topology.NewTable(x.t, "counts", codec.String, codec.Int64)
	x.judge = topology.Answer(x.t, "judge", x.questions, func(ctx *topology.Context, e event) (string, error) {
		n, _, err := x.counts.Get(ctx, e.Key)
		x.counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, x.update(e.Value) })
		return fmt.Sprint(e.Value, " ", n+1), err
	}, codec.String, append(opts, topology.Writes(x.counts))...)
	topology.Each(x.t, "ask", x.in, func(ctx *topology.Context, e event) error {
		within, cancel := context.WithTimeout(ctx, x.deadline)
		defer cancel()
		answer, err := x.judge.Ask(within, x.d, e.Key, e.Value)
		x.counts.Update(ctx, "asked "+e.Key, func(old int64, _ bool) (int64, error) { return old + 1, x.update("asker of " + e.Value) })
		x.out.Send(ctx, e.Key, answer)
		return err
	}, topology.Writes(x.counts), topology.Sends(x.out))
	return x
}

func (x *eager) start(t *testing.T, opts ...topologytest.Option) {
	t.Helper()
	x.d = topologytest.New(t, x.t, append(opts, topologytest.Partitions(1))...)
}

// A handler asks an eager agent of its own partition, and both have their effects once.
func TestAnEagerAgentOfOnesOwnPartition(t *testing.T) {
	t.Parallel()
	x := newEager(t, topology.Eager())
	x.start(t)
	for i := range 3 {
		topologytest.Pipe(x.d, x.in, "k", fmt.Sprint("q", i))
	}
	require.Equal(t, []string{"q0 1", "q1 2", "q2 3"}, values(x.d, x.out))
	require.Equal(t, map[string]int64{"k": 3, "asked k": 3}, topologytest.Table(x.d, x.counts))
	require.Empty(t, x.d.Failures())
	early, late := 0, 0
	for _, b := range x.d.Records("eager-replies") {
		for i := range b.Records {
			if kafka.ParseReply(b.RawHeaders(i)).Early {
				early++
			} else {
				late++
			}
		}
	}
	require.Equal(t, []int{3, 3}, []int{early, late}, "each is answered at once, and again with its commit")
}

// Without Eager it is refused, at once.
func TestAnAgentOfOnesOwnPartitionThatIsNotEager(t *testing.T) {
	t.Parallel()
	x := newEager(t)
	x.t.OnFailure(topology.Policy{Attempts: 1})
	x.start(t)
	topologytest.Pipe(x.d, x.in, "k", "q")
	require.Len(t, x.d.Failures(), 1)
	require.ErrorIs(t, x.d.Failures()[0], topology.ErrOwnPartition)
	require.Empty(t, topologytest.Read(x.d, x.questions))
}

// Where records go one by one, because a function inside the table has failed, a handler that waits does not hold up what it waits for; and the record at
// fault is found, whether it is that of the one or of the other.
func TestEagerAgentsOneByOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		poison string
		out    []string
		failed map[string]int // dead letters, by agent; at least so many
	}{
		{"asker of q1", []string{"q0 1", "q2"}, map[string]int{"ask": 1}},
		{"q1", []string{"q0 1", "q2"}, map[string]int{"ask": 1, "judge": 1}}, // its answers are taken back, so the handler that asks fails with what it asks for
	} {
		t.Run(c.poison, func(t *testing.T) {
			t.Parallel()
			x := newEager(t, topology.Eager())
			x.t.OnFailure(topology.Policy{Attempts: 2})
			x.start(t)
			x.update = func(v string) error {
				if v == c.poison {
					return errors.New("poison")
				}
				return nil
			}
			for i := range 3 {
				topologytest.Pipe(x.d, x.in, "k", fmt.Sprint("q", i))
			}
			questions := topologytest.Read(x.d, x.questions)
			var good int64
			for _, q := range questions {
				if q.Value != c.poison {
					good++
				}
			}
			rows := topologytest.Table(x.d, x.counts)
			require.Equal(t, good, rows["k"], "each question counts once, however often it was asked: %v", questions)
			require.Equal(t, int64(len(c.out)), rows["asked k"])
			failed := map[string]int{}
			for _, b := range x.d.Records("eager-dead-letters") {
				for i := range b.Records {
					l, _, _, err := kafka.ParseLetter(b.RawHeaders(i))
					require.NoError(t, err)
					failed[l.Agent]++
				}
			}
			require.Len(t, failed, len(c.failed))
			for agent, n := range c.failed {
				require.GreaterOrEqual(t, failed[agent], n)
			}
			require.Equal(t, 1, failed["ask"])
			got := values(x.d, x.out)
			require.Len(t, got, len(c.out))
			for i, want := range c.out {
				require.Contains(t, got[i], want)
			}
		})
	}
}

// A request that is given up is answered with the commit, for which nobody has to wait; one that stops the partition is not answered.
func TestAnEagerAgentThatGivesUp(t *testing.T) {
	t.Parallel()
	for _, then := range []topology.Decision{topology.DeadLetter, topology.Skip, topology.StopPartition} {
		topo := topology.New("eager")
		in, questions := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "questions", codec.String, codec.String)
		rows := topology.NewTable(topo, "rows", codec.String, codec.String)
		judge := topology.Answer(topo, "judge", questions, func(*topology.Context, event) (string, error) {
			return "", topology.Permanent(errors.New("no"))
		}, codec.String, topology.Eager(), topology.Writes(rows), topology.OnFailure(topology.Policy{Then: then}))
		var d *topologytest.Driver
		var got error
		topology.Each(topo, "ask", in, func(ctx *topology.Context, e event) error {
			within, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			_, got = judge.Ask(within, d, e.Key, e.Value)
			return nil
		}, topology.Writes(rows))
		d = topologytest.New(t, topo, topologytest.Partitions(1))
		topologytest.Pipe(d, in, "k", "q")
		if then == topology.StopPartition {
			require.ErrorIs(t, got, topology.ErrSlow)
			continue
		}
		var failed *topology.AskError
		require.ErrorAs(t, got, &failed)
		require.Equal(t, then == topology.DeadLetter, failed.Letter)
	}
}

// Whoever waits must not be what is waited for, in whatever way.
func TestWhoCannotAskItsOwnPartition(t *testing.T) {
	t.Parallel()
	topo := topology.New("own")
	topic := func(name string) *topology.Topic[string, string] {
		return topology.NewTopic(topo, name, codec.String, codec.String)
	}
	a, b, c := topic("a"), topic("b"), topic("c")
	rows := topology.NewTable(topo, "rows", codec.String, codec.String)
	pipe := topology.NewChannel[string, string](topo, "pipe")
	var d *topologytest.Driver
	var asks map[string]func(ctx context.Context) error
	var got []error
	handle := func(name string) func(*topology.Context, event) (string, error) {
		return func(ctx *topology.Context, e event) (string, error) {
			if ask := asks[name+" "+e.Value]; ask != nil {
				within, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				got = append(got, ask(within))
			}
			return name, nil
		}
	}
	options := []topology.AgentOption{topology.Eager(), topology.Writes(rows), topology.OnFailure(topology.Policy{Attempts: 1})}
	first := topology.Answer(topo, "first", a, handle("first"), codec.String, options...)
	second := topology.Answer(topo, "second", b, handle("second"), codec.String, options...)
	beside := topology.Answer(topo, "beside", a, handle("beside"), codec.String, options...)
	topology.Each(topo, "into", c, func(ctx *topology.Context, e event) error {
		pipe.Send(ctx, e.Key, e.Value)
		return nil
	}, topology.Sends(pipe), topology.Writes(rows))
	topology.Each(topo, "fed", pipe, func(ctx *topology.Context, e event) error {
		_, err := handle("fed")(ctx, e)
		return err
	}, topology.Writes(rows))
	asks = map[string]func(context.Context) error{
		"first itself": func(ctx context.Context) error { _, err := first.Ask(ctx, d, "k", ""); return err },
		"first topic":  func(ctx context.Context) error { _, err := beside.Ask(ctx, d, "k", ""); return err },
		"first round":  func(ctx context.Context) error { _, err := second.Ask(ctx, d, "k", "back"); return err },
		"second back":  func(ctx context.Context) error { _, err := first.Ask(ctx, d, "k", ""); return err },
		"fed channel":  func(ctx context.Context) error { _, err := second.Ask(ctx, d, "k", ""); return err },
	}
	d = topologytest.New(t, topo, topologytest.Partitions(1))
	for value, want := range map[string]string{
		"itself": "agent first would wait for itself", "topic": "both read topic a", "round": "agent first would wait for itself", "channel": "agent fed reads channel pipe",
	} {
		got = nil
		topologytest.Pipe(d, a, "k", value)
		topologytest.Pipe(d, c, "k", value)
		require.NotEmpty(t, got, value)
		require.ErrorIs(t, got[0], topology.ErrOwnPartition, value)
		require.ErrorContains(t, got[0], want)
		if value == "round" {
			require.Len(t, got, 2)
			require.NoError(t, got[1], "the one that is asked has answered, for all its own ask was refused")
		}
	}
}

func TestEagerIsForAgentsThatAnswer(t *testing.T) {
	t.Parallel()
	topo := topology.New("t")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.Each(topo, "silent", in, func(*topology.Context, event) error { return nil }, topology.Eager())
	_, err := topo.Plan()
	require.ErrorContains(t, err, "agent silent is declared Eager, and answers nobody")
}
