//go:build integration

package integration

import (
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/integration/realkafka"
	"github.com/troupe-stream/troupe/internal/cmem"
)

// TestTheClientOnKafka counts with each Kafka client, or the one that TROUPE_CLIENT names, while nodes come and go, and while the broker is
// stopped and started again. The nodes look for data races, and at what becomes of pointers.
func TestTheClientOnKafka(t *testing.T) {
	raced, err := nodes.BuildPackage(t.Context(), t.TempDir(), "cmd/node", "-race", "-tags", "crashpoints")
	require.NoError(t, err)
	for _, client := range clients() {
		t.Run(client, func(t *testing.T) { onKafka(t, client, raced) })
	}
}

// clients are the Kafka clients to test.
func clients() []string {
	if one := os.Getenv("TROUPE_CLIENT"); one != "" {
		return []string{one}
	}
	return []string{"batched", "public"}
}

func onKafka(t *testing.T, client, program string) {
	t.Helper()
	k, err := realkafka.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	brokers := strings.Join(k.Brokers(), ",")
	t.Logf("on Kafka %s at %s", realkafka.Version, brokers)
	lines := makeText(rng(t), 1<<20)
	drain(t, brokers, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	start := func() *nodes.Node {
		n, err := nodes.Start(program, nil, args(brokers, t.TempDir(), "--client", client)...)
		require.NoError(t, err)
		t.Cleanup(n.Kill)
		t.Cleanup(func() { require.NotContains(t, n.Output(), "DATA RACE") })
		require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Contains(out, "partition running") }))
		require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Contains(out, "client="+client) }))
		return n
	}
	commits := func(nodes ...*nodes.Node) {
		for _, n := range nodes {
			before := -1
			require.NoError(t, n.Await(ctx, func(out string) bool {
				now := strings.Count(out, "trace commit.committed")
				if before < 0 {
					before = now
				}
				return now >= before+2
			}))
		}
	}
	f := feed(t, brokers, lines, 20*time.Second)
	a := start()
	commits(a)
	few(ctx, t, a)
	b := start() // half of the partitions move
	commits(a, b)
	// In order: the only broker, killed within milliseconds of a commit and started again at once, may leave the transaction open for ever
	// (docs/guarantees.md, "Brokers that die together"). integration/chaos kills brokers of three.
	require.NoError(t, k.StopBroker(ctx, 0))
	require.NoError(t, k.Restart(ctx, 0))
	f.wait(t)
	f = feed(t, brokers, lines, 15*time.Second)
	commits(a, b)
	require.NoError(t, a.Stop(ctx)) // and back
	f.wait(t)
	require.NoError(t, b.Stop(ctx))
	drain(t, brokers, t.TempDir(), "--client", client)
	want := plainCount(lines)
	for word := range want {
		want[word] *= 2
	}
	same(t, want, wordsOf(t, brokers, sum(want)), "topic words")
	same(t, want, tableOf(t, brokers), "table counts")
}

// few looks how many arenas a node has for C's heap, whose clients have all their threads: it bounds them, before there are any.
func few(ctx context.Context, t *testing.T, n *nodes.Node) {
	t.Helper()
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+\b`)
	require.NoError(t, n.Await(ctx, address.MatchString))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.FindString(n.Output())+"/metrics", http.NoBody)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // it is read
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	told := regexp.MustCompile(`(?m)^troupe_native_memory_arenas (\d+)$`).FindSubmatch(body)
	if cmem.Arenas() == 0 {
		require.Nil(t, told, "the C library is not glibc")
		return
	}
	require.NotNil(t, told)
	arenas, err := strconv.Atoi(string(told[1]))
	require.NoError(t, err)
	t.Logf("%d arenas", arenas)
	require.LessOrEqual(t, arenas, cmem.Most()+runtime.NumCPU()+6) // eight for each core without the bound; some are there before it is set
}

// TestTheClientOfANode: the batched client is the one that is chosen where nothing is said, here.
func TestTheClientOfANode(t *testing.T) {
	if os.Getenv("TROUPE_CLIENT") != "" {
		t.Skip("TROUPE_CLIENT says which client it is")
	}
	n, err := nodes.Start(binary, nil, "--topology", "wordcount", "--data-dir", t.TempDir(), "--drain")
	require.NoError(t, err)
	t.Cleanup(n.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Contains(out, "client=batched") }))
	require.NoError(t, n.Wait(ctx))
}
