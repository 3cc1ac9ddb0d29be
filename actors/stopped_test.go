package actors_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/tables"
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

// sickDisk refuses to open files of partition 1.
type sickDisk struct {
	tables.Files
	left atomic.Int64 // how often it refuses
}

// Open implements tables.Disk.
func (d *sickDisk) Open(path string) (tables.File, error) {
	if strings.HasSuffix(path, "-1.db") && d.left.Add(-1) >= 0 {
		return nil, errors.New("input/output error")
	}
	return d.Files.Open(path)
}

// A partition whose disk fails is rebuilt; if it goes on failing, the partition stops and says so, the others go on, and an operator has it
// tried again once the disk is mended. What it had counted is there.
func TestNodeDiskFails(t *testing.T) {
	t.Parallel()
	for _, lasting := range []bool{false, true} {
		t.Run(fmt.Sprint(lasting), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2, "in", "out")
			log, disk := new(lines), new(sickDisk)
			w.logs, w.disk = log, disk
			topo := func() *topology.Topology {
				topo := topology.New("sick")
				in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.Int64)
				counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
				topology.Each(topo, "count", in, func(ctx *topology.Context, e textEvent) error {
					n, _, err := counts.Get(ctx, e.Key)
					counts.Set(ctx, e.Key, n+1)
					out.Send(ctx, e.Key, n+1)
					return err
				}, topology.Sends(out), topology.Writes(counts), topology.Reads(counts))
				return topo
			}
			put := func() {
				for _, p := range []int32{0, 1} {
					require.NoError(t, w.client().ProduceSync(t.Context(), &kgo.Record{Topic: "in", Key: keyIn(t, p), Value: []byte("v")}).FirstErr())
				}
			}
			dir := t.TempDir()
			first := w.node(dir, topo())
			put()
			w.read("out", 2)
			w.stop(first)

			disk.left.Store(3) // an open that fails is followed by one of an empty file
			if lasting {
				disk.left.Store(1000)
			}
			n := w.node(dir, topo())
			put()
			if lasting {
				require.Eventually(t, func() bool { return stopped(n)[1] != "" }, patience, tick)
				require.Contains(t, stopped(n)[1], "partition broke 5 times within 1m0s: ")
				require.Contains(t, stopped(n)[1], "input/output error")
				require.Len(t, log.with(`level=ERROR msg="partition stopped: it cannot be rebuilt; other partitions go on`), 1)
				require.Len(t, w.read("out", 3), 3, "the other partition has gone on")
				disk.left.Store(0)
				_, err := n.Resume(nil)
				require.NoError(t, err)
			}
			sums := map[string]int{}
			for _, r := range w.read("out", 4) {
				sums[string(r.Value)]++
			}
			require.Len(t, sums, 2)
			for _, times := range sums {
				require.Equal(t, 2, times, "each partition has counted to two")
			}
			require.NotEmpty(t, log.with(`level=ERROR msg="partition broke: it is rebuilt"`))
			require.NoError(t, n.Err())
		})
	}
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
