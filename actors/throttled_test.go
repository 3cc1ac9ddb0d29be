package actors_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// A node gives an agent that is throttled one record after the other, by itself, and tells until when one is held back.
func TestNodeThrottles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out", "held")
	topo := topology.New("throttled")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.To(topology.From(topology.Throttle(in, 1, 100*time.Millisecond)), topology.NewTopic(topo, "out", codec.String, codec.String))
	topology.To(topology.From(topology.Throttle(in, 1, time.Hour)), topology.NewTopic(topo, "held", codec.String, codec.String))
	n := w.node(t.TempDir(), topo)
	w.send("in", "a", "b", "c", "d")
	require.Equal(t, []string{"a", "b", "c", "d"}, valuesOf(w.read("out", 4)))
	st := inspected(t, n, func(st status.Node) bool { return of(st).Why != "" && of(st).Agents[1].In == 1 })
	require.Equal(t, status.Running, of(st).State)
	require.Regexp(t, `^to-held is throttled to 1 in 1h0m0s, until \d+-`, of(st).Why)
	require.Equal(t, "throttled", of(st).Agents[1].State)
	require.Equal(t, []string{"a"}, valuesOf(w.read("held", 1)))
	w.stop(n)
}
