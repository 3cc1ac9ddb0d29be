package topologytest_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// Topics that match are read whenever they appear, by agents and by flows, whose state is kept behind a topic of the topology's own; what has been
// done of one stays done when others come.
func TestTopicPattern(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	clicks := topology.NewTopicPattern(topo, "clicks", `clicks\..+`, codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.Agent(topo, "copy", clicks, func(ctx ctxOf, in topology.Stream[string, string]) error {
		for ev := range in.All() {
			out.Send(ctx, ev.Key, ev.Topic()+" "+ev.Value)
			if ev.Value == "bad" {
				return topology.Permanent(errors.New("bad"))
			}
		}
		return nil
	}, topology.Sends(out))
	topology.Count(topology.GroupBy(topology.From(clicks), func(value string) string { return value }), counts)
	d := topologytest.New(t, topo)
	require.Empty(t, values(d, out))
	topologytest.PipeMatching(d, clicks, "clicks.eu", "a", "x")
	topologytest.PipeMatching(d, clicks, "clicks.us", "b", "x")
	d.Crash()
	topologytest.PipeMatching(d, clicks, "clicks.eu", "a", "bad")
	topologytest.PipeMatching(d, clicks, "clicks.asia", "c", "y")
	require.ElementsMatch(t, []string{"clicks.eu x", "clicks.us x", "clicks.asia y"}, values(d, out))
	require.Equal(t, map[string]int64{"x": 2, "bad": 1, "y": 1}, topologytest.Table(d, counts))
	l := letters(d)
	require.Len(t, l, 1)
	require.Equal(t, "copy-clicks.eu", l[0].headers["troupe.agent"])
	require.Equal(t, "clicks.eu", l[0].headers["troupe.topic"])
}

// Where to start is said for what is there at first: what appears later is read from its beginning.
func TestTopicPatternStarts(t *testing.T) {
	t.Parallel()
	define := func(agents ...string) (*topology.Topology, *topology.TopicPattern[string, string], texts) {
		topo := topology.New("test")
		in := topology.NewTopicPattern(topo, "in", `in-.+`, codec.String, codec.String, topology.ReadFrom(topology.Latest))
		out := topology.NewTopic(topo, "out", codec.String, codec.String)
		for _, name := range agents {
			topology.Each(topo, name, in, func(ctx ctxOf, ev event) error {
				out.Send(ctx, ev.Key, name+" "+ev.Value)
				return nil
			}, topology.Sends(out))
		}
		return topo, in, out
	}
	topo, in, out := define("one")
	d := topologytest.New(t, topo, topologytest.Matching("in-first"))
	topologytest.PipeMatching(d, in, "in-first", "k", "1")
	topologytest.PipeMatching(d, in, "in-later", "k", "2")
	topo, in, _ = define("one", "two")
	require.NoError(t, d.Upgrade(topo))
	topologytest.PipeMatching(d, in, "in-first", "k", "3")
	require.ElementsMatch(t, []string{"one 1", "one 2", "two 2", "one 3", "two 3"}, values(d, out))
}
