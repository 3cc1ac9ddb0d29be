package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/status"
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

// A topic that matches is shown by status once nodes have found it, and its partitions are stopped, resumed and completed by its name.
func TestStatusOfTopicPatterns(t *testing.T) {
	t.Parallel()
	s := &stopping{pattern: `orders\..+`}
	dir := t.TempDir()
	s.start(t, dir, "--topic-refresh", "100ms")
	completed := func() []string {
		r := s.run(t, "__complete", "tail", "--data-dir", dir, "")
		require.Zero(t, r.code, r.err)
		return strings.Fields(r.out)
	}
	at := func(state string, n int) func(status.Answer) bool {
		return func(a status.Answer) bool {
			seen := 0
			for _, x := range a.Nodes {
				for _, p := range x.Partitions {
					if p.Stage == "orders.one" && p.State == state {
						seen++
					}
				}
			}
			return seen == n
		}
	}
	require.NotContains(t, completed(), "orders.one")
	r := s.run(t, "status", "--data-dir", dir)
	require.Contains(t, r.out, "shop: 1 node, 1 partition (1 running)")

	require.Zero(t, s.run(t, "send", "orders.one", "good", "--key", "k", "--data-dir", dir).code)
	s.await(t, dir, at(status.Running, madePartitions))
	require.Contains(t, completed(), "orders.one")
	require.Zero(t, s.run(t, "send", "orders.one", "bad", "--key", "k", "--partition", "1", "--data-dir", dir).code)
	s.await(t, dir, at(status.Stopped, 1))
	r = s.run(t, "status", "--data-dir", dir)
	require.Zero(t, r.code, r.err)
	require.Regexp(t, `orders\.one/1 +stopped`, r.out)
	require.Contains(t, r.out, "orders.one/1: agent pay-orders.one: orders.one/1@0 failed: no such customer")
	r = s.run(t, "status", "--data-dir", dir, "--tree")
	require.Regexp(t, `orders\.one/1 +partition +stopped`, r.out)
	require.Regexp(t, `─ pay-orders\.one +agent +stopped`, r.out)

	s.mended.Store(true)
	r = s.run(t, "resume-partition", "orders.one/1", "--data-dir", dir)
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "partition orders.one/1 of topology shop goes on")
	s.await(t, dir, at(status.Running, madePartitions))
	require.Contains(t, completed(), "orders.one")
	require.Zero(t, s.run(t, "verify", "--data-dir", dir).code)
}

// A topic that matches and that nodes have not found yet is nothing that is wrong.
func TestVerifyBeforeATopicIsFound(t *testing.T) {
	t.Parallel()
	s := &stopping{pattern: `orders\..+`}
	dir := t.TempDir()
	s.start(t, dir, "--topic-refresh", "1h")
	require.Zero(t, s.run(t, "send", "orders.one", "good", "--data-dir", dir).code)
	r := s.run(t, "verify", "--data-dir", dir)
	require.Zero(t, r.code, "%s%s", r.out, r.err)
	require.Contains(t, r.out, "note   slot map: 4 partitions have no slot yet, of topics that match a pattern: nodes look for such topics")
	require.NotContains(t, r.out, "wrong ")
}
