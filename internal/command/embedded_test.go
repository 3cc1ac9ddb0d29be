package command

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// startBroker runs a broker alone, as the command does, until the test ends.
func startBroker(t *testing.T, dir string) (addr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended, ready := make(chan result, 1), make(chan struct{})
	var out, errs buffer
	app := &App{Name: "node", Topologies: []Topology{fakeTopology{p: wordcount()}}, Out: &readyWriter{buffer: &out, ready: ready}, Err: &errs}
	go func() {
		code := app.Run(ctx, []string{"broker", "--data-dir", dir})
		ended <- result{code, out.String(), errs.String()}
	}()
	t.Cleanup(func() {
		cancel()
		r := receive(t, ended)
		require.Zero(t, r.code, r.err)
	})
	receive(t, ready)
	return strings.TrimSpace(out.String())
}

// readyWriter tells of the first write.
type readyWriter struct {
	*buffer
	ready chan struct{}
	told  bool
}

func (w *readyWriter) Write(p []byte) (int, error) {
	n, err := w.buffer.Write(p)
	if !w.told {
		w.told = true
		close(w.ready)
	}
	return n, err
}

// makeTopics makes the topics of the plan and gives the state of the table.
func makeTopics(t *testing.T, addr string) {
	t.Helper()
	cluster, err := host.Connect(t.Context(), host.ClusterConfig{Brokers: []string{addr}})
	require.NoError(t, err)
	defer func() { require.NoError(t, cluster.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	changelog := wordcount().Tables[0].Changelog.Name
	require.NoError(t, cluster.Admin.Create(ctx, kafka.TopicSpec{Name: "lines", Partitions: 2}, kafka.TopicSpec{Name: "numbers", Partitions: 2}, kafka.TopicSpec{Name: changelog, Partitions: 2}))
	var out kafka.Outputs
	out.Append(0, 1, 0, []byte("a"), []byte("1"), nil)
	out.Append(0, 1, 0, []byte("c"), []byte("7"), nil)
	out.Append(0, 0, 0, []byte("b"), []byte("2"), nil)
	out.Append(0, 0, 0, []byte("tab\there"), []byte("3"), nil)
	out.Append(0, 1, 0, []byte("a"), []byte("4"), nil)
	out.Append(0, 1, 0, []byte("c"), nil, nil)
	_, err = cluster.Admin.Produce(ctx, []string{changelog}, &out)
	require.NoError(t, err)
}

func TestReadTables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addr := startBroker(t, dir)
	makeTopics(t, addr)
	// By its address and by the data directory in which it runs.
	for _, where := range [][]string{{"--brokers", addr}, {"--data-dir", dir}} {
		at := func(args ...string) result {
			return run(t, nil, append(append([]string{"-t", "wordcount"}, where...), args...)...)
		}
		require.Equal(t, result{out: "a\t4\nb\t2\ntab\\there\t3\n"}, at("scan", "counts", "--format", "tsv"))
		require.Equal(t, result{out: "KEY        VALUE\na          4\nb          2\ntab\\there  3\n"}, at("scan", "counts"))
		require.Equal(t, result{out: "a\t4\n"}, at("scan", "counts", "--format", "tsv", "--limit", "1"))
		require.Equal(t, result{out: "b\t2\n"}, at("scan", "counts", "--format", "tsv", "--prefix", "b"))
		require.Equal(t, result{out: "b\t2\na\t4\n"}, at("get", "counts", "b", "a", "--format", "tsv"))
		r := at("scan", "counts", "--format", "json")
		var rows []map[string]any
		require.NoError(t, json.Unmarshal([]byte(r.out), &rows), r.out)
		require.Equal(t, map[string]any{"key": "tab\there", "value": 3.0}, rows[2])
		require.Equal(t, result{out: "[]\n"}, at("scan", "counts", "--format", "json", "--prefix", "zzz"))
		require.Equal(t, result{code: exitFailed, err: "node: table counts has no key \"c\"\n"}, at("get", "counts", "c", "--format", "tsv"))
		require.Equal(t, result{out: "lines\t0\t-1\t0\t0\nlines\t1\t-1\t0\t0\nnumbers\t0\t-1\t0\t0\nnumbers\t1\t-1\t0\t0\n"}, at("lag", "--format", "tsv"))
	}
}

func TestSendAndTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// No node runs: each command starts the broker on what the one before left.
	at := func(args ...string) result {
		return run(t, nil, append([]string{"-t", "wordcount", "--data-dir", dir}, args...)...)
	}
	require.Equal(t, result{out: "lines/0@0\n"}, at("send", "lines", "a\tb"))
	require.Equal(t, result{out: "lines/1@0\n"}, at("send", "lines", "--key", "a", "--header", "h=v", "--timestamp", "2026-01-31T12:00:00.5Z", "c"))
	require.Equal(t, result{out: "lines/0@1\n"}, at("send", "lines", "--key", "", "--null"))
	require.Equal(t, exitWrongUse, at("send", "lines", "--partition", "7", "x").code)

	r := at("tail", "lines", "--once")
	require.Zero(t, r.code, r.err)
	require.ElementsMatch(t, []string{"(null)\ta\\tb", "a\tc", "\t(null)", ""}, strings.Split(r.out, "\n"))
	r = at("tail", "lines", "--once", "--format", "json")
	require.Contains(t, r.out, `{"topic":"lines","partition":1,"offset":0,"timestamp":"2026-01-31T12:00:00.5Z","key":"a","value":"c","headers":[{"name":"h","value":"v"}]}`)
	require.Contains(t, r.out, `"key":"","value":null`)
}

func TestTailFollows(t *testing.T) {
	t.Parallel()
	addr := startBroker(t, t.TempDir())
	makeTopics(t, addr)
	args := []string{"-t", "wordcount", "--brokers", addr}
	require.Zero(t, run(t, nil, append(args, "send", "lines", "before")...).code)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got, ended := make(chan struct{}), make(chan int, 1)
	var out buffer
	app := &App{Name: "node", Topologies: []Topology{fakeTopology{p: wordcount()}}, Out: &readyWriter{buffer: &out, ready: got}, Err: new(buffer)}
	go func() { ended <- app.Run(ctx, append(args, "tail", "lines", "--from-start")) }()
	receive(t, got)
	cancel()
	require.Zero(t, receive(t, ended))
	require.Equal(t, "(null)\tbefore\n", out.String())
}

func TestSecondBrokerRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addr := startBroker(t, dir)
	r := run(t, nil, "broker", "--data-dir", dir)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, oneLineOf(t, r), "has a broker running already, at "+addr)
}

// TestEveryKindOfTopic: each command reads, or refuses with a reason, whatever topic or table of a topology it is given.
func TestEveryKindOfTopic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	topo := topology.New("all")
	words := topology.NewTopic(topo, "words", codec.String, codec.String, topology.Partitions(1))
	topology.Count(topology.GroupBy(topology.From(words), func(w string) string { return w }),
		topology.NewTable(topo, "counts", codec.String, codec.Int64))
	at := func(args ...string) result {
		return runWith(t.Context(), nil, []Topology{topo}, append(args, "--data-dir", dir)...)
	}
	file := filepath.Join(t.TempDir(), "words")
	require.NoError(t, os.WriteFile(file, []byte("a\nb\n"), 0o600))
	r := at("--feed", "words="+file, "--drain", "--http", "off")
	require.Zero(t, r.code, r.err)
	p, err := topo.Plan()
	require.NoError(t, err)
	kinds := map[plan.Kind]bool{}
	for _, topic := range p.Topics {
		kinds[topic.Kind] = true
		c, err := host.Connect(t.Context(), host.ClusterConfig{DataDir: dir})
		require.NoError(t, err)
		if topic.Kind != plan.External {
			var out kafka.Outputs // as another program might write, or an older version
			out.Append(0, 0, 0, []byte("k"), []byte{0xff, 'v'}, nil)
			out.Append(0, 0, 0, []byte("null"), nil, nil)
			_, err = c.Admin.Produce(t.Context(), []string{topic.Name}, &out)
			require.NoError(t, err)
		}
		require.NoError(t, c.Close())
		for _, format := range []string{"tsv", "json"} {
			r := at("tail", topic.Name, "--once", "--format", format)
			require.Zero(t, r.code, "%s: %s", topic.Name, r.err)
			lines := strings.Split(strings.TrimSpace(r.out), "\n")
			require.GreaterOrEqual(t, len(lines), 2, topic.Name)
			for _, line := range lines {
				require.True(t, format == "tsv" || json.Valid([]byte(line)), "%s: %s", topic.Name, line)
			}
		}
		if topic.Kind != plan.External {
			r = at("send", topic.Name, "x", "--key", "k")
			require.Equal(t, exitWrongUse, r.code, r.err)
			require.Contains(t, r.err, "internal to the topology")
		}
	}
	require.Len(t, kinds, 6, "one topic of each kind")
	for _, args := range [][]string{{"scan", "counts"}, {"get", "counts", "a"}} {
		for _, format := range []string{"table", "tsv", "json"} {
			r := at(append(args, "--format", format)...)
			require.Zero(t, r.code, r.err)
		}
	}
}
