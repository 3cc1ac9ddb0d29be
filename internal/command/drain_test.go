package command

import (
	"context"
	"maps"
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
)

var (
	tp0 = kafka.TopicPartition{Topic: "lines", Partition: 0}
	tp1 = kafka.TopicPartition{Topic: "lines", Partition: 1}
	tp2 = kafka.TopicPartition{Topic: "numbers", Partition: 0}
	tp3 = kafka.TopicPartition{Topic: "numbers", Partition: 1}
)

// drainedAdmin is a cluster on which everything is done.
func drainedAdmin() *fakeAdmin {
	f := newFakeAdmin()
	f.members = 1
	f.ends = map[kafka.TopicPartition]int64{tp0: 5, tp1: 7, tp2: 0, tp3: 0}
	f.stable, f.committed = maps.Clone(f.ends), map[kafka.TopicPartition]int64{tp0: 5, tp1: 7}
	return f
}

func idle() string { return "" }

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestDrainNeedsTwoEqualLooks(t *testing.T) {
	t.Parallel()
	admin, looks := drainedAdmin(), 0
	admin.looked = func(f *fakeAdmin) {
		// Between the first two looks something comes and is done.
		if looks++; looks == 2 {
			f.ends[tp0], f.stable[tp0], f.committed[tp0] = 9, 9, 9
		}
	}
	d := drain{plan: wordcount(), admin: admin, busy: idle, every: time.Microsecond}
	require.NoError(t, d.wait(t.Context(), closed()))
	require.Equal(t, 3, looks)
}

func TestNotDrained(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(f *fakeAdmin, d *drain)
		waits  string
	}{
		"no member":         {func(f *fakeAdmin, _ *drain) { f.members = 0 }, "group wordcount rebalances"},
		"a rebalance":       {func(f *fakeAdmin, _ *drain) { f.unstable = true }, "group wordcount rebalances"},
		"not committed":     {func(f *fakeAdmin, _ *drain) { f.committed[tp1] = 6 }, "lines/1 is done up to 6 of 7"},
		"never committed":   {func(f *fakeAdmin, _ *drain) { delete(f.committed, tp1) }, "lines/1 is done up to 0 of 7"},
		"of another member": {func(f *fakeAdmin, _ *drain) { f.members, f.committed = 2, nil }, "lines/0 is done up to 0 of 5, and 1 partition more (2 nodes run; node status shows which has it)"},
		"open transaction":  {func(f *fakeAdmin, _ *drain) { f.ends[tp0] = 6 }, "lines/0 is done up to 5 of 6"},
		"markers under way": {func(f *fakeAdmin, _ *drain) { f.ends[tp0], f.committed[tp0] = 6, 6 }, "a transaction is open in lines/0"},
		"tried again":       {func(_ *fakeAdmin, d *drain) { d.busy = func() string { return "record" } }, "record"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := drainedAdmin()
			d := &drain{plan: wordcount(), admin: admin, busy: idle}
			found, err := d.look(t.Context())
			require.NoError(t, err)
			require.Empty(t, found.waits)
			c.change(admin, d)
			found, err = d.look(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.waits, found.waits)
		})
	}
}

func TestDrainWaitsForTheFeed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := drain{plan: wordcount(), admin: drainedAdmin(), busy: idle}
	require.ErrorIs(t, d.wait(ctx, make(chan struct{})), context.Canceled)
}

// What is waited for is said every few seconds, no more often.
func TestDrainSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	admin := drainedAdmin()
	admin.committed[tp1] = 6
	clock, looks := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), 0
	admin.looked = func(f *fakeAdmin) {
		clock = clock.Add(time.Second)
		if looks++; looks == 11 {
			f.committed[tp1] = 7
		}
	}
	var said []string
	d := drain{plan: wordcount(), admin: admin, busy: idle, every: time.Microsecond, now: func() time.Time { return clock }}
	d.say = func(waits string) { said = append(said, waits) }
	require.NoError(t, d.wait(t.Context(), closed()))
	require.Equal(t, []string{"lines/1 is done up to 6 of 7", "lines/1 is done up to 6 of 7"}, said)
}

// TestDrainBesideAnotherNode: who feeds and drains ends when all is done, though another node owns part of the topic and runs on.
func TestDrainBesideAnotherNode(t *testing.T) {
	t.Parallel()
	brokerDir := t.TempDir()
	addr := startBroker(t, brokerDir)
	topo := func() []Topology {
		topo := topology.New("pair")
		words := topology.NewTopic(topo, "words", codec.String, codec.String, topology.Partitions(4))
		topology.Count(topology.GroupBy(topology.From(words), func(w string) string { return w }),
			topology.NewTable(topo, "counts", codec.String, codec.Int64))
		return []Topology{topo}
	}
	args := func(more ...string) []string {
		return append(more, "--brokers", addr, "--data-dir", t.TempDir(), "--create-topics", "--http", "off")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan result, 1)
	first := args()
	go func() { ended <- runWith(ctx, nil, topo(), first...) }()
	c, err := host.Connect(t.Context(), host.ClusterConfig{Brokers: []string{addr}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, stable, err := c.Admin.Members(t.Context(), "pair")
		return err == nil && n == 1 && stable
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, c.Close())

	file := filepath.Join(t.TempDir(), "words")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("a\nb\nc\nd\n", 25)), 0o600))
	short, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	r := runWith(short, nil, topo(), args("--feed", "words="+file, "--drain")...)
	require.Zero(t, r.code, r.err)
	require.NoError(t, short.Err(), "it ended by itself")
	require.Empty(t, ended, "the other node runs on")
	r = runWith(t.Context(), nil, topo(), "scan", "counts", "--format", "tsv", "--brokers", addr)
	require.Equal(t, "a\t25\nb\t25\nc\t25\nd\t25\n", r.out, r.err)
	cancel()
	require.Zero(t, receive(t, ended).code)
}
