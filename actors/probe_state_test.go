package actors

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// seeker drives the machine of a partition whose agents and committer do everything at once; the node answers when it is told to.
type seeker struct {
	t     require.TestingT
	s     *partitionState
	asked []kafka.Trying // announcements that are not answered
	turns []int64        // turns that were asked for
	ended int
	acked kafka.Trying // what the mark says
	given map[string][]int64
	times []int64 // of what was given out
	queue []any
	busy  bool
}

func newSeeker(t require.TestingT, careful bool, suspects kafka.Trying, ends int64) *seeker {
	return seekerOf(t, witness(&mishaps{rng: rand.New(rand.NewPCG(1, 1)), hits: map[string]int{}}), 1, careful, suspects, ends)
}

// seekerOf is like newSeeker, for a stage of any topology that reads the topic in.
func seekerOf(t require.TestingT, topo *topology.Topology, at int, careful bool, suspects kafka.Trying, ends int64) *seeker {
	p, err := topo.Plan()
	require.NoError(t, err)
	stage := p.Stages[at]
	grant := kafka.Grant{Slot: 1, Incarnation: 1, Careful: careful, Suspects: suspects, Sources: []kafka.Position{
		{TopicPartition: kafka.TopicPartition{Topic: "in"}, Offset: -1},
	}}
	env := &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
	s, err := newPartitionState(p, stage, 0, grant, env, []startAt{{first: 0, end: ends}}, "test", time.UnixMilli(1_700_000_000_000), func(plan.Backoff, int) time.Duration { return 0 })
	require.NoError(t, err)
	x := &seeker{t: t, s: s, given: map[string][]int64{}, acked: suspects}
	x.do(s.start())
	for i := range stage.Tables {
		x.do(s.step(ShardReady{Table: i, Due: tables.NeverDue}))
	}
	return x
}

// records brings records of the source.
func (x *seeker) records(from, n int64) {
	b := &kafka.Batch{Topic: "in", Next: from + n}
	for i := range n {
		b.Append(from+i, 1, []byte("k"), []byte("v"), nil)
	}
	x.do(x.s.step(Arrived{0, b}))
}

// do carries out what the machine asks for, one thing after the other.
func (x *seeker) do(out []any) {
	if x.queue = append(x.queue, out...); x.busy {
		return
	}
	x.busy = true
	defer func() { x.busy = false }()
	for len(x.queue) > 0 {
		o := x.queue[0]
		x.queue = x.queue[1:]
		switch o := o.(type) {
		case announce:
			x.asked = append(x.asked, o.trying)
		case askTurn:
			x.turns = append(x.turns, o.number)
		case endTurn:
			x.ended++
		case toAgent:
			switch m := any(o.msg).(type) {
			case Work:
				x.work(o.agent, m)
			case Flush:
				x.do(x.s.step(Worked{Agent: o.agent, Incarnation: m.Incarnation, Round: m.Round}))
			}
		case toCommitter:
			switch m := any(o.msg).(type) {
			case Dry:
				x.do(x.s.step(SealRound{1}))
			case Offer:
				x.do(x.s.step(Decided{m.Bundle.Seq, nil}))
			}
		case toShard:
			switch m := any(o.msg).(type) {
			case Apply:
				x.do(x.s.step(Applied{Table: o.table, Undo: m.Undo, Count: m.Count}))
			case Seal:
				x.do(x.s.step(Sealed{Table: o.table, Undo: m.Undo, Epoch: m.Epoch}))
			}
		}
	}
}

// work notes what is given out, none of it without the mark, and does it.
func (x *seeker) work(agent int, w Work) {
	name := x.s.agents[agent].agent.Name
	for _, r := range w.Records {
		at := r.B.Records[r.I].Offset
		x.given[name], x.times = append(x.given[name], at), append(x.times, r.B.Records[r.I].Timestamp)
		if p := x.s.probe; p != nil && p.isSuspect(agent, at) {
			to, ok := x.acked.Of(name)
			require.True(x.t, ok && x.acked.Open && at < to, "record %d is given to %s, and the mark says %+v", at, name, x.acked)
			require.True(x.t, x.acked.Level < kafka.FinestLevel || at == to-1)
		}
	}
	x.do(x.s.step(Worked{Agent: agent, Incarnation: w.Incarnation, Work: w.ID, Done: len(w.Records)}))
}

// answer answers the oldest announcement.
func (x *seeker) answer() {
	x.acked = x.asked[0]
	x.asked = x.asked[1:]
	x.do(x.s.step(Announced{}))
}

func TestNothingIsAnnouncedAfterAnOrderlyRelease(t *testing.T) {
	t.Parallel()
	x := newSeeker(t, false, kafka.Trying{}, 10)
	x.records(0, 10)
	require.Nil(t, x.s.probe)
	require.Empty(t, x.asked)
	require.Len(t, x.given["row"], 10)
}

func TestNothingIsAnnouncedWithoutRecords(t *testing.T) {
	t.Parallel()
	x := newSeeker(t, true, kafka.Trying{}, 10)
	require.Empty(t, x.asked)
	x.records(0, 10)
	require.Len(t, x.asked, 1)
	require.Empty(t, x.given, "before the mark says so")
	x.answer()
	require.Len(t, x.given["row"], 10)
	require.Equal(t, []kafka.Trying{{}}, x.asked, "all of it is committed")
	x.answer()
	require.Nil(t, x.s.probe)
}

// TestWindows holds, whatever comes when: nothing suspect is given out that the mark does not announce, each agent gets every record
// once and in order, and in the end nothing is suspect.
func TestWindows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ends := rapid.Int64Range(0, 3000).Draw(t, "end of the log")
		var suspects kafka.Trying
		if level := rapid.IntRange(0, 2).Draw(t, "level"); level > 0 {
			suspects.Level = level
			for _, name := range []string{"row", "update", "pair"} {
				if rapid.Bool().Draw(t, name) {
					suspects.Add(name, rapid.Int64Range(1, 40).Draw(t, "suspect before"))
				}
			}
			if level == kafka.FinestLevel && len(suspects.To) == 1 {
				suspects.Deaths = rapid.IntRange(0, maxDeaths-1).Draw(t, "deaths")
			}
			if len(suspects.To) == 0 {
				suspects = kafka.Trying{}
			}
		}
		x := newSeeker(t, true, suspects, ends)
		at, total := int64(0), ends+rapid.Int64Range(60, 500).Draw(t, "records more")
		for idle := 0; x.s.probe != nil || at < total; {
			require.Less(t, idle, 10_000, "%+v", x.s.probe)
			x.s.now = x.s.now.Add(10 * time.Millisecond)
			idle++
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				if n := min(rapid.Int64Range(1, 700).Draw(t, "n"), total-at); n > 0 {
					x.records(at, n)
					at += n
				}
			case 1:
				if len(x.asked) > 0 {
					x.answer()
				}
			case 2:
				x.do(x.s.step(SealRound{1}))
			case 3:
				if len(x.turns) > 0 {
					n := x.turns[0]
					x.turns = x.turns[1:]
					x.do(x.s.step(Turn{n}))
				}
			}
		}
		for name, given := range x.given {
			require.Len(t, given, int(total), name)
			for i, offset := range given {
				require.EqualValues(t, i, offset)
			}
		}
		require.Len(t, x.given, len(x.s.agents))
		require.Empty(t, x.turns)
		require.Empty(t, x.asked)
	})
}

// TestWhatDoesNotComeIsNotWaitedForLong: a suspect record that is gone, or waits, holds up the rest of the partition for as long as its patience
// lasts, though others have been given out before it in a turn.
func TestWhatDoesNotComeIsNotWaitedForLong(t *testing.T) {
	t.Parallel()
	suspects := kafka.Trying{Level: kafka.FinestLevel}
	suspects.Add("row", 2)
	x := newSeeker(t, true, suspects, 10)
	x.records(0, 1)
	began := x.s.now
	for x.s.probe.level == kafka.FinestLevel {
		require.Less(t, x.s.now.Sub(began), 2*probePatience, "%+v", x.s.probe)
		x.s.now = x.s.now.Add(100 * time.Millisecond)
		for len(x.asked) > 0 {
			x.answer()
		}
		for len(x.turns) > 0 {
			n := x.turns[0]
			x.turns = x.turns[1:]
			x.do(x.s.step(Turn{n}))
		}
		x.do(x.s.step(SealRound{1}))
	}
	require.Equal(t, []int64{0}, x.given["row"], "it was given out in a turn, before the patience began")
	require.Greater(t, x.s.now.Sub(began), probePatience)
}

// TestTheTurnIsGivenToTheLowestSlot: one after the other.
func TestTheTurnIsGivenToTheLowestSlot(t *testing.T) {
	t.Parallel()
	var x turns
	next := func() int32 {
		slot, _, ok := x.next()
		if !ok {
			return -1
		}
		return slot
	}
	require.EqualValues(t, -1, next())
	x.ask(7, 1)
	require.EqualValues(t, 7, next())
	x.ask(9, 1)
	x.ask(3, 1)
	require.EqualValues(t, -1, next())
	x.end(9) // it asks no more
	require.EqualValues(t, -1, next())
	x.end(7)
	require.EqualValues(t, 3, next())
	x.end(3)
	require.EqualValues(t, -1, next())
}

// Timers in event time are called between the records that are suspect: they are in the same window, or each record would end it.
func TestAWindowHoldsTheTimersBetweenItsRecords(t *testing.T) {
	t.Parallel()
	topo := topology.New("late")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	calls := topology.NewTimers(topo, "calls", codec.String, codec.String, topology.EventTime)
	topology.Each(topo, "note", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		calls.After(ctx, ev.Key, time.Second, ev.Value)
		return nil
	}, topology.Writes(calls))
	topology.OnTimer(topo, "call", calls, func(*topology.Context, topology.Timer[string, string]) error { return nil })
	for level, want := range map[int][]kafka.AgentOffset{
		1:                 {{Agent: "note", Offset: 12}, {Agent: "call", Offset: 1}},
		kafka.FinestLevel: {{Agent: "note", Offset: 1}},
	} {
		dead := kafka.Trying{Level: level, Open: true, To: []kafka.AgentOffset{{Agent: "note", Offset: 12}, {Agent: "call", Offset: 1}}}
		x := seekerOf(t, topo, 1, true, dead, 20)
		x.answer() // nothing has come yet
		x.records(0, 20)
		require.Len(t, x.turns, 1)
		x.do(x.s.step(Turn{x.turns[0]}))
		require.Len(t, x.asked, 1)
		require.Equal(t, want, x.asked[0].To, "level %d", level)
	}
}
