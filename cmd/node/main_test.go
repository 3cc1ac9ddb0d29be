package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-stream/troupe/examples/audit"
	"github.com/troupe-stream/troupe/examples/bank"
	"github.com/troupe-stream/troupe/examples/chat"
	"github.com/troupe-stream/troupe/examples/enrich"
	"github.com/troupe-stream/troupe/examples/flaky"
	"github.com/troupe-stream/troupe/examples/fraud"
	"github.com/troupe-stream/troupe/examples/inventory"
	"github.com/troupe-stream/troupe/examples/orders"
	"github.com/troupe-stream/troupe/examples/pageviews"
	"github.com/troupe-stream/troupe/examples/sensor"
	"github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/internal/command"
)

func TestMain(m *testing.M) {
	if os.Getenv(asNode) != "" {
		main() // the test has started itself as the command
	}
	goleak.VerifyTestMain(m,
		// A client that hangs in its own Close is left: see the tests of actors.
		goleak.IgnoreAnyFunction("github.com/troupe-stream/troupe/kafka/confluent.closesInTime.func1"),
		// The actor library lets the throttle of its dead letters run out by itself,
		goleak.IgnoreTopFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
		// and a database that is closed notices it at its next tick, within a second.
		goleak.IgnoreTopFunction("github.com/tidwall/buntdb.(*DB).backgroundManager"))
}

// topologies are those of main.
func topologies() []command.Topology {
	return []command.Topology{
		wordcount.Topology(), audit.Topology(), flaky.Topology(), pageviews.Topology(), orders.Topology(), bank.Topology(),
		enrich.Topology(), fraud.Topology(), chat.Topology(), sensor.Topology(), inventory.Topology(),
	}
}

// node runs the command inside this process, for a minute at most.
func node(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	app := &command.App{Name: "node", Topologies: topologies(), In: strings.NewReader(""), Out: &stdout, Err: &stderr}
	code = app.Run(ctx, args)
	require.NoError(t, ctx.Err(), "not within a minute: %s", &stderr)
	return code, stdout.String(), stderr.String()
}

const text = "To be, or not to be:\nthat is the question.\n\nTo be!"

// tsv is a plain count of the text, as scan prints it.
func tsv(times int) string {
	counts := map[string]int{}
	for _, w := range wordcount.Words(text) {
		counts[w] += times
	}
	var b strings.Builder
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "%s\t%d\n", w, counts[w])
	}
	return b.String()
}

func TestWordcount(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	book, nothing := filepath.Join(dir, "book.txt"), filepath.Join(dir, "empty.txt")
	require.NoError(t, os.WriteFile(book, []byte(text), 0o600))
	require.NoError(t, os.WriteFile(nothing, nil, 0o600))
	at := []string{"--topology", "wordcount", "--data-dir", filepath.Join(dir, "data")}
	run := func(args ...string) (string, string) {
		code, out, errs := node(t, append(at, args...)...)
		require.Zero(t, code, errs)
		return out, errs
	}
	shown, banner := run("--feed", "lines="+book, "--show", "counts", "--drain")
	for _, w := range []string{"embedded", "killing this process", filepath.Join(dir, "data"), "feeding twice counts twice", "exactly-once"} {
		require.Contains(t, banner, w)
	}
	// The last change of each key that was shown is what the table holds.
	last := map[string]string{}
	for line := range strings.Lines(shown) {
		key, _, _ := strings.Cut(line, "\t")
		last[key] = line
	}
	require.Equal(t, tsv(1), strings.Join(slices.Sorted(maps.Values(last)), ""))
	out, _ := run("scan", "counts", "--format", "tsv")
	require.Equal(t, tsv(1), out)
	out, _ = run("get", "counts", "be", "--format", "tsv")
	require.Equal(t, "be\t3\n", out)

	// A second run goes on from there, and an empty file adds nothing.
	run("--feed", "lines="+book, "--drain")
	_, said := run("--feed", "lines="+nothing, "--drain")
	require.Contains(t, said, nothing+" is empty: nothing to feed")
	out, _ = run("scan", "counts", "--format", "tsv")
	require.Equal(t, tsv(2), out)
	out, _ = run("lag", "--format", "tsv")
	for line := range strings.Lines(out) {
		require.True(t, strings.HasSuffix(line, "\t0\n"), line)
	}
}

func TestCommandsOfAllExamples(t *testing.T) {
	t.Parallel()
	code, out, errs := node(t, "topologies")
	require.Zero(t, code, errs)
	for _, topo := range topologies() {
		name := topo.Name()
		require.Contains(t, out, name)
		for _, format := range []string{"text", "mermaid", "dot", "json"} {
			code, out, errs := node(t, "describe", name, "--format", format)
			require.Zero(t, code, errs)
			require.NotEmpty(t, out)
		}
	}
	code, out, errs = node(t, "version", "--licenses")
	require.Zero(t, code, errs)
	require.Contains(t, out, "librdkafka")
}

func TestAudit(t *testing.T) {
	t.Parallel()
	at := []string{"--topology", "audit", "--data-dir", t.TempDir()}
	code, _, errs := node(t, append(at, "--feed", "orders=../../examples/audit/orders.tsv", "--feed-keyed", "--drain")...)
	require.Zero(t, code, errs)
	code, out, errs := node(t, append(at, "tail", "audit", "--once")...)
	require.Zero(t, code, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	require.Equal(t, []string{
		`o-1	{"order":{"customer":"ada","amount":4200,"currency":"EUR"},"ok":true}`,
		`o-2	{"order":{"customer":"","amount":100,"currency":"EUR"},"ok":false,"problems":["no customer"]}`,
		`o-3	{"order":{"customer":"grace","amount":-5,"currency":"usd"},"ok":false,"problems":["amount -5 is not positive","currency \"usd\" is not three capital letters"]}`,
		`o-4	{"order":{"customer":"alan","amount":2500000,"currency":"GBP"},"ok":false,"problems":["amount 2500000 is over 1000000"]}`,
	}, lines)
}

func TestPageviews(t *testing.T) {
	t.Parallel()
	at := []string{"--topology", "pageviews", "--data-dir", t.TempDir()}
	code, _, errs := node(t, append(at, "--feed", "views=../../examples/pageviews/views.jsonl", "--drain")...)
	require.Zero(t, code, errs)
	code, out, errs := node(t, append(at, "scan", "pages", "--format", "tsv")...)
	require.Zero(t, code, errs)
	require.Equal(t, "/docs\t{\"views\":2,\"total_ms\":55,\"max_ms\":30}\n/home\t{\"views\":3,\"total_ms\":30,\"max_ms\":12}\n", out)
	code, out, errs = node(t, append(at, "scan", "users", "--format", "tsv")...)
	require.Zero(t, code, errs)
	require.Equal(t, "ada\t3\nalan\t1\ngrace\t1\n", out)
}

// The payments of the example go through a gateway that fails, panics, hangs and is down, on a real clock.
func TestFlaky(t *testing.T) {
	t.Parallel()
	at := []string{"--topology", "flaky", "--data-dir", t.TempDir()}
	code, _, errs := node(t, append(at, "--feed", "payments=../../examples/flaky/payments.tsv", "--feed-keyed", "--drain")...)
	require.Zero(t, code, errs)
	require.Contains(t, errs, "the handler has passed its deadline of 1s")
	require.Contains(t, errs, "agent held back")
	code, out, errs := node(t, append(at, "scan", "paid", "--format", "tsv")...)
	require.Zero(t, code, errs)
	require.Equal(t, "ada\t1380\nalan\t450\ngrace\t1450\n", out)
	code, out, errs = node(t, append(at, "tail", "flaky-dead-letters", "--once")...)
	require.Zero(t, code, errs)
	require.Equal(t, "alan\t{\"id\":\"p5\",\"amount\":9900,\"note\":\"declined\"}\n", out)
}

func TestOrders(t *testing.T) {
	t.Parallel()
	at := []string{"--topology", "orders", "--data-dir", t.TempDir()}
	code, _, errs := node(t, append(at, "--feed", "orders=../../examples/orders/orders.tsv", "--feed-keyed", "--drain")...)
	require.Zero(t, code, errs)
	require.Contains(t, errs, "1 record was given up")
	code, out, errs := node(t, append(at, "scan", "accounts", "--format", "tsv")...)
	require.Zero(t, code, errs)
	require.Equal(t, "ada\t{\"orders\":3,\"amount\":115}\nalan\t{\"orders\":1,\"amount\":1}\ngrace\t{\"orders\":1,\"amount\":500}\n", out)
	code, out, errs = node(t, append(at, "tail", "confirmations", "--once")...)
	require.Zero(t, code, errs)
	require.Equal(t, 5, strings.Count(out, "\n"), out)
}

func TestBank(t *testing.T) {
	t.Parallel()
	at := []string{"--topology", "bank", "--data-dir", t.TempDir()}
	code, _, errs := node(t, append(at, "--feed", "transfers=../../examples/bank/transfers.tsv", "--feed-keyed", "--drain")...)
	require.Zero(t, code, errs)
	code, out, errs := node(t, append(at, "scan", "accounts", "--format", "tsv")...)
	require.Zero(t, code, errs)
	require.Equal(t, "ada\t37650\nalan\t2850\ncash\t-70000\ngrace\t29500\n", out)
	code, out, errs = node(t, append(at, "tail", "refusals", "--once")...)
	require.Zero(t, code, errs)
	require.Equal(t, 2, strings.Count(out, "\n"), out)
}
