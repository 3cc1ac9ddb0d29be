//go:build integration

package integration

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/integration/realkafka"
	"github.com/troupe-stream/troupe/kafka"
)

// operate runs a command on wordcount to its end, and returns its standard output.
func operate(t *testing.T, brokers, dir string, args ...string) (string, error) {
	t.Helper()
	return nodes.Run(t.Context(), binary, append(args, "--topology", "wordcount", "--brokers", brokers, "--data-dir", dir)...)
}

// TestResetOnKafka counts a text, kills the node in the middle of a transaction, resets the topology, and counts the text
// again, once: also what the killed node left open is gone.
func TestResetOnKafka(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers string) {
		t.Helper()
		r, dir := rng(t), t.TempDir()
		lines := makeText(r, 200<<10)
		drain(t, brokers, dir, "--feed", "lines="+writeLines(t, lines))
		same(t, plainCount(lines), tableOf(t, brokers), "table before")
		out, err := operate(t, brokers, dir, "verify")
		require.NoError(t, err, out)
		require.Contains(t, out, "4 checkpoints agree with the changelog")

		more := makeText(r, 100<<10)
		killed, err := nodes.Start(binary, []string{"TROUPE_FAILPOINT=offsets@4"}, args(brokers, dir, "--feed", "lines="+writeLines(t, more))...)
		require.NoError(t, err)
		t.Cleanup(killed.Kill)
		select {
		case <-killed.Done():
		case <-time.After(time.Minute):
			t.Fatal("the node did not reach its fourth commit: " + killed.Output())
		}
		_, err = operate(t, brokers, dir, "reset", "--yes")
		require.ErrorContains(t, err, "topology wordcount has live nodes", "the broker does not know yet that it is dead")
		_, err = operate(t, brokers, dir, "evict", "--yes", instanceOf(t, brokers, dir))
		require.NoError(t, err)
		out, err = operate(t, brokers, dir, "verify")
		require.ErrorContains(t, err, "1 thing is wrong", out)
		require.Contains(t, out, "wrong  offsets: ", "what the killed node holds back")
		require.Contains(t, out, "a transaction stays open on them")
		_, err = operate(t, brokers, dir, "reset", "--yes")
		require.NoError(t, err)

		a := admin(t, brokers)
		for _, topic := range []string{"wordcount-counts-changelog", "wordcount-slots", "wordcount-leader"} {
			have, err := a.Topics(t.Context(), topic)
			require.NoError(t, err)
			require.Empty(t, have, topic)
		}
		tp := kafka.TopicPartition{Topic: "lines"}
		at, err := a.CommittedOffsets(t.Context(), "wordcount", tp)
		require.NoError(t, err)
		require.Equal(t, int64(-1), at[tp].Offset)

		drain(t, brokers, dir)
		all := linesOf(t, brokers)
		require.Greater(t, len(all), len(lines))
		same(t, plainCount(all), tableOf(t, brokers), "table after")
		out, err = operate(t, brokers, dir, "verify")
		require.NoError(t, err, out)
	})
}

// linesOf reads what is in the topic lines.
func linesOf(t *testing.T, brokers string) (lines []string) {
	t.Helper()
	a := admin(t, brokers)
	var tps []kafka.TopicPartition
	for p := range int32(4) {
		tps = append(tps, kafka.TopicPartition{Topic: "lines", Partition: p})
	}
	ends, err := a.Ends(t.Context(), kafka.ReadUncommitted, tps...)
	require.NoError(t, err)
	want := 0
	for _, end := range ends {
		want += int(end)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics("lines"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(lines) < want {
		f := c.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "%d of %d lines", len(lines), want)
		f.EachRecord(func(r *kgo.Record) { lines = append(lines, string(r.Value)) })
	}
	require.Len(t, lines, want)
	return lines
}

// instanceOf is the only member's name.
func instanceOf(t *testing.T, brokers, dir string) string {
	t.Helper()
	out, err := operate(t, brokers, dir, "evict", "--format", "tsv")
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(out, "\n"), out)
	instance, _, _ := strings.Cut(out, "\t")
	return instance
}

// TestEvictOnKafka: the slots of a node that was killed are another's at once when it is taken out, with a session that would
// last for minutes.
func TestEvictOnKafka(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers string) {
		t.Helper()
		long := []string{"--kafka", "session.timeout.ms=300000", "--kafka", "heartbeat.interval.ms=500"}
		dead := begin(t, brokers, t.TempDir(), append(long, "--instance-id", "dead")...)
		awaitRunning(t, dead)
		dead.Kill()
		dir := t.TempDir()
		heir := begin(t, brokers, dir, append(long, "--instance-id", "heir")...)
		require.Eventually(t, func() bool {
			out, err := operate(t, brokers, t.TempDir(), "evict", "--format", "tsv")
			require.NoError(t, err)
			require.Contains(t, out, "dead\t")
			return strings.Count(out, "\n") == 2
		}, time.Minute, 200*time.Millisecond)
		require.Zero(t, running(heir), "the group waits for the dead node")

		_, err := operate(t, brokers, t.TempDir(), "evict", "dead", "--yes")
		require.NoError(t, err)
		awaitRunning(t, heir)
		out, err := operate(t, brokers, dir, "verify")
		require.NoError(t, err, out)
		require.Contains(t, out, "1 member, every slot is marked as its owner's")
	})
}

// running is how many partitions a node has begun to run.
func running(n *nodes.Node) int { return strings.Count(n.Output(), "partition running") }

// TestVerifyUnderLoad: nothing seems wrong while nodes count, join and leave.
func TestVerifyUnderLoad(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers string) {
		t.Helper()
		r := rng(t)
		lines := makeText(r, 3<<20)
		dirs := []string{t.TempDir(), t.TempDir()}
		drain(t, brokers, dirs[0])
		f := feed(t, brokers, lines, 20*time.Second)
		first := begin(t, brokers, dirs[0])
		awaitRunning(t, first)
		fed := make(chan struct{})
		go func() {
			defer close(fed)
			f.wg.Wait()
		}()
		var second *nodes.Node
		runs := 0
		for feeding := true; feeding; runs++ {
			select {
			case <-fed:
				feeding = false // once more, on what is left
			default:
			}
			switch runs % 6 {
			case 2:
				second = begin(t, brokers, dirs[1])
			case 5:
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				require.NoError(t, second.Stop(ctx))
				cancel()
			}
			out, err := operate(t, brokers, dirs[runs%2], "verify")
			require.NoError(t, err, out)
		}
		require.Greater(t, runs, 5)
		t.Logf("verified %d times", runs)
		f.wait(t)
	})
}

// TestSettingsOnKafka: three brokers as they should be endanger nothing; a topic with one replica does, and --strict refuses it.
func TestSettingsOnKafka(t *testing.T) {
	k, err := realkafka.StartCluster(t.Context(), t.TempDir(), 3)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	brokers := strings.Join(k.Brokers(), ",")
	dir := t.TempDir()
	drain(t, brokers, dir, "--strict")
	drain(t, brokers, dir, "--strict") // now with the brokers' own topics
	out, err := operate(t, brokers, dir, "verify")
	require.NoError(t, err, out)
	require.Contains(t, out, "ok     settings: none endangers what is promised")

	a := admin(t, brokers)
	require.NoError(t, a.Delete(t.Context(), "lines"))
	require.NoError(t, a.Create(t.Context(), kafka.TopicSpec{Name: "lines", Partitions: 4, Replicas: 1}))
	require.Contains(t, ends(t, begin(t, brokers, dir, "--strict"), time.Minute), "--strict refuses them: topics lines have one replica on several brokers")
	out, err = operate(t, brokers, dir, "verify")
	require.NoError(t, err, out)
	require.Contains(t, out, "note   settings: topics lines have one replica")
	warned := begin(t, brokers, dir)
	awaitRunning(t, warned)
	require.Contains(t, warned.Output(), "topics lines have one replica on several brokers")
}

// TestEvictALiveNode is in vain, and harms nothing: the node comes back as a new member, and counts stay right.
func TestEvictALiveNode(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers string) {
		t.Helper()
		r, dir := rng(t), t.TempDir()
		lines := makeText(r, 500<<10)
		drain(t, brokers, dir)
		n := begin(t, brokers, dir, "--instance-id", "alive")
		awaitRunning(t, n)
		f := feed(t, brokers, lines, 8*time.Second)
		assigned := func() int { return strings.Count(n.Output(), "slots assigned") }
		for range 3 {
			before := assigned()
			_, err := operate(t, brokers, t.TempDir(), "evict", "alive", "--yes")
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			require.NoError(t, n.Await(ctx, func(string) bool { return assigned() > before }))
			cancel()
		}
		f.wait(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, n.Stop(ctx), "it still runs")
		drain(t, brokers, dir)
		same(t, plainCount(lines), tableOf(t, brokers), "table")
	})
}
