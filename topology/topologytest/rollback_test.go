package topologytest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// TestRollbackKeepsTasksAndTimers: a function that fails inside a shard rolls its partition back; a task that has ended is
// not run again, and a timer that has fired does not fire again for that.
func TestRollbackKeepsTasksAndTimers(t *testing.T) {
	t.Parallel()
	topo := topology.New("rollback")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	failures := 2
	topology.Each(topo, "count", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		counts.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) {
			if ev.Value == "bad" && failures > 0 {
				failures--
				return 0, errors.New("by chance")
			}
			return n + 1, nil
		})
		return nil
	}, topology.Writes(counts))
	topology.Task(topo, "once", func(ctx *topology.TaskContext) error {
		out.Send(ctx, "task", "begun")
		if ctx.Commit() {
			out.Send(ctx, "task", "ended")
		}
		return nil
	}, topology.Reads(counts), topology.Sends(out))
	topology.Every(topo, "tick", time.Minute, func(ctx *topology.TaskContext) error {
		out.Send(ctx, "timer", "tick")
		return nil
	}, topology.Reads(counts), topology.Sends(out))

	d := topologytest.New(t, topo, topologytest.Partitions(1))
	said := func() (all []string) {
		for _, ev := range topologytest.Read(d, out) {
			all = append(all, ev.Value)
		}
		return all
	}
	require.Equal(t, []string{"begun", "ended"}, said())
	d.Advance(time.Minute)
	topologytest.Pipe(d, in, "k", "good")
	topologytest.Pipe(d, in, "k", "bad")
	topologytest.Pipe(d, in, "k", "good")
	require.Zero(t, failures)
	require.Equal(t, map[string]int64{"k": 3}, topologytest.Table(d, counts))
	require.Equal(t, []string{"begun", "ended", "tick"}, said())
	d.Advance(time.Minute)
	require.Equal(t, []string{"begun", "ended", "tick", "tick"}, said())
}
