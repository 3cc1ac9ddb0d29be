package actors

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// stateOf is a running partition of the stage that reads in, changed before it begins.
func stateOf(t *testing.T, topo *topology.Topology, meta kafka.Meta, change ...func(*partitionState)) *partitionState {
	t.Helper()
	p, err := topo.Plan()
	require.NoError(t, err)
	var stage *plan.Stage
	for _, x := range p.Stages {
		if x.Key == "in" {
			stage = x
		}
	}
	require.NotNil(t, stage)
	grant := kafka.Grant{Slot: 1, Incarnation: 1}
	if meta.Seq > 0 {
		grant.Sources = []kafka.Position{{TopicPartition: kafka.TopicPartition{Topic: "in"}, Metadata: meta.Encode()}}
	}
	env := &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
	s, err := newPartitionState(p, stage, 0, grant, env, []startAt{{first: 0, end: 100_000}}, "test", time.UnixMilli(1_700_000_000_000),
		func(plan.Backoff, int) time.Duration { return time.Minute })
	require.NoError(t, err)
	for _, f := range change {
		f(s)
	}
	s.start()
	for i := range stage.Tables {
		s.step(ShardReady{Table: i})
	}
	return s
}

// works are the works among what a partition asks for, by agent.
func worksOf(s *partitionState, out []any, agent string) (works []Work) {
	for _, x := range out {
		to, ok := x.(toAgent)
		if !ok || s.agents[to.agent].agent.Name != agent {
			continue
		}
		if w, ok := to.msg.(Work); ok {
			works = append(works, w)
		}
	}
	return works
}

// Parked records are tried again however many there are.
func TestParkedRecordsOfLanesAreTriedAgain(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.Each(topo, "work", in, func(*topology.Context, topology.Event[string, string]) error { return nil },
		topology.Concurrency(4), topology.OnFailure(topology.Policy{KeyOrder: true, Attempts: 5}))
	s := stateOf(t, topo, kafka.Meta{})
	const n = 1000
	b := &kafka.Batch{Topic: "in", Next: n}
	for i := range int64(n) {
		b.Append(i, 1, fmt.Appendf(nil, "k%d", i), []byte("v"), nil)
	}
	todo := worksOf(s, s.step(Arrived{0, b}), "work")
	failed := map[int64]int{}
	done := 0
	for range 100_000 {
		if len(todo) == 0 {
			if todo = worksOf(s, s.step(Wake{s.now}), "work"); len(todo) > 0 { // a new incarnation
				continue
			}
			if todo = worksOf(s, s.step(Wake{s.now.Add(time.Hour)}), "work"); len(todo) == 0 {
				break
			}
		}
		w := todo[0]
		todo = todo[1:]
		if w.Incarnation != s.agents[0].incarnation {
			continue
		}
		ok := 0
		bad := false
		for _, r := range w.Records {
			off := r.B.Records[r.I].Offset
			if off%2 == 0 && off < 600 && failed[off] == 0 { // fails once
				failed[off]++
				bad = true
				break
			}
			ok++
		}
		var out []any
		if ok > 0 || !bad {
			done += ok
			out = append(out, s.step(Worked{Agent: 0, Incarnation: w.Incarnation, Work: w.ID, Done: ok, Finished: !bad})...)
		}
		if bad {
			out = append(out, s.step(AgentFailed{Agent: 0, Incarnation: w.Incarnation, Work: w.ID, Done: ok, Turn: 1, Err: fmt.Errorf("away")})...)
		}
		todo = append(todo, worksOf(s, out, "work")...)
	}
	a := s.agents[0]
	require.EqualValues(t, n, a.done.upTo, "done %d, ranges %d of %d, parked %d, failed %d", done, len(a.done.beyond), a.ranges, len(a.parked), len(failed))
}

// What is committed has more ranges than there is room for now.
func TestLanesGoOnWithMoreRangesThanRoom(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	none := func(*topology.Context, topology.Event[string, string]) error { return nil }
	topology.Each(topo, "work", in, none, topology.Concurrency(4))
	topology.Each(topo, "new", in, none)
	topology.Each(topo, "newer", in, none)
	ahead := kafka.Ahead{}
	for i := range int64(100) {
		ahead.Beyond = append(ahead.Beyond, 2*i+1, 2*i+2)
	}
	s := stateOf(t, topo, kafka.Meta{Seq: 1, Agents: map[string]kafka.Ahead{"work": ahead}})
	b := &kafka.Batch{Topic: "in", Next: 300}
	for i := range int64(300) {
		b.Append(i, 1, fmt.Appendf(nil, "k%d", i), []byte("v"), nil)
	}
	require.NotEmpty(t, worksOf(s, s.step(Arrived{0, b}), "work"), "%d of %d", len(s.agents[0].done.beyond), s.agents[0].ranges)
}

// A seal drains channels though an agent that begins trees has records in hand that may fill one of them.
func TestADrainIsNotHeldUpByWhoWaitsForIt(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	one := topology.NewChannel[string, string](topo, "one")
	two := topology.NewChannel[string, string](topo, "two", topology.Capacity(100))
	topology.Each(topo, "begin", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		one.Send(ctx, ev.Key, ev.Value)
		two.Send(ctx, ev.Key, ev.Value)
		two.Send(ctx, ev.Key, ev.Value)
		return nil
	}, topology.Sends(one, two))
	topology.Each(topo, "middle", one, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		two.Send(ctx, ev.Key, ev.Value)
		return nil
	}, topology.Sends(two))
	topology.Each(topo, "end", two, func(*topology.Context, topology.Event[string, string]) error { return nil })
	s := stateOf(t, topo, kafka.Meta{})
	b := &kafka.Batch{Topic: "in", Next: 1000}
	for i := range int64(1000) {
		b.Append(i, 1, []byte("k"), []byte("v"), nil)
	}
	out := s.step(Arrived{0, b})
	works := worksOf(s, out, "begin")
	require.NotEmpty(t, works)
	// a round comes while begin is busy with its records, one of which is through
	var flush int64
	for _, x := range s.step(SealRound{Round: 1}) {
		if to, ok := x.(toAgent); ok && s.agents[to.agent].agent.Name == "begin" {
			flush = to.msg.(Flush).Round
		}
	}
	require.NotZero(t, flush)
	parcel := func(c int, n int) sent { return sent{c, &fakeParcel{n}} }
	out = s.step(Worked{Agent: 0, Incarnation: 1, Round: flush, Work: works[0].ID, Done: 1, Sent: []sent{parcel(0, 1), parcel(1, 2)}})
	require.True(t, s.drains())
	for range 100 { // end and middle do all that they are given
		var next []any
		for i, a := range s.agents {
			if i == 0 {
				continue
			}
			for _, w := range worksOf(s, out, a.agent.Name) {
				done := Worked{Agent: i, Incarnation: 1, Work: w.ID, Done: len(w.Records), Finished: true}
				if a.agent.Name == "middle" {
					done.Sent = []sent{parcel(1, len(w.Records))}
				}
				next = append(next, s.step(done)...)
			}
		}
		if out = next; len(out) == 0 {
			break
		}
	}
	// begin goes on with what it has been given
	for _, w := range works {
		s.step(Worked{Agent: 0, Incarnation: 1, Work: w.ID, Done: len(w.Records), Finished: true})
	}
	require.False(t, s.flows() && s.drains(), "the seal waits for ever: %d records given to begin, room for middle %d", s.agents[0].records, s.room(s.agents[1]))
}

// fakeParcel is a parcel of so many records.
type fakeParcel struct{ n int }

func (p *fakeParcel) Len() int                { return p.n }
func (p *fakeParcel) AppendAll(o plan.Parcel) { p.n += o.Len() }
func (p *fakeParcel) Fresh() plan.Parcel      { return &fakeParcel{} }
func (p *fakeParcel) Reset()                  { p.n = 0 }
func (p *fakeParcel) Batch(topic string, partition int32, from int64) *kafka.Batch {
	b := &kafka.Batch{Topic: topic, Partition: partition, Next: from + int64(p.n)}
	for i := range int64(p.n) {
		b.Append(from+i, 1, []byte("k"), []byte("v"), nil)
	}
	return b
}

// A record may be parked by the policy of the agent that reads the channel it is sent to: then what comes before the one that is counted
// may be what kills.
func TestWhatAChannelHasParkedIsSuspect(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	pipe := topology.NewChannel[string, string](topo, "pipe")
	none := func(*topology.Context, topology.Event[string, string]) error { return nil }
	topology.Each(topo, "send", in, none, topology.Sends(pipe))
	topology.Each(topo, "read", pipe, none, topology.OnFailure(topology.Policy{KeyOrder: true}))
	s := stateOf(t, topo, kafka.Meta{})
	suspects := kafka.Trying{Level: kafka.FinestLevel, Deaths: 1, Open: true}
	require.True(t, suspects.Add("send", 11))
	s.grant.Careful, s.grant.Suspects = true, suspects
	s.suspect([]startAt{{first: 0, end: 100}})
	require.Equal(t, offsets{0, 11}, s.probe.span[0])
}
