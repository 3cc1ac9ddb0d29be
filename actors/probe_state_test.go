package actors

import (
	"errors"
	"math/rand/v2"
	"slices"
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
	fails map[kafka.AgentOffset]int  // how many attempts fail
	holds map[kafka.AgentOffset]bool // what is in hand until release, and fails then
	held  []heldWork
}

// heldWork is a work that an agent has in hand.
type heldWork struct {
	agent int
	work  Work
}

func newSeeker(t require.TestingT, careful bool, suspects kafka.Trying, ends int64) *seeker {
	return seekerOf(t, witness(&mishaps{rng: rand.New(rand.NewPCG(1, 1)), hits: map[string]int{}}), careful, suspects, ends)
}

// seekerOf is like newSeeker, for the stage of any topology that reads the topic in.
func seekerOf(t require.TestingT, topo *topology.Topology, careful bool, suspects kafka.Trying, ends int64) *seeker {
	p, err := topo.Plan()
	require.NoError(t, err)
	stage := p.Stages[1]
	grant := kafka.Grant{Slot: 1, Incarnation: 1, Careful: careful, Suspects: suspects, Sources: []kafka.Position{
		{TopicPartition: kafka.TopicPartition{Topic: "in"}, Offset: -1},
	}}
	env := &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
	begin := slices.Repeat([]startAt{{end: ends}}, len(stage.Sources))
	s, err := newPartitionState(p, stage, 0, grant, env, begin, "test", time.UnixMilli(1_700_000_000_000), func(plan.Backoff, int) time.Duration { return 0 })
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
			case Undo:
				x.do(x.s.step(Undone{Table: o.table, Undo: m.Number}))
			}
		}
	}
}

// work notes what is given out, none of it without the mark, and does it.
func (x *seeker) work(agent int, w Work) {
	if w.Incarnation != x.s.agents[agent].incarnation { // it was for one that has failed
		return
	}
	name := x.s.agents[agent].agent.Name
	for _, r := range w.Records {
		if at := r.B.Records[r.I].Offset; x.s.probe != nil && x.s.probe.isSuspect(agent, at) {
			to, ok := x.acked.Of(name)
			require.True(x.t, ok && x.acked.Open && at < to, "record %d is given to %s, and the mark says %+v", at, name, x.acked)
			require.True(x.t, x.acked.Level < kafka.FinestLevel || at == to-1)
		}
	}
	for i, r := range w.Records {
		at := r.B.Records[r.I].Offset
		switch {
		case x.holds[kafka.AgentOffset{Agent: name, Offset: at}]:
			x.held = append(x.held, heldWork{agent, w})
			return
		case x.fails[kafka.AgentOffset{Agent: name, Offset: at}] > 0:
			x.fails[kafka.AgentOffset{Agent: name, Offset: at}]--
			if i > 0 {
				x.do(x.s.step(Worked{Agent: agent, Incarnation: w.Incarnation, Work: w.ID, Done: i}))
			}
			x.do(x.s.step(AgentFailed{Agent: agent, Incarnation: w.Incarnation, Work: w.ID, Done: i, Turn: 1, Err: errors.New("not yet")}))
			return
		}
		x.given[name], x.times = append(x.given[name], at), append(x.times, r.B.Records[r.I].Timestamp)
	}
	x.do(x.s.step(Worked{Agent: agent, Incarnation: w.Incarnation, Work: w.ID, Done: len(w.Records)}))
}

// release ends the attempts in hand: they fail.
func (x *seeker) release() {
	held := x.held
	x.held = nil
	for _, h := range held {
		x.do(x.s.step(AgentFailed{Agent: h.agent, Incarnation: h.work.Incarnation, Work: h.work.ID, Turn: 1, Err: errors.New("no answer")}))
	}
}

// pass lets time pass, and the node answer all that it was asked.
func (x *seeker) pass(d time.Duration) {
	x.do(x.s.step(Wake{x.s.now.Add(d)}))
	for len(x.asked)+len(x.turns) > 0 {
		if len(x.asked) > 0 {
			x.answer()
			continue
		}
		n := x.turns[0]
		x.turns = x.turns[1:]
		x.do(x.s.step(Turn{n}))
	}
	x.do(x.s.step(SealRound{1}))
}

// agent finds an agent by its name.
func (x *seeker) agent(name string) int {
	return slices.IndexFunc(x.s.agents, func(a *agentSlot) bool { return a.agent.Name == name })
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
		x.fails = map[kafka.AgentOffset]int{}
		for range rapid.IntRange(0, 5).Draw(t, "records that fail") {
			of := kafka.AgentOffset{Agent: rapid.SampledFrom([]string{"row", "update", "pair"}).Draw(t, "in"), Offset: rapid.Int64Range(0, min(total-1, 60)).Draw(t, "at")}
			x.fails[of] = rapid.IntRange(1, 3).Draw(t, "times") // fewer than its policy allows
		}
		for idle := 0; x.s.probe != nil || at < total; {
			require.Less(t, idle, 10_000, "%+v", x.s.probe)
			x.s.now = x.s.now.Add(10 * time.Millisecond)
			idle++
			switch rapid.IntRange(0, 4).Draw(t, "what") {
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
			case 4:
				x.do(x.s.step(Wake{x.s.now.Add(time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "passes")))}))
			}
		}
		for range 20 { // the last attempts
			x.pass(time.Second)
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

// waiter has an agent whose records are retried however often they fail, and one beside it.
func waiter(policy topology.Policy) *topology.Topology {
	policy.Decide = func(topology.Failure) topology.Decision { return topology.Retry }
	topo := topology.New("waiter")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	nothing := func(*topology.Context, topology.Event[string, string]) error { return nil }
	topology.Each(topo, "waits", in, nothing, topology.OnFailure(policy))
	topology.Each(topo, "beside", in, nothing)
	return topo
}

// TestWhatIsRetriedDoesNotHoldUpTheRestForLong: a suspect record whose attempts fail again and again, as of a handler that waits for an answer of another partition which
// waits as well, holds up the rest of its partition for as long as patience lasts, over all its windows and turns. Not more than that is forgotten of it: it is still
// suspect, and announced at each attempt.
func TestWhatIsRetriedDoesNotHoldUpTheRestForLong(t *testing.T) {
	t.Parallel()
	const attempt = 5 * time.Second
	for _, policy := range []topology.Policy{{}, {KeyOrder: true}} {
		for _, dead := range []kafka.Trying{{Level: 1}, {Level: kafka.FinestLevel}, {Level: kafka.FinestLevel, Deaths: 2}} {
			dead.Add("waits", 1)
			x := seekerOf(t, waiter(policy), true, dead, 10)
			record := kafka.AgentOffset{Agent: "waits", Offset: 0}
			x.holds = map[kafka.AgentOffset]bool{record: true}
			x.records(0, 10)
			began, attempts := x.s.now, 0
			for since := began; x.s.probe.level > 0; x.pass(100 * time.Millisecond) {
				require.Empty(t, x.given["beside"], "nothing else runs")
				require.Less(t, x.s.now.Sub(began), 2*attempt+probePatience, "%+v %+v", dead, x.s.probe)
				if len(x.held) == 0 {
					since = x.s.now
				} else if x.s.now.Sub(since) >= attempt {
					attempts++
					x.release()
				}
			}
			require.GreaterOrEqual(t, attempts, 2, "it is retried for a while")
			require.Len(t, x.given["beside"], 10)
			require.Equal(t, len(x.turns), 0)
			require.Positive(t, x.ended, "others have their turn")
			for range 3 {
				require.True(t, x.s.probe.isSuspect(x.agent("waits"), 0))
				require.Len(t, x.held, 1, "it is given out, and was announced: see work")
				require.Equal(t, kafka.Trying{Open: true, To: []kafka.AgentOffset{{Agent: "waits", Offset: 1}}}, x.acked)
				x.release()
				x.pass(time.Second)
			}
			clear(x.holds)
			x.release()
			x.pass(time.Second)
			x.pass(time.Second)
			require.Len(t, x.given["waits"], 10)
			require.Nil(t, x.s.probe)
		}
	}
}

// TestPatienceIsCountedInTheTurn: while others have the exclusive turn, or what one has died with waits for its process to have lived for a while, the patience with what has failed does not end.
func TestPatienceIsCountedInTheTurn(t *testing.T) {
	t.Parallel()
	dead := kafka.Trying{Level: kafka.FinestLevel}
	dead.Add("waits", 1)
	x := seekerOf(t, waiter(topology.Policy{}), true, dead, 10)
	x.fails = map[kafka.AgentOffset]int{{Agent: "waits", Offset: 0}: 1}
	x.records(0, 10)
	x.pass(0)
	require.Zero(t, x.fails[kafka.AgentOffset{Agent: "waits", Offset: 0}], "the first attempt has failed")
	for range 100 {
		x.do(x.s.step(Wake{x.s.now.Add(time.Second)}))
		for len(x.asked) > 0 {
			x.answer()
		}
	}
	require.Equal(t, kafka.FinestLevel, x.s.probe.level, "others have the turn")
	require.Len(t, x.turns, 1)
	x.pass(0)
	require.Equal(t, []int64{0}, x.given["waits"][:1])
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
		x := seekerOf(t, topo, true, dead, 20)
		x.answer() // nothing has come yet
		x.records(0, 20)
		require.Len(t, x.turns, 1)
		x.do(x.s.step(Turn{x.turns[0]}))
		require.Len(t, x.asked, 1)
		require.Equal(t, want, x.asked[0].To, "level %d", level)
	}
}
