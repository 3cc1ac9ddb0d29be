package actors

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// An agent that is new beside others has its place committed at once, though nothing comes; and before it is given anything, if another look would find
// another place.
func TestANewAgentHasItsPlaceCommittedFirst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start topology.Start
		at    int64
		first bool
	}{
		"earliest": {topology.Earliest, 2, false}, "latest": {topology.Latest, 9, true}, "since": {topology.Since(time.UnixMilli(70)), 7, true},
		"since what is gone": {topology.Since(time.UnixMilli(10)), 2, true}, "since what is not yet": {topology.Since(time.UnixMilli(99)), 9, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topo := topology.New("test")
			in := topology.NewTopic(topo, "in", codec.String, codec.String)
			nothing := func(*topology.Context, topology.Event[string, string]) error { return nil }
			topology.Each(topo, "old", in, nothing)
			topology.Each(topo, "new", in, nothing, topology.StartAt(c.start))
			p, err := topo.Plan()
			require.NoError(t, err)
			meta := kafka.Meta{Seq: 3, Agents: map[string]kafka.Ahead{"old": {}}}
			grant := kafka.Grant{Slot: 1, Incarnation: 1, Sources: []kafka.Position{{TopicPartition: kafka.TopicPartition{Topic: "in"}, Offset: 9, Metadata: meta.Encode()}}}
			env := &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
			begin := startAt{first: 2, end: 9, since: map[plan.Start]int64{70: 7, 10: 0, 99: -1}}
			s, err := newPartitionState(p, p.Stages[1], 0, grant, env, []startAt{begin}, "test", time.UnixMilli(1_700_000_000_000), func(plan.Backoff, int) time.Duration { return 0 })
			require.NoError(t, err)
			s.start()
			b := &kafka.Batch{Topic: "in", Next: 9}
			for i := range int64(11) {
				b.Append(i, i*10, []byte("k"), []byte("v"), nil)
			}
			works := func(todo []any) (n int) {
				for _, x := range todo {
					if to, ok := x.(toAgent); ok {
						if _, work := to.msg.(Work); work {
							n++
						}
					}
				}
				return n
			}
			given := works(s.step(Arrived{0, b}))
			require.Equal(t, c.first, given == 0)
			s.step(SealRound{Round: 1})
			if !c.first {
				return
			}
			require.NotNil(t, s.offer)
			back, err := kafka.ParseMeta(s.offer.bundle.Offsets[0].Metadata)
			require.NoError(t, err)
			require.Equal(t, c.at, s.offer.bundle.Offsets[0].Offset+back.Agents["new"].UpTo)
			require.Positive(t, works(s.step(Decided{Seq: s.offer.bundle.Seq})))
		})
	}
}

// TestAnExtractorThatEndsItsGoroutine: only that of its record, which has no time then.
func TestAnExtractorThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	b := &kafka.Batch{Topic: "in"}
	for i := range int64(6) {
		b.Append(i, 100+i, nil, nil, nil)
	}
	topic := &plan.Topic{Name: "in", EventTime: func(b *kafka.Batch, i int) (int64, error) {
		switch i {
		case 0, 3, 5:
			runtime.Goexit()
		case 2:
			panic("by order")
		}
		return 2 * b.Records[i].Timestamp, nil
	}}
	require.Equal(t, []int64{-1, 202, -1, -1, 208, -1}, timed(topic, b).Times)
}
