package actors_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// stopped returns why partitions of a node are stopped, by their numbers.
func stopped(n *actors.Node) map[int32]string {
	found := map[int32]string{}
	for _, p := range n.Look().Partitions {
		if p.State == status.Stopped {
			found[p.Partition] = p.Why
		}
	}
	return found
}

// A partition whose table cannot be restored is stopped; the others go on.
func TestNodeOnePartitionBroken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, "in", "out")
	topo := func() *topology.Topology { return echo("broken", fine, fine) }
	first := w.node(t.TempDir(), topo())
	w.send("in", "a", "b", "c", "d")
	w.read("out", 4)
	w.stop(first)
	c := w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, c.ProduceSync(t.Context(), &kgo.Record{Topic: "broken-counts-changelog", Partition: 1, Key: []byte("x"), Value: []byte("no number")}).FirstErr())

	n := w.node(t.TempDir(), topo())
	require.Eventually(t, func() bool { return stopped(n)[1] != "" }, patience, tick)
	require.Contains(t, stopped(n)[1], "partition broke 5 times within 1m0s: restore table counts/1")
	c2 := w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var rs []*kgo.Record
	for _, p := range []int32{0, 1} {
		rs = append(rs, &kgo.Record{Topic: "in", Partition: p, Key: keyIn(t, p), Value: []byte("more")})
	}
	require.NoError(t, c2.ProduceSync(t.Context(), rs...).FirstErr())
	require.ElementsMatch(t, []string{"a", "b", "c", "d", "more"}, valuesOf(w.read("out", 5)))
	require.NoError(t, n.Err())
}

// A table that holds values of a version that the program does not know is refused at the first attempt: no other one mends it.
func TestNodeOtherVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in")
	count := func(opts ...topology.TableOption) *topology.Topology {
		topo := topology.New("versions")
		in := topology.NewTopic(topo, "in", codec.String, codec.String)
		topology.Count(topology.GroupByKey(topology.From(in)), topology.NewTable(topo, "counts", codec.String, codec.Int64, opts...))
		return topo
	}
	first := w.node(t.TempDir(), count(topology.Version(2)))
	w.send("in", "a")
	w.read("versions-counts-changelog", 1)
	w.stop(first)
	n := w.node(t.TempDir(), count(topology.Version(1)))
	require.Eventually(t, func() bool { return stopped(n)[0] != "" }, patience, tick)
	require.Contains(t, stopped(n)[0], "table counts holds values of version 2 of its codec")
	require.NotContains(t, stopped(n)[0], "times within")
	require.NoError(t, n.Err())
}

// A policy stops a partition; its records wait, those of others come through, and a restart tries again.
func TestNodeStopPartition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, "in", "out")
	mended := make(chan struct{})
	topo := func() *topology.Topology {
		x := echo("stopped", func(v string) error {
			select {
			case <-mended:
				return nil
			default:
			}
			if v == "bad" {
				return errors.New("the bank is closed")
			}
			return nil
		}, fine)
		x.OnFailure(topology.Policy{Attempts: 2, Then: topology.StopPartition, Backoff: topology.Backoff{Min: 1}})
		return x
	}
	dir := t.TempDir()
	n := w.node(dir, topo())
	c := w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	put := func(p int32, v string) {
		require.NoError(t, c.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Partition: p, Key: keyIn(t, p), Value: []byte(v)}).FirstErr())
	}
	put(1, "fine")
	put(1, "bad")
	put(1, "behind it")
	require.Eventually(t, func() bool { return stopped(n)[1] != "" }, patience, tick)
	require.Contains(t, stopped(n)[1], "the bank is closed")
	put(0, "elsewhere")
	require.ElementsMatch(t, []string{"fine", "elsewhere"}, valuesOf(w.read("out", 2)))
	w.stop(n)
	close(mended)
	again := w.node(dir, topo())
	require.ElementsMatch(t, []string{"fine", "elsewhere", "bad", "behind it"}, valuesOf(w.read("out", 4)))
	require.Empty(t, stopped(again))
}
