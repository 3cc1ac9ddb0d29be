package command

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Commands know the topics that match a pattern by their names, and the pattern itself.
func TestTopicPatterns(t *testing.T) {
	t.Parallel()
	topo := topology.New("harbor")
	ships := topology.NewTopicPattern(topo, "ships", `ship\..+`, codec.String, codec.String)
	topology.To(topology.From(ships), topology.NewTopic(topo, "landed", codec.String, codec.String))
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "goods")
	require.NoError(t, os.WriteFile(file, []byte("coal\ntea\n"), 0o600))
	at := func(args ...string) result {
		return runWith(t.Context(), nil, []Topology{topo}, append(args, "--topology", "harbor", "--data-dir", dir)...)
	}
	r := at("send", "boat.one", "rum")
	require.NotZero(t, r.code)
	require.Contains(t, r.err, `those that match ship\..+`)
	r = at("--feed", "ship.none="+file, "--drain", "--http", "off")
	require.NotZero(t, r.code)
	require.Contains(t, r.err, "the topic does not exist: make it, and nodes that match it with")
	r = at("send", "ship.one", "rum")
	require.Zero(t, r.code, r.err)
	r = at("--feed", "ship.one="+file, "--drain", "--http", "off")
	require.Zero(t, r.code, r.err)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"tail", "landed", "--once"}, []string{"rum", "coal", "tea"}},
		{[]string{"lag"}, []string{"ship.one"}},
		{[]string{"describe"}, []string{"ships", `ship\..+`}},
		{[]string{"verify"}, nil},
		{[]string{"tail", "ship.one", "--once"}, []string{"rum", "coal", "tea"}},
	} {
		args := c.args
		if args[0] == "describe" {
			r = runWith(t.Context(), nil, []Topology{topo}, "describe", "harbor")
		} else {
			r = at(args...)
		}
		require.Zero(t, r.code, "%v: %s%s", args, r.out, r.err)
		for _, want := range c.want {
			require.Contains(t, r.out, want, "%v", args)
		}
	}
}
