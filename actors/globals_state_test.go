package actors

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// copying is the state of a node with a global table of a topic of two partitions.
func copying(t *testing.T) *globalsState {
	t.Helper()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	g := topology.NewGlobalTable(topo, "g", topology.NewTopic(topo, "rates", codec.String, codec.String))
	topology.Each(topo, "read", in, func(*topology.Context, topology.Event[string, string]) error { return nil }, topology.Reads(g))
	p, err := topo.Plan()
	require.NoError(t, err)
	env := &plan.Env{Partitions: make([]int32, len(p.Topics)), Globals: p.NewGlobals()}
	for _, x := range p.Topics {
		env.Partitions[x.ID] = 2
	}
	return newGlobalsState(p, env)
}

func at(zero, one int64) map[kafka.TopicPartition]int64 {
	return map[kafka.TopicPartition]int64{{Topic: "rates"}: zero, {Topic: "rates", Partition: 1}: one}
}

func batchAt(partition int32, offset, next int64, keys ...string) *kafka.Batch {
	b := &kafka.Batch{Topic: "rates", Partition: partition}
	for i, k := range keys {
		b.Append(offset+int64(i), 0, []byte(k), []byte("v"), nil)
	}
	b.Next = next
	return b
}

func entries(s *globalsState) int64 { return s.copies[0].Stats().Entries }

// It is ready when each partition has been read to where it ended at the start, control records passed over.
func TestGlobalsAreReadyAtTheEnd(t *testing.T) {
	t.Parallel()
	s := copying(t)
	from, err := s.locate(at(5, 0), at(9, 0))
	require.NoError(t, err)
	require.Equal(t, []kafka.Position{{TopicPartition: kafka.TopicPartition{Topic: "rates"}, Offset: 5}, {TopicPartition: kafka.TopicPartition{Topic: "rates", Partition: 1}}}, from)
	require.False(t, s.ready)
	require.NoError(t, s.read(batchAt(0, 5, 7, "a", "b")))
	done, total := s.progress()
	require.Equal(t, []int64{2, 4}, []int64{done, total})
	require.False(t, s.ready)
	require.NoError(t, s.read(batchAt(0, 5, 7, "z")), "of an assignment that is gone")
	require.NoError(t, s.read(batchAt(0, 7, 9)), "aborted records and markers only")
	require.True(t, s.ready)
	require.NoError(t, s.read(batchAt(1, 0, 1, "c")))
	require.EqualValues(t, 3, entries(s))

	empty := copying(t)
	_, err = empty.locate(at(3, 3), at(3, 3))
	require.NoError(t, err)
	require.True(t, empty.ready, "there is nothing to read")
}

// After a failure it goes on where it was; what it can no longer read is read anew before it was ready, and ends the node after.
func TestGlobalsGoOnOrStartAnew(t *testing.T) {
	t.Parallel()
	s := copying(t)
	_, err := s.locate(at(0, 0), at(4, 2))
	require.NoError(t, err)
	require.NoError(t, s.read(batchAt(0, 0, 2, "a", "b")))
	from, err := s.locate(at(1, 0), at(9, 9))
	require.NoError(t, err)
	require.Equal(t, []int64{2, 0}, []int64{from[0].Offset, from[1].Offset})

	from, err = s.locate(at(3, 0), at(9, 9)) // retention was faster
	require.NoError(t, err)
	require.Equal(t, []int64{3, 0}, []int64{from[0].Offset, from[1].Offset})
	require.Zero(t, entries(s))
	require.NoError(t, s.read(batchAt(0, 3, 9, "a")))
	require.NoError(t, s.read(batchAt(1, 0, 9, "b")))
	require.True(t, s.ready)

	_, err = s.locate(at(3, 0), at(20, 9))
	require.NoError(t, err)
	_, err = s.locate(at(12, 0), at(20, 9))
	require.ErrorContains(t, err, "rates/0 has the offsets 12 to 20, and the node's copy has been read to 9")
	_, err = s.locate(at(0, 0), at(9, 2))
	require.ErrorContains(t, err, "rates/1 has the offsets 0 to 2", "the topic was made anew")
}

// A codec that panics is as one that returns an error.
func TestGlobalsSurviveACodecThatPanics(t *testing.T) {
	t.Parallel()
	s := copying(t)
	s.copies[0] = tables.NewReplica(&tables.ReplicaSpec[string]{Name: "g", Decode: func([]byte) (string, error) { panic("bad codec") }})
	_, err := s.locate(at(0, 0), at(1, 0))
	require.NoError(t, err)
	require.ErrorContains(t, s.read(batchAt(0, 0, 1, "a")), "panic: bad codec")
	require.False(t, s.ready)
}
