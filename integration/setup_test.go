//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/integration/realkafka"
)

// binary is the node command, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "troupe-node")
	if err == nil {
		binary, err = nodes.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// onBoth runs a test on a real Kafka and on the embedded broker in a process of its own.
func onBoth(t *testing.T, test func(t *testing.T, brokers string)) {
	t.Helper()
	t.Run("kafka", func(t *testing.T) { test(t, realKafka(t)) })
	t.Run("embedded", func(t *testing.T) { test(t, embeddedBroker(t)) })
}

func realKafka(t *testing.T) string {
	t.Helper()
	k, err := realkafka.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	addr := strings.Join(k.Brokers(), ",")
	t.Logf("on Kafka %s at %s", realkafka.Version, addr)
	return addr
}

func embeddedBroker(t *testing.T) string {
	t.Helper()
	addr := freeAddr(t)
	n, err := nodes.Start(binary, nil, "broker", "--data-dir", t.TempDir(), "--listen", addr)
	require.NoError(t, err)
	t.Cleanup(n.Kill)
	c, err := kgo.NewClient(kgo.SeedBrokers(addr))
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool { return c.Ping(t.Context()) == nil }, 20*time.Second, 20*time.Millisecond, n.Output())
	t.Logf("on the embedded broker at %s", addr)
	return addr
}

// rng returns the test's source of randomness. Its seed is printed, and taken back from TROUPE_SEED.
func rng(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("TROUPE_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("TROUPE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// makeText returns lines of words with the frequencies of a language, some of them not ASCII.
func makeText(r *rand.Rand, size int) []string {
	syllables := []string{"ta", "ri", "mo", "ken", "lu", "sa", "ö", "né", "жи", "שלום", "the", "a", "42"}
	vocabulary := make([]string, 5000)
	for i := range vocabulary {
		var b strings.Builder
		for range 1 + r.IntN(3) {
			b.WriteString(syllables[r.IntN(len(syllables))])
		}
		vocabulary[i] = b.String()
	}
	zipf := rand.NewZipf(r, 1.1, 2, uint64(len(vocabulary)-1))
	var lines []string
	for total := 0; total < size; {
		var b strings.Builder
		for range r.IntN(14) {
			b.WriteString(vocabulary[zipf.Uint64()])
			b.WriteString([]string{" ", ", ", ". ", " — "}[r.IntN(4)])
		}
		lines = append(lines, b.String())
		total += b.Len() + 1
	}
	return lines
}

// plainCount is what a few lines of Go make of a text.
func plainCount(lines []string) map[string]int64 {
	counts := map[string]int64{}
	for _, l := range lines {
		for _, w := range wordcount.Words(l) {
			counts[w]++
		}
	}
	return counts
}

// tableOf reads a table as the command prints it.
func tableOf(t *testing.T, brokers string) map[string]int64 {
	t.Helper()
	out, err := nodes.Run(t.Context(), binary, "scan", "counts", "--topology", "wordcount", "--brokers", brokers, "--format", "tsv", "--data-dir", t.TempDir())
	require.NoError(t, err)
	counts := map[string]int64{}
	for line := range strings.Lines(out) {
		k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		require.True(t, ok, line)
		n, err := strconv.ParseInt(v, 10, 64)
		require.NoError(t, err)
		counts[k] = n
	}
	return counts
}

// wordsOf reads the topic words, committed records only, and counts them.
func wordsOf(t *testing.T, brokers string, want int64) map[string]int64 {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics("words"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	require.NoError(t, err)
	defer c.Close()
	counts, total := map[string]int64{}, int64(0)
	quiet := 0
	for quiet < 5 || total < want { // until nothing more comes: too many would show as well
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		f := c.PollFetches(ctx)
		cancel()
		n := 0
		f.EachRecord(func(r *kgo.Record) { counts[string(r.Key)]++; n++ })
		if total += int64(n); n == 0 {
			quiet++
		} else {
			quiet = 0
		}
		require.Less(t, quiet, 60, "words has %d records, %d expected", total, want)
	}
	return counts
}

func sum(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

// same compares counts, and says briefly what differs.
func same(t *testing.T, want, got map[string]int64, what string) {
	t.Helper()
	bad := 0
	for k, v := range want {
		if got[k] != v {
			if bad++; bad < 10 {
				t.Errorf("%s: %q is %d, not %d", what, k, got[k], v)
			}
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			if bad++; bad < 10 {
				t.Errorf("%s: %q is %d and should not be there", what, k, v)
			}
		}
	}
	require.Zero(t, bad, "%s: %d of %d keys differ; the sums are %d and should be %d", what, bad, len(want), sum(got), sum(want))
}

// feeder sends lines to the topic lines, at a steady pace.
type feeder struct {
	wg  sync.WaitGroup
	err error
}

// feed begins to send lines over a span of time; each is acknowledged once.
func feed(t *testing.T, brokers string, lines []string, over time.Duration) *feeder {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.DefaultProduceTopic("lines"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	require.NoError(t, err)
	f := new(feeder)
	f.wg.Go(func() {
		defer c.Close()
		const step = 50 * time.Millisecond
		steps := max(int(over/step), 1)
		tick := time.NewTicker(step)
		defer tick.Stop()
		for i := range steps {
			for _, l := range lines[len(lines)*i/steps : len(lines)*(i+1)/steps] {
				c.Produce(t.Context(), &kgo.Record{Value: []byte(l)}, func(_ *kgo.Record, err error) {
					if err != nil {
						f.err = err
					}
				})
			}
			select {
			case <-tick.C:
			case <-t.Context().Done():
				return
			}
		}
		if err := c.Flush(t.Context()); err != nil {
			f.err = err
		}
	})
	return f
}

func (f *feeder) wait(t *testing.T) {
	t.Helper()
	f.wg.Wait()
	require.NoError(t, f.err)
}

// args are the arguments of a wordcount node.
func args(brokers, dir string, more ...string) []string {
	return append([]string{"--topology", "wordcount", "--brokers", brokers, "--data-dir", dir, "--create-topics", "--kafka", "session.timeout.ms=6000"}, more...)
}

// drain runs a node until everything is counted.
func drain(t *testing.T, brokers, dir string, more ...string) {
	t.Helper()
	n, err := nodes.Start(binary, nil, args(brokers, dir, append(more, "--drain")...)...)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.NoError(t, n.Wait(ctx))
}

// writeLines writes a file for --feed.
func writeLines(t *testing.T, lines []string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return path
}
