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

// Agents that share tables which are joined take turns: what is there of their topics is processed in the order of its times, and none
// begins before the other is through.
func TestTurnsInOrder(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	left := topology.NewTopic(topo, "left", codec.String, codec.String)
	right := topology.NewTopic(topo, "right", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	table := topology.TableFrom(topo, "table", right)
	topology.To(topology.Join(topology.From(left), table, func(l, r string) string { return l + r }), out)
	p, err := topo.Plan()
	require.NoError(t, err)
	stage := p.Stages[1]
	require.Equal(t, "left,right", stage.Key)
	env := &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
	s, err := newPartitionState(p, stage, 0, kafka.Grant{Slot: 1, Incarnation: 1}, env, []startAt{{0, 9}, {0, 9}}, "test", time.UnixMilli(1_700_000_000_000),
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
