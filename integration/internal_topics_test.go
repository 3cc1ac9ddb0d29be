//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/nodes"
)

// TestInternalTopicsThroughAKill keeps up the aggregations of a grouped table and a join by foreign key on two nodes, one of which is killed with -9 while
// their inputs change; another one comes. What their internal topics have carried must be what a fold of the last rows makes.
func TestInternalTopicsThroughAKill(t *testing.T) { onBoth(t, internalTopics) }

// firmRow is a change of the topic employees or teams; null deletes.
type firmRow struct {
	topic, key, value string
	null              bool
}

// firmRows makes changes: people who come, go, move between teams and are paid otherwise, and teams whose leads change, that go and come back.
func firmRows(r *rand.Rand, n int) (all []firmRow) {
	for range n {
		team := fmt.Sprintf("team%d", r.IntN(20))
		if r.IntN(5) == 0 {
			all = append(all, firmRow{topic: "teams", key: team, value: fmt.Sprintf("lead%d", r.IntN(1000)), null: r.IntN(4) == 0})
			continue
		}
		if r.IntN(10) == 0 {
			team = ""
		}
		value := fmt.Sprintf(`{"team":%q,"pay":%d}`, team, r.IntN(1000))
		all = append(all, firmRow{topic: "employees", key: fmt.Sprintf("name%d", r.IntN(300)), value: value, null: r.IntN(6) == 0})
	}
	return all
}

// foldFirm is what the tables must hold in the end.
func foldFirm(all []firmRow) (heads, payrolls, lines map[string]string) {
	type employee struct {
		team string
		pay  int64
	}
	staff, leads, sums := map[string]employee{}, map[string]string{}, map[string]int64{}
	count, seen := map[string]int64{}, map[string]bool{}
	for _, x := range all {
		rows := func() { delete(staff, x.key) }
		if x.topic == "teams" {
			rows = func() { delete(leads, x.key) }
		}
		switch {
		case x.null:
			rows()
		case x.topic == "teams":
			leads[x.key] = x.value
		default:
			team, rest, _ := strings.Cut(strings.TrimPrefix(x.value, `{"team":"`), `","pay":`)
			pay, _ := strconv.ParseInt(strings.TrimSuffix(rest, "}"), 10, 64)
			staff[x.key] = employee{team, pay}
			seen[team] = true
		}
	}
	heads, payrolls, lines = map[string]string{}, map[string]string{}, map[string]string{}
	for name, e := range staff {
		lines[name] = fmt.Sprintf(`{"team":%q,"lead":%q}`, e.team, leads[e.team])
		count[e.team]++
		sums[e.team] += e.pay
	}
	delete(seen, "")
	for team := range seen {
		heads[team] = strconv.FormatInt(count[team], 10)
		if count[team] > 0 {
			payrolls[team] = fmt.Sprintf(`{"people":%d,"sum":%d}`, count[team], sums[team])
		}
	}
	return heads, payrolls, lines
}

// sendFirm sends changes over a span of time, those of a key in order.
func sendFirm(ctx context.Context, brokers string, all []firmRow, over time.Duration) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		return err
	}
	defer c.Close()
	const step = 50 * time.Millisecond
	steps := max(int(over/step), 1)
	tick := time.NewTicker(step)
	defer tick.Stop()
	var mu sync.Mutex
	for i := range steps {
		for _, x := range all[len(all)*i/steps : len(all)*(i+1)/steps] {
			rec := &kgo.Record{Topic: x.topic, Key: []byte(x.key), Value: []byte(x.value)}
			if x.null {
				rec.Value = nil
			}
			c.Produce(ctx, rec, func(_ *kgo.Record, e error) {
				mu.Lock()
				defer mu.Unlock()
				if e != nil {
					err = e
				}
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if e := c.Flush(ctx); e != nil {
		return e
	}
	mu.Lock()
	defer mu.Unlock()
	return err
}

func internalTopics(t *testing.T, brokers string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	firm, err := nodes.BuildPackage(ctx, t.TempDir(), "integration/firm", "-tags", "crashpoints")
	require.NoError(t, err)
	with := func(dir string, more ...string) []string {
		return append([]string{"--brokers", brokers, "--data-dir", dir, "--create-topics", "--kafka", "session.timeout.ms=6000"}, more...)
	}
	settle := func() {
		n, err := nodes.Start(firm, nil, with(t.TempDir(), "--drain")...)
		require.NoError(t, err)
		require.NoError(t, n.Wait(ctx))
	}
	settle() // makes the topics
	rows := firmRows(rng(t), 8000)
	sent := make(chan error, 1)
	go func() { sent <- sendFirm(ctx, brokers, rows, 25*time.Second) }()
	start := func() *nodes.Node {
		n, err := nodes.Start(firm, nil, with(t.TempDir())...)
		require.NoError(t, err)
		t.Cleanup(n.Kill)
		require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Contains(out, "partition running") }))
		return n
	}
	committed := func(n *nodes.Node, count int) {
		require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Count(out, "trace commit.committed") >= count }))
	}
	a, b := start(), start()
	committed(a, 5)
	committed(b, 5)
	require.Empty(t, sent, "all has been sent before the kill")
	a.Kill()
	last, begun := a.Moment()
	t.Logf("killed in transaction %d, after %q", begun, last)
	c := start() // takes over once the dead one's session is over
	committed(c, 5)
	require.NoError(t, <-sent)
	require.NoError(t, b.Stop(ctx))
	require.NoError(t, c.Stop(ctx))
	settle()

	heads, payrolls, lines := foldFirm(rows)
	for table, want := range map[string]map[string]string{"heads": heads, "payrolls": payrolls, "lines": lines} {
		out, err := nodes.Run(ctx, firm, "scan", table, "--brokers", brokers, "--format", "tsv", "--data-dir", t.TempDir())
		require.NoError(t, err)
		got := map[string]string{}
		for row := range strings.Lines(out) {
			key, value, ok := strings.Cut(strings.TrimSuffix(row, "\n"), "\t")
			require.True(t, ok, row)
			got[key] = value
		}
		require.Equal(t, want, got, "table %s", table)
	}
}
