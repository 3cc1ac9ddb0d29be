package actors

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// joinedPlan is that of a flow which is joined with a table, and the stage in which both are.
func joinedPlan(t *testing.T) (*plan.Plan, *plan.Stage, *plan.Env) {
	t.Helper()
	topo := topology.New("test")
	left := topology.NewTopic(topo, "left", codec.String, codec.String)
	right := topology.NewTopic(topo, "right", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	table := topology.TableFrom(topo, "table", right)
	topology.To(topology.Join(topology.From(left), table, func(l, r string) string { return l + r }), out)
	p, err := topo.Plan()
	require.NoError(t, err)
	return p, p.Stages[1], &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
}

// SEMANTICS 1: of what has come, the record with the earliest time is next, and nothing waits for a topic that has none. Agents that share tables which are joined take turns: what is there of their topics is processed in the order of its times, and none
// begins before the other is through.
func TestTurnsInOrder(t *testing.T) {
	t.Parallel()
	p, stage, env := joinedPlan(t)
	require.Equal(t, "left,right", stage.Key)
	s, err := newPartitionState(p, stage, 0, kafka.Grant{Slot: 1, Incarnation: 1}, env, []startAt{{first: 0, end: 9}, {first: 0, end: 9}}, "test", time.UnixMilli(1_700_000_000_000),
		func(plan.Backoff, int) time.Duration { return 0 })
	require.NoError(t, err)
	s.start()
	s.step(ShardReady{Table: 0})
	var given []string
	var works []Worked
	do := func(out []any) {
		for _, x := range out {
			to, ok := x.(toAgent)
			if w, isWork := any(to.msg).(Work); ok && isWork {
				for _, r := range w.Records {
					given = append(given, fmt.Sprintf("%s %d", r.B.Topic, r.B.Records[r.I].Timestamp))
				}
				works = append(works, Worked{Agent: to.agent, Incarnation: 1, Work: w.ID, Done: len(w.Records), Finished: true})
			}
		}
	}
	arrive := func(source int, from int64, times ...int64) {
		b := &kafka.Batch{Topic: stage.Sources[source].Name, Next: from + int64(len(times))}
		for i, at := range times {
			b.Append(from+int64(i), at, []byte("k"), []byte("v"), nil)
		}
		do(s.step(Arrived{source, b}))
	}
	arrive(0, 0, 10)
	require.Equal(t, []string{"left 10"}, given)
	arrive(1, 0, 20, 30, 40)
	arrive(0, 1, 25, 31, 35)
	require.Len(t, given, 1, "the left one is not through")
	for len(works) > 0 {
		require.Len(t, works, 1, "one at a time")
		w := works[0]
		works = works[1:]
		do(s.step(w))
	}
	require.Equal(t, []string{"left 10", "right 20", "left 25", "right 30", "left 31", "left 35", "right 40"}, given)
}

// Behind a death they still do, in the order of times, and nothing is given out before the mark says so.
func TestTurnsInOrderAreAnnounced(t *testing.T) {
	t.Parallel()
	p, stage, env := joinedPlan(t)
	rapid.Check(t, func(t *rapid.T) {
		const n = 40 // of each side
		grant := kafka.Grant{Slot: 1, Incarnation: 1, Careful: true}
		if rapid.Bool().Draw(t, "two deaths") {
			grant.Suspects.Level = 1
			for _, a := range stage.Agents {
				grant.Suspects.Add(a.Name, rapid.Int64Range(1, n).Draw(t, "suspect before"))
			}
		}
		s, err := newPartitionState(p, stage, 0, grant, env, []startAt{{first: 0, end: n}, {first: 0, end: n}}, "test", time.UnixMilli(1_700_000_000_000),
			func(plan.Backoff, int) time.Duration { return 0 })
		require.NoError(t, err)
		x := &seeker{t: t, s: s, given: map[string][]int64{}, acked: grant.Suspects}
		x.do(s.start())
		x.do(s.step(ShardReady{Table: 0}))
		for source, first := range []int64{10, 15} {
			b := &kafka.Batch{Topic: stage.Sources[source].Name, Next: n}
			for i := range int64(n) {
				b.Append(i, first+10*i, []byte("k"), []byte("v"), nil)
			}
			x.do(s.step(Arrived{source, b}))
		}
		for steps := 0; s.probe != nil; steps++ {
			require.Less(t, steps, 10_000, "%+v", s.probe)
			s.now = s.now.Add(10 * time.Millisecond)
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				if len(x.asked) > 0 {
					x.answer()
				}
			case 1:
				x.do(s.step(SealRound{1}))
			case 2:
				if len(x.turns) > 0 {
					number := x.turns[0]
					x.turns = x.turns[1:]
					x.do(s.step(Turn{number}))
				}
			}
		}
		require.Len(t, x.times, 2*n)
		if grant.Suspects.IsZero() { // what is suspect at a finer level goes first
			require.IsIncreasing(t, x.times)
		}
	})
}
