package actors_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Workers of an agent run at the same time, each with keys of its own, in order; a record that fails is found among them.
func TestNodeConcurrency(t *testing.T) {
	t.Parallel()
	const workers, n = 4, 200
	top := topology.New("lanes")
	in := topology.NewTopic(top, "in", codec.String, codec.String)
	out := topology.NewTopic(top, "out", codec.String, codec.String)
	mid := topology.NewTopic(top, "mid", codec.String, codec.String)
	topology.Each(top, "key", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		mid.Send(ctx, ev.Value[:2], ev.Value)
		return nil
	}, topology.Sends(mid))
	var mu sync.Mutex
	running, failed := map[string]bool{}, false
	together := make(chan struct{}) // closed when all workers have had a record at the same time
	topology.Each(top, "work", mid, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		mu.Lock()
		twice := running[ev.Key] && !failed // a worker of the incarnation that has failed may be about to notice that it is to end
		running[ev.Key] = true
		if len(running) == workers {
			select {
			case <-together:
			default:
				close(together)
			}
		}
		mu.Unlock()
		defer func() {
			mu.Lock()
			delete(running, ev.Key)
			mu.Unlock()
		}()
		if twice {
			return topology.Permanent(errors.New("the key is handled by two workers"))
		}
		select {
		case <-together:
		case <-ctx.Done():
			return ctx.Err()
		}
		if ev.Value == "k3-150" {
			mu.Lock()
			failed = true
			mu.Unlock()
			return topology.Permanent(errors.New("bad value"))
		}
		out.Send(ctx, ev.Key, ev.Value)
		return nil
	}, topology.Sends(out), topology.Concurrency(workers), topology.OnFailure(topology.Policy{Backoff: topology.Backoff{Min: time.Millisecond}}))
	w := newWorld(t, 1, "in", "mid", "out")
	h := w.node(t.TempDir(), top)
	var values []string
	want := map[string][]string{}
	for i := range n {
		v := fmt.Sprintf("k%d-%d", i%7, i) // seven keys, so that each worker has one
		values = append(values, v)
		if v != "k3-150" {
			want[v[:2]] = append(want[v[:2]], v)
		}
	}
	w.send("in", values...)
	got := map[string][]string{}
	for _, r := range w.read("out", n-1) {
		got[string(r.Key)] = append(got[string(r.Key)], string(r.Value))
	}
	require.Equal(t, want, got)
	w.stop(h)
	require.Equal(t, []string{"k3-150"}, valuesOf(w.read("lanes-dead-letters", 1)))
}
