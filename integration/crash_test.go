//go:build integration

package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/nodes"
)

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends at once
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // nobody has connected
	return l.Addr().String()
}

// span is how long the texts of crash tests are fed: TROUPE_SPAN, a minute by default.
func span(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv("TROUPE_SPAN"))
	if err != nil {
		return time.Minute
	}
	return d
}

// TestWordcountThroughKills counts a text of 5 MB that comes over a minute, while the node is killed with -9 and started
// again 20 times; at least 12 of the kills hit an open transaction, and 3 hit between produce and commit.
func TestWordcountThroughKills(t *testing.T) { onBoth(t, throughKills) }

func throughKills(t *testing.T, brokers string) {
	t.Helper()
	r := rng(t)
	lines := makeText(r, 5<<20)
	dir := t.TempDir()
	drain(t, brokers, dir) // makes the topics
	f := feed(t, brokers, lines, span(t))
	inside, between := 0, 0
	for i := range 20 {
		moment := []string{"produced", "offsets", "begun", "offsets", "produced", "committed"}[i%6]
		at := 2 + r.IntN(12)
		n, err := nodes.Start(binary, []string{fmt.Sprintf("TROUPE_CRASHPOINT=commit.%s@%d", moment, at)}, args(brokers, dir)...)
		require.NoError(t, err)
		select {
		case <-n.Done():
		case <-time.After(time.Duration(4+r.IntN(4)) * time.Second): // nothing to do, or a kill at any moment
			n.Kill()
		case <-t.Context().Done():
			n.Kill()
			t.FailNow()
		}
		last, begun := n.Moment()
		if last != "committed" && last != "" {
			inside++
		}
		if last == "produced" || last == "offsets" {
			between++
		}
		t.Logf("kill %d: transaction %d, last moment %q", i+1, begun, last)
		require.NotContains(t, n.Output(), "panic:")
	}
	f.wait(t)
	require.GreaterOrEqual(t, inside, 12, "kills inside an open transaction")
	require.GreaterOrEqual(t, between, 3, "kills between produce and commit")
	drain(t, brokers, dir)
	want := plainCount(lines)
	same(t, want, wordsOf(t, brokers, sum(want)), "topic words")
	same(t, want, tableOf(t, brokers), "table counts")
}

// TestTwoNodesOneKilledThirdJoins counts while the members of the group change.
func TestTwoNodesOneKilledThirdJoins(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers string) {
		t.Helper()
		lines := makeText(rng(t), 1<<20)
		drain(t, brokers, t.TempDir())
		f := feed(t, brokers, lines, 25*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		running := func(n *nodes.Node) {
			require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Contains(out, "partition running") }))
		}
		start := func() *nodes.Node {
			n, err := nodes.Start(binary, nil, args(brokers, t.TempDir())...)
			require.NoError(t, err)
			t.Cleanup(n.Kill)
			running(n)
			return n
		}
		a := start()
		b := start()
		committed := func(n *nodes.Node, count int) {
			require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Count(out, "trace commit.committed") >= count }))
		}
		committed(a, 5)
		committed(b, 5)
		a.Kill()
		c := start() // takes over once the dead one's session is over
		committed(c, 5)
		f.wait(t)
		require.NoError(t, b.Stop(ctx))
		require.NoError(t, c.Stop(ctx))
		drain(t, brokers, t.TempDir())
		want := plainCount(lines)
		same(t, want, wordsOf(t, brokers, sum(want)), "topic words")
		same(t, want, tableOf(t, brokers), "table counts")
	})
}

// TestCheckpointDamaged counts on after a checkpoint was deleted, cut, damaged, or brought back from an older time.
func TestCheckpointDamaged(t *testing.T) {
	damages := []struct {
		name   string
		damage func(t *testing.T, path string, older []byte)
	}{
		{"deleted", func(t *testing.T, path string, _ []byte) { t.Helper(); require.NoError(t, os.Remove(path)) }},
		{"truncated", func(t *testing.T, path string, _ []byte) {
			t.Helper()
			st, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(path, st.Size()*2/3))
		}},
		{"flipped", func(t *testing.T, path string, _ []byte) {
			t.Helper()
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			for i := range 20 {
				b[len(b)*(i+1)/22] ^= 4
			}
			require.NoError(t, os.WriteFile(path, b, 0o600))
		}},
		{"older", func(t *testing.T, path string, older []byte) {
			t.Helper()
			require.NoError(t, os.WriteFile(path, older, 0o600))
		}},
	}
	onBoth(t, func(t *testing.T, brokers string) {
		t.Helper()
		r := rng(t)
		dir := t.TempDir()
		var all []string
		part := func() string {
			lines := makeText(r, 100<<10)
			all = append(all, lines...)
			return "lines=" + writeLines(t, lines)
		}
		drain(t, brokers, dir, "--feed", part())
		older := map[string][]byte{}
		for _, path := range checkpoints(t, dir) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			older[path] = b
		}
		require.Len(t, older, 4)
		for _, x := range damages {
			drain(t, brokers, dir, "--feed", part())
			for _, path := range checkpoints(t, dir) {
				x.damage(t, path, older[path])
			}
			drain(t, brokers, dir, "--feed", part())
			same(t, plainCount(all), tableOf(t, brokers), "after "+x.name)
		}
	})
}

func checkpoints(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), "counts-") && strings.HasSuffix(path, ".db") {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}
