package wordcount

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

const text = "To be, or not to be:\nthat is the question.\n\nTO BE!"

func TestCounts(t *testing.T) {
	t.Parallel()
	topo := Topology()
	d := topologytest.New(t, topo)
	lines := topology.TopicOf[string, string](topo, "lines")
	words := topology.TopicOf[string, string](topo, "words")
	counts := topology.TableOf[string, int64](topo, "counts")

	want, n := map[string]int64{}, 0
	for line := range strings.Lines(text) {
		topologytest.Pipe(d, lines, "", line)
		for _, w := range Words(line) {
			want[w]++
			n++
		}
	}
	require.EqualValues(t, 3, want["to"])
	require.Equal(t, want, topologytest.Table(d, counts))
	require.Len(t, topologytest.Read(d, words), n)
	require.Empty(t, d.Failures())
}
