//go:build integration

package integration

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/integration/realkafka"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
)

// operate runs a command on wordcount to its end, and returns its standard output.
func operate(t *testing.T, brokers, dir string, args ...string) (string, error) {
	t.Helper()
	return nodes.Run(t.Context(), binary, append(args, "--topology", "wordcount", "--brokers", brokers, "--data-dir", dir)...)
}

// TestResetOnKafka counts a text, resets the topology, and counts the text again, once; also what a dead node left open is
// gone.
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

		killed := begin(t, brokers, dir)
		awaitRunning(t, killed)
		killed.Kill()
		_, err = operate(t, brokers, dir, "reset", "--yes")
		require.ErrorContains(t, err, "topology wordcount has live nodes", "the broker does not know yet that it is dead")
		_, err = operate(t, brokers, dir, "evict", "--yes", instanceOf(t, brokers, dir))
		require.NoError(t, err)
		leaveOpen(t, brokers)
		out, err = operate(t, brokers, dir, "verify")
		require.ErrorContains(t, err, "1 thing is wrong", out)
		require.Contains(t, out, "wrong  offsets: ", "what the dead node holds back")
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
		same(t, plainCount(lines), tableOf(t, brokers), "table after")
		out, err = operate(t, brokers, dir, "verify")
		require.NoError(t, err, out)
	})
}

// leaveOpen does what a node does that dies between its last offset and its commit: its transaction holds a word and an
// offset, and its mark is on a slot.
func leaveOpen(t *testing.T, brokers string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4) // later ones want topic ids
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.MaxVersions(versions), kgo.TransactionalID("wordcount-ghost"))
	require.NoError(t, err)
	defer cl.Close() // which ends no transaction
	require.NoError(t, cl.BeginTransaction())
	require.NoError(t, cl.ProduceSync(ctx, &kgo.Record{Topic: "words", Key: []byte("ghost"), Value: []byte{}}).FirstErr())
	id, epoch, err := cl.ProducerID(ctx)
	require.NoError(t, err)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = "wordcount-ghost", id, epoch, "wordcount"
	require.Eventually(t, func() bool { // the coordinator may still be busy with the partition that was added
		added, err := add.RequestWith(ctx, cl)
		return err == nil && added.ErrorCode == 0
	}, time.Minute, 10*time.Millisecond)
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = "lines", []kmsg.TxnOffsetCommitRequestTopicPartition{kmsg.NewTxnOffsetCommitRequestTopicPartition()}
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group, commit.Generation = "wordcount-ghost", id, epoch, "wordcount", -1
	commit.Topics = append(commit.Topics, topic)
	committed, err := commit.RequestWith(ctx, cl)
	require.NoError(t, err)
	require.Zero(t, committed.Topics[0].Partitions[0].ErrorCode)

	d, err := confluent.New(confluent.Config{Brokers: strings.Split(brokers, ",")})
	require.NoError(t, err)
	o, err := d.OpenOperator(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, o.Close()) }()
	mark := kafka.Mark{}.TakenBy(kafka.Owner{Instance: "ghost", Nonce: "1"})
	require.NoError(t, o.SetOffsets(ctx, "wordcount", kafka.Position{TopicPartition: kafka.TopicPartition{Topic: kafka.SlotsTopic("wordcount"), Partition: 1}, Metadata: mark.String()}))
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
			if err != nil {
				t.Logf("the first node:\n%s", first.Output())
				if second != nil {
					t.Logf("the second:\n%s", second.Output())
				}
			}
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
