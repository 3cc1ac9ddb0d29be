package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/examples/bank"
	"github.com/troupe-stream/troupe/internal/command"
)

// broker runs the embedded broker in this process, alone: nodes that are killed leave it standing. It returns its address.
func broker(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan int, 1)
	app := &command.App{Name: "node", In: strings.NewReader(""), Out: in, Err: io.Discard}
	dir := t.TempDir()
	go func() { done <- app.Run(ctx, []string{"broker", "--data-dir", dir}) }()
	t.Cleanup(func() {
		cancel()
		require.Zero(t, <-done)
	})
	at := make([]byte, 64)
	n, err := out.Read(at)
	require.NoError(t, err)
	go io.Copy(io.Discard, out) //nolint:errcheck // until the end
	t.Cleanup(func() { _ = in.Close() })
	return strings.TrimSpace(string(at[:n]))
}

// Nodes are killed in the midst of transfers and started again. Each transfer is then made once or refused once, and the balances are those of the
// transfers that were made: 0 in sum.
func TestBankSurvivesKills(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const transfers, accounts = 20_000, 50
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("TROUPE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("TROUPE_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	name := func() string {
		if n := random.IntN(accounts); n > accounts/4 {
			return fmt.Sprint("account-", n)
		}
		return bank.Cash
	}
	var lines bytes.Buffer
	for i := range transfers {
		tr, err := json.Marshal(bank.Transfer{ID: fmt.Sprint("t-", i), To: name(), Amount: random.Int64N(20_000)})
		require.NoError(t, err)
		fmt.Fprintf(&lines, "%s\t%s\n", name(), tr)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "transfers.tsv")
	require.NoError(t, os.WriteFile(file, lines.Bytes(), 0o600))

	at := []string{"--topology", "bank", "--brokers", broker(t), "--data-dir", filepath.Join(dir, "data")}
	ask := func(command string, args ...string) string {
		code, out, errs := node(t, append(append([]string{command}, args...), at...)...)
		require.Zero(t, code, errs)
		return out
	}
	behind := func() (lag int64) {
		for line := range strings.Lines(ask("lag", "--format", "tsv")) {
			cells := strings.Split(strings.TrimSpace(line), "\t")
			n, err := strconv.ParseInt(cells[len(cells)-1], 10, 64)
			require.NoError(t, err)
			lag += n
		}
		return lag
	}
	start := func(args ...string) (kill func(), log *buffer) {
		log = new(buffer)
		cmd := child(ctx, t, dir, dir, append(append([]string{"--http", "off", "--create-topics", "--commit-interval", "20ms"}, at...), args...)...)
		cmd.Stderr = log
		require.NoError(t, cmd.Start())
		return func() {
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
		}, log
	}
	kill, log := start("--feed", "transfers="+file, "--feed-keyed")
	log.wait(ctx, t, "msg=fed")
	kill()
	for range 3 {
		kill, log = start()
		// Only now is it told what is committed: the transaction of the node before ends when this one takes its place.
		log.wait(ctx, t, "partition running")
		now := behind()
		for goal := max(0, now-4000); now > goal; now = behind() {
			require.NoError(t, ctx.Err(), log.String())
		}
		kill()
		t.Logf("killed with some %d records to do", now)
	}
	code, _, errs := node(t, append(at, "--drain", "--http", "off")...)
	require.Zero(t, code, errs)

	// Each transfer is in one of two topics, once.
	seen, want := map[string]int{}, map[string]int64{}
	values := func(topic string, use func(key, value string)) {
		for line := range strings.Lines(ask("tail", topic, "--once")) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
			use(key, value)
		}
	}
	values("credits", func(to, value string) {
		var c bank.Credit
		require.NoError(t, json.Unmarshal([]byte(value), &c))
		seen[c.ID]++
		want[to] += c.Amount
		want[c.From] -= c.Amount
	})
	values("refusals", func(_, value string) {
		var r bank.Refusal
		require.NoError(t, json.Unmarshal([]byte(value), &r))
		seen[r.ID]++
	})
	require.Len(t, seen, transfers)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
	sum := int64(0)
	for line := range strings.Lines(ask("scan", "accounts", "--format", "tsv")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
		balance, err := strconv.ParseInt(value, 10, 64)
		require.NoError(t, err)
		require.Equal(t, want[key], balance, key)
		sum += balance
	}
	require.Zero(t, sum)
	require.Contains(t, ask("verify"), "ok")
}
