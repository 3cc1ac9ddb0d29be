package actors_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// asyncFlow is a topology with a flow from in to out that calls fn for three records at a time.
func asyncFlow(fn func(ctx context.Context, ev topology.Event[string, string]) (string, error)) *topology.Topology {
	topo := topology.New("async")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.To(topology.MapAsync(topology.From(in), 3, fn), topology.NewTopic(topo, "out", codec.String, codec.String))
	return topo
}

// Three records are under way at once, no more, and what is through first waits for those before it.
func TestNodeCallsAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	var now, most atomic.Int32
	three, c := make(chan struct{}), make(chan struct{})
	w.send("in", "a", "b", "c", "d", "e") // in one batch, as the node starts behind them
	n := w.node(t.TempDir(), asyncFlow(func(ctx context.Context, ev topology.Event[string, string]) (string, error) {
		under := now.Add(1)
		defer now.Add(-1)
		most.Store(max(most.Load(), under))
		await := func(ch <-chan struct{}) error {
			select {
			case <-ch:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if ev.Value == "c" {
			close(three)
			defer close(c)
		}
		if ev.Value == "a" {
			if err := await(c); err != nil { // the third is through before the first
				return "", err
			}
		}
		return ev.Value, await(three)
	}))
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, valuesOf(w.read("out", 5)))
	require.LessOrEqual(t, most.Load(), int32(3))
	w.stop(n)
}

// A call that passes its deadline fails its record alone; one that does not heed its context is given up as a handler that hangs is.
func TestNodeCallsThatHang(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	free := make(chan struct{})
	topo := asyncFlow(func(ctx context.Context, ev topology.Event[string, string]) (string, error) {
		switch ev.Value {
		case "slow":
			<-ctx.Done()
			return "", ctx.Err()
		case "hangs":
			<-free
		}
		return ev.Value, nil
	})
	topo.OnFailure(topology.Policy{Attempts: 1, Deadline: 200 * time.Millisecond, Grace: 100 * time.Millisecond, Backoff: topology.Backoff{Min: time.Millisecond}})
	n := w.node(t.TempDir(), topo)
	w.send("in", "a", "slow", "b", "hangs", "c")
	require.Equal(t, []string{"a", "b", "c"}, valuesOf(w.read("out", 3)))
	letters := w.read("async-dead-letters", 2)
	require.Equal(t, []string{"slow", "hangs"}, valuesOf(letters))
	require.Contains(t, header(letters[1], "troupe.stack"), "TestNodeCallsThatHang", "the stack is that of the call, not of the turn that waits for it")
	close(free)
	inspected(t, n, func(st status.Node) bool { return of(st).State == status.Running && of(st).Agents[0].DeadLettered == 2 })
	w.stop(n)
}
