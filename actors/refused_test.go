package actors_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// What a timer sends and the broker refuses is the timer's failure: its policy says what comes then, and records go on meanwhile.
func TestTimerThatIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out", "big")
	topo := topology.New("refusal")
	in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
	big := topology.NewTopic(topo, "big", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.Each(topo, "echo", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		counts.Update(ctx, "all", func(n int64, _ bool) (int64, error) { return n + 1, nil })
		out.Send(ctx, ev.Key, ev.Value)
		return nil
	}, topology.Sends(out), topology.Writes(counts))
	var loud atomic.Bool
	text := noise(4000)
	topology.Every(topo, "tick", 50*time.Millisecond, func(ctx *topology.TaskContext) error {
		if loud.Load() {
			big.Send(ctx, "k", text)
		}
		return nil
	}, topology.Sends(big), topology.OnFailure(topology.Policy{Attempts: 3, Backoff: topology.Backoff{Min: time.Millisecond, Max: time.Millisecond}, Then: topology.Skip}))
	n := w.node(t.TempDir(), topo)
	w.send("in", "a")
	w.read("out", 1)
	w.limit("big", "3000") // what the node has asked for is out of date now
	loud.Store(true)
	failed := func(attempts int, decision string) func() bool {
		return func() bool {
			return slices.ContainsFunc(n.Look().LastErrors, func(f status.Failure) bool {
				return f.Agent == "tick" && f.Attempts == attempts && f.Decision == decision
			})
		}
	}
	require.Eventually(t, failed(3, "skip"), patience, tick)
	w.send("in", "b", "c")
	require.ElementsMatch(t, []string{"a", "b", "c"}, valuesOf(w.read("out", 3)))
	require.Contains(t, n.Look().LastErrors[0].Error, "the broker refuses its effects")
	w.limit("big", "20000")
	w.readSome("big", 1)
}

// The same for a task: after its attempts, it has ended.
func TestTaskThatIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out", "big")
	text := noise(4000)
	topo := echo("errand", fine, fine)
	big := topology.NewTopic(topo, "big", codec.String, codec.String)
	var runs atomic.Int32
	begin := make(chan struct{})
	topology.Task(topo, "errand", func(ctx *topology.TaskContext) error {
		<-begin
		runs.Add(1)
		big.Send(ctx, "k", text)
		return nil
	}, topology.Sends(big), topology.OnFailure(topology.Policy{Attempts: 3, Backoff: topology.Backoff{Min: time.Millisecond, Max: time.Millisecond}, Then: topology.Skip}))
	n := w.node(t.TempDir(), topo)
	w.send("in", "a")
	w.read("out", 1)
	w.limit("big", "3000")
	close(begin)
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(n.Look().LastErrors, func(f status.Failure) bool { return f.Agent == "errand" && f.Decision == "skip" })
	}, patience, tick)
	done := runs.Load()
	w.send("in", "b")
	w.read("out", 2)
	require.Equal(t, done, runs.Load(), "it has ended")
}
