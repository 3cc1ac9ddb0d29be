package command

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// answering is a topology with an agent that answers and one that does not.
func answering() *topology.Topology {
	t := topology.New("asking")
	in := topology.NewTopic(t, "in", codec.String, codec.Int64)
	topology.Answer(t, "double", in, func(_ *topology.Context, e topology.Event[string, int64]) (int64, error) { return 2 * e.Value, nil }, codec.Int64)
	topology.Each(t, "watch", in, func(*topology.Context, topology.Event[string, int64]) error { return nil })
	return t
}

func TestAskIsUsedWrongly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no @":          {[]string{"double", "k", "1"}, `"double" is no agent: write @double`},
		"no such agent": {[]string{"@half", "k", "1"}, `topology asking has no agent "half"; those that answer: @double`},
		"no answer":     {[]string{"@watch", "k", "1"}, `agent watch of topology asking does not answer: define it with topology.Answer; those that do: @double`},
		"bad value":     {[]string{"@double", "k", "x"}, `value "x" of topic in is not an int64`},
		"no deadline":   {[]string{"@double", "k", "1", "--timeout", "0s"}, `use a positive duration`},
		"too few":       {[]string{"@double", "k"}, `ask takes an agent as @NAME, a key and a value`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runWith(t.Context(), nil, []Topology{answering()}, append([]string{"ask", "--data-dir", t.TempDir()}, c.args...)...)
			require.Equal(t, exitWrongUse, r.code, r.err)
			require.Contains(t, oneLineOf(t, r), c.want)
		})
	}
}

// On the embedded broker of a data directory in which no node runs, there is nobody to ask.
func TestAskWithoutANode(t *testing.T) {
	t.Parallel()
	r := runWith(t.Context(), nil, []Topology{answering()}, "ask", "--data-dir", t.TempDir(), "--timeout", "1s", "@double", "k", "1")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, oneLineOf(t, r), "ask agent double of topology asking: no node runs the topology: group asking has no members; start a node")
}
