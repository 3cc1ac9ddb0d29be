//go:build integration

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
)

func admin(t *testing.T, brokers string) kafka.Admin {
	t.Helper()
	d, err := confluent.New(confluent.Config{Brokers: strings.Split(brokers, ",")})
	require.NoError(t, err)
	a, err := d.OpenAdmin()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// ends waits for a node that must fail, and returns what it said.
func ends(t *testing.T, n *nodes.Node, within time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	require.ErrorContains(t, n.Wait(ctx), "exit status 1")
	return n.Output()
}

func begin(t *testing.T, brokers, dir string, more ...string) *nodes.Node {
	t.Helper()
	n, err := nodes.Start(binary, nil, args(brokers, dir, more...)...)
	require.NoError(t, err)
	t.Cleanup(n.Kill)
	return n
}

func awaitRunning(t *testing.T, n *nodes.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Count(out, "partition running") >= 9 }))
}

// TestTopicsThatChangeUnderANode: the node ends within seconds and says which topic, and how to mend it.
func TestTopicsThatChangeUnderANode(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers string) {
		t.Helper()
		a := admin(t, brokers)
		n := begin(t, brokers, t.TempDir())
		awaitRunning(t, n)
		require.NoError(t, a.Grow(t.Context(), "lines", 6))
		require.Contains(t, ends(t, n, 40*time.Second), "topic lines has 6 partitions now and had 4")

		n = begin(t, brokers, t.TempDir()) // the map has 4 partitions of lines, 2 more are new
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Count(out, "partition running") >= 9 }))
		require.NoError(t, a.Delete(t.Context(), "words"))
		require.Contains(t, ends(t, n, 40*time.Second), "words")
	})
}

// TestWrongChangelog: a changelog with another number of partitions than its source is refused before anything starts.
func TestWrongChangelog(t *testing.T) {
	brokers := embeddedBroker(t)
	require.NoError(t, admin(t, brokers).Create(t.Context(),
		kafka.TopicSpec{Name: "wordcount-counts-changelog", Partitions: 3, Config: map[string]string{"cleanup.policy": "compact"}}))
	out := ends(t, begin(t, brokers, t.TempDir()), 30*time.Second)
	require.Contains(t, out, "changelog wordcount-counts-changelog has 3 partitions and its table's source words has 4")
}

// TestValueOverTheLimit: it becomes a dead letter that names the size, and the partition goes on.
func TestValueOverTheLimit(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers string) {
		t.Helper()
		require.NoError(t, admin(t, brokers).Create(t.Context(),
			kafka.TopicSpec{Name: "words", Partitions: 4, Config: map[string]string{"max.message.bytes": "1000"}}))
		long := strings.Repeat("x", 2000)
		text := []string{"one two", "bad " + long, "two"}
		drain(t, brokers, t.TempDir(), "--feed", "lines="+writeLines(t, text))
		same(t, map[string]int64{"one": 1, "two": 2}, tableOf(t, brokers), "table counts") // of the bad line nothing: all of a record's effects, or none
		require.Contains(t, deadLetter(t, brokers), fmt.Sprintf("sends a record of %d bytes to topic words", len(long)))
	})
}

// deadLetter returns the error of the first dead letter.
func deadLetter(t *testing.T, brokers string) string {
	t.Helper()
	d, err := confluent.New(confluent.Config{Brokers: strings.Split(brokers, ",")})
	require.NoError(t, err)
	r, err := d.OpenReader()
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	require.NoError(t, r.Assign(kafka.TopicPartition{Topic: "wordcount-dead-letters"}, 0))
	for range 100 {
		b, err := r.Poll(200 * time.Millisecond)
		require.NoError(t, err)
		if b == nil || b.Len() == 0 {
			continue
		}
		for h := range b.Headers(0) {
			if h.Key == "troupe.error" {
				return string(h.Value)
			}
		}
	}
	t.Fatal("no dead letter")
	return ""
}

// TestDataDirectoryInUse: two nodes cannot share one.
func TestDataDirectoryInUse(t *testing.T) {
	brokers, dir := embeddedBroker(t), t.TempDir()
	n := begin(t, brokers, dir)
	awaitRunning(t, n)
	require.Contains(t, ends(t, begin(t, brokers, dir), 20*time.Second), dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, n.Stop(ctx)) // SIGTERM: exit code 0
}

// TestAtLeastOnceThroughKills loses nothing: words may have been sent again, and the table has each that is there once.
func TestAtLeastOnceThroughKills(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers string) {
		t.Helper()
		r, dir := rng(t), t.TempDir()
		lines := makeText(r, 300<<10)
		drain(t, brokers, dir)
		f := feed(t, brokers, lines, 8*time.Second)
		for range 4 {
			n := begin(t, brokers, dir, "--guarantee", "at-least-once")
			select {
			case <-n.Done():
				t.Fatal(n.Output())
			case <-time.After(time.Duration(1500+r.IntN(1500)) * time.Millisecond):
			}
			n.Kill()
		}
		f.wait(t)
		drain(t, brokers, dir, "--guarantee", "at-least-once")
		got := tableOf(t, brokers)
		want, sum := plainCount(lines), int64(0)
		for k, v := range want {
			require.GreaterOrEqual(t, got[k], v, k)
			sum += v
		}
		require.Equal(t, wordsOf(t, brokers, sum), got)
	})
}
