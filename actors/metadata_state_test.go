package actors

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// manyAgents is a topology whose topic is read by so many agents, of which the first does records out of order.
func manyAgents(t *testing.T, n int) *plan.Plan {
	t.Helper()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	for i := range n {
		topology.Each(topo, fmt.Sprint(strings.Repeat("a", 30), i), in, func(*topology.Context, topology.Event[string, string]) error { return nil },
			topology.OnFailure(topology.Policy{KeyOrder: true}))
	}
	p, err := topo.Plan()
	require.NoError(t, err)
	return p
}

func startWith(p *plan.Plan, offset int64, meta kafka.Meta) (*partitionState, error) {
	grant := kafka.Grant{Slot: 1, Incarnation: 1, Sources: []kafka.Position{{TopicPartition: kafka.TopicPartition{Topic: "in"}, Offset: offset, Metadata: meta.Encode()}}}
	env := &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
	return newPartitionState(p, p.Stages[1], 0, grant, env, []startAt{{first: 0, end: 3_000_000_000}}, "test", time.UnixMilli(1_700_000_000_000),
		func(plan.Backoff, int) time.Duration { return 0 })
}

// What a partition may do out of order always fits beside its offset, however many agents its topic has. Where agents were added since, what
// does not fit any more is refused before anything is done.
func TestProgressThatDoesNotFit(t *testing.T) {
	t.Parallel()
	const far = 2_000_000_000
	full := func(p *plan.Plan, from int64, of, ranges int) kafka.Meta {
		m := kafka.Meta{Seq: 1 << 60, Agents: map[string]kafka.Ahead{}}
		for _, a := range p.Stages[1].Agents[:of] {
			x := kafka.Ahead{UpTo: from / 2}
			for i := range int64(ranges) {
				x.Beyond = append(x.Beyond, from+2*i, from+2*i+1)
			}
			m.Agents[a.Name] = x
		}
		return m
	}
	for _, n := range []int{1, 2, 10, 40} {
		p := manyAgents(t, n)
		most := maxRanges(p.Stages[1], 0)
		require.Positive(t, most)
		m := full(p, 4*far, n, most)
		require.LessOrEqual(t, len(m.Encode()), kafka.MaxMetadata, "%d agents", n)
		_, err := startWith(p, 1, m)
		require.NoError(t, err, "%d agents", n)
	}
	one := manyAgents(t, 1)
	most := maxRanges(one.Stages[1], 0)
	_, err := startWith(manyAgents(t, 20), 1, full(one, 100, 1, most))
	require.NoError(t, err, "the ranges are near")
	_, err = startWith(manyAgents(t, 20), far, full(one, 4*far, 1, most))
	require.ErrorIs(t, err, kafka.ErrMetadata)
	require.ErrorContains(t, err, "topic in/0: ")
	require.ErrorContains(t, err, "run it as it was")
}

// What has left the topology leaves the metadata.
func TestTimersThatAreGone(t *testing.T) {
	t.Parallel()
	s, err := startWith(manyAgents(t, 1), 1, kafka.Meta{Seq: 1, Timers: map[string]int64{"gone": 5}, Clocks: map[string]int64{"gone": 7}})
	require.NoError(t, err)
	require.Empty(t, s.timers)
	require.Empty(t, s.clocks)
}
