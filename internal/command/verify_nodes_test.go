package command

import (
	"context"
	"log/slog"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/gateway"
	"github.com/troupe-stream/troupe/internal/status"
)

// liar is a node that has other things in memory than its changelog says.
type liar struct {
	gateway.Node
	st     status.Node
	digest func() status.Digest
}

func (l *liar) Inspect(context.Context) status.Node         { return l.st }
func (l *liar) Digest(string, int32) (status.Digest, error) { return l.digest(), nil }

// What running nodes have in memory is compared with the changelog, whoever is asked.
func TestVerifyRunningNodes(t *testing.T) {
	t.Parallel()
	s := &stopping{}
	dir := t.TempDir()
	errs, _ := s.start(t, dir)
	broker := regexp.MustCompile(`embedded, at ([0-9.:]+)`).FindStringSubmatch(errs.String())[1]
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		require.Zero(t, s.run(t, "send", "orders", "good", "--key", key, "--brokers", broker).code)
	}
	s.await(t, dir, func(a status.Answer) bool {
		entries := int64(0)
		for _, p := range a.Nodes[0].Partitions {
			for _, x := range p.Shards {
				entries += x.Entries
			}
		}
		return entries == 5 && a.Nodes[0].Commits.Committed > 0
	})
	r := s.run(t, "verify", "--data-dir", dir)
	require.Zero(t, r.code, r.out+r.err)
	require.Contains(t, r.out, "agree with the changelog, and 2 shards of running nodes")

	g, err := gateway.Listen(gateway.Config{Addr: "127.0.0.1:0", Instance: "liar", Topologies: []string{"shop"}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer g.Close() //nolint:errcheck // of a test
	l := &liar{st: status.Node{Topology: "shop", Instance: "liar", Partitions: []status.Partition{{Stage: "orders", Shards: []status.Shard{{Table: "seen"}}}}}}
	g.Set("shop", l, nil)
	verify := func(code int, want string) {
		t.Helper()
		r := s.run(t, "verify", "--data-dir", dir, "--address", g.URL())
		require.Equal(t, code, r.code, r.out+r.err)
		require.Contains(t, r.out, want)
	}
	l.digest = func() status.Digest { return status.Digest{Known: true, Entries: 3, Sum: 7} }
	verify(exitFailed, "wrong  table seen/0: node liar has 3 keys in memory, the changelog")
	n := int64(0)
	l.digest = func() status.Digest { n++; return status.Digest{Known: true, Committed: n} }
	verify(exitClean, "note   table seen/0: not compared with node liar: it changes too fast")
	l.digest = func() status.Digest { return status.Digest{Why: "it is being restored"} }
	verify(exitClean, "note   table seen/0: not compared with node liar: it is being restored")
	require.NoError(t, g.Close())
	r = s.run(t, "verify", "--data-dir", dir, "--address", g.URL())
	require.Zero(t, r.code)
	require.Contains(t, r.out, "note   nodes: what running nodes have in memory is not compared: nothing listens at")
}
