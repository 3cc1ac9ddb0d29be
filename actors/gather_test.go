package actors_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Where records are given out one by one, a batch that is being gathered waits for no others: they would not come before it is done.
func TestNodeBatchesAreNotWaitedForInVain(t *testing.T) {
	t.Parallel()
	const n = 12
	top := topology.New("gather")
	in := topology.NewTopic(top, "in", codec.String, codec.String)
	out := topology.NewTopic(top, "out", codec.String, codec.String)
	counts := topology.NewTable(top, "counts", codec.String, codec.Int64, topology.Local())
	var failed atomic.Bool
	topology.Agent(top, "work", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
		for batch := range s.Batches(4, 3*time.Second) {
			for _, ev := range batch {
				counts.Update(ctx, ev.Value, func(n int64, _ bool) (int64, error) {
					if ev.Value == "v9" && failed.CompareAndSwap(false, true) {
						return 0, errors.New("once")
					}
					return n + 1, nil
				})
				out.Send(ctx, ev.Key, ev.Value)
			}
		}
		return nil
	}, topology.Sends(out), topology.Writes(counts))
	w := newWorld(t, 1, "in", "out")
	var values []string
	for i := range n {
		values = append(values, fmt.Sprint("v", i))
	}
	w.send("in", values...)
	h := w.node(t.TempDir(), top)
	began := time.Now()
	w.read("out", n)
	require.True(t, failed.Load())
	require.Less(t, time.Since(began), 15*time.Second)
	w.stop(h)
}
