package actors_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Channels between agents of all kinds, on a real node: what a record causes through them is committed with it, whole, or not at all.
func TestNodeChannels(t *testing.T) {
	t.Parallel()
	const n = 300
	top := topology.New("pipes")
	in := topology.NewTopic(top, "in", codec.String, codec.String)
	out := topology.NewTopic(top, "out", codec.String, codec.String)
	words := topology.NewChannel[string, string](top, "words", topology.Capacity(16))
	loud := topology.NewChannel[string, string](top, "loud", topology.Capacity(4))
	topology.Each(top, "split", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		for w := range strings.FieldsSeq(ev.Value) {
			words.Send(ctx, ev.Key, w)
		}
		return nil
	}, topology.Sends(words))
	topology.Agent(top, "gather", words, func(ctx *topology.Context, s topology.Stream[string, string]) error {
		for batch := range s.Batches(7, time.Hour) { // it is not waited for longer than to the next commit
			for _, ev := range batch {
				loud.Send(ctx, ev.Key, strings.ToUpper(ev.Value))
			}
		}
		return nil
	}, topology.Sends(loud))
	receive := func(c actor.Context) {
		b, ok := c.Message().(*topology.Batch[string, string])
		if !ok {
			return
		}
		for i := range b.Len() {
			ctx, err := b.Begin(i)
			if err != nil {
				return
			}
			ev, err := b.At(i)
			if err == nil && ev.Value == "BAD" {
				err = errors.New("no such word")
			}
			if err != nil {
				_ = b.Fail(i, err)
				return
			}
			out.Send(ctx, ev.Key, ev.Value)
			if b.Done(i) != nil {
				return
			}
		}
	}
	topology.Props(top, "write", loud, actor.PropsFromFunc(receive), topology.Sends(out))
	top.OnFailure(topology.Policy{Attempts: 2, Backoff: topology.Backoff{Min: time.Millisecond}})
	w := newWorld(t, 1, "in", "out")
	h := w.node(t.TempDir(), top)
	var lines, want []string
	for i := range n {
		line := "a b c"
		if i%100 == 50 {
			line = "a bad c"
		} else {
			want = append(want, "A", "B", "C")
		}
		lines = append(lines, line)
	}
	w.send("in", lines...)
	require.Equal(t, want, valuesOf(w.read("out", len(want))))
	w.stop(h)
	letters := w.read("pipes-dead-letters", n/100)
	for _, l := range letters {
		require.Equal(t, "a bad c", string(l.Value))
		require.Equal(t, "split", header(l, "troupe.agent"))
		require.Equal(t, "write", header(l, "troupe.failed-in"))
		require.Equal(t, "2", header(l, "troupe.attempts"))
	}
}
