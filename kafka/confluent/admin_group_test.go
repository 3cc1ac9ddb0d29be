package confluent

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/troupe-stream/troupe/kafka"
)

func TestAdminGroup(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "g-slots"), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	d, err := New(Config{Brokers: c.ListenAddrs(), Logger: logger(t)})
	require.NoError(t, err)
	a, err := d.OpenOperator(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	g, err := a.Group(ctx, "g")
	require.NoError(t, err)
	require.Equal(t, kafka.GroupState{Stable: true}, g, "a group that does not exist")
	require.NoError(t, a.DeleteGroup(ctx, "g"))

	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumerGroup("g"), kgo.InstanceID("me"), kgo.ConsumeTopics("g-slots"), kgo.DisableAutoCommit())
	require.NoError(t, err)
	polling, stop := context.WithCancel(ctx)
	go cl.PollFetches(polling) // joins
	require.Eventually(t, func() bool {
		g, err = a.Group(ctx, "g")
		return err == nil && g.Stable && len(g.Members) == 1 && len(g.Members[0].Assigned) == 3
	}, patience, 10*time.Millisecond)
	require.True(t, g.Exists)
	m := g.Members[0]
	require.Equal(t, "me", m.Instance)
	require.NotEmpty(t, m.ID)
	require.Contains(t, m.Host, "127.0.0.1")
	require.Equal(t, []kafka.TopicPartition{tpOf("g-slots", 0), tpOf("g-slots", 1), tpOf("g-slots", 2)}, m.Assigned)

	at := kafka.Position{TopicPartition: tpOf("g-slots", 1), Metadata: "me/1"}
	require.ErrorContains(t, a.SetOffsets(ctx, "g", at), "UNKNOWN_MEMBER_ID", "a group with members is theirs")
	require.ErrorContains(t, a.DeleteGroup(ctx, "g"), "NON_EMPTY_GROUP")
	stop()
	cl.Close() // a static member stays
	g, err = a.Group(ctx, "g")
	require.NoError(t, err)
	require.Len(t, g.Members, 1)
	require.NoError(t, a.Evict(ctx, "g", m))
	require.NoError(t, a.Evict(ctx, "g", m), "one that is gone is no error")
	g, err = a.Group(ctx, "g")
	require.NoError(t, err)
	require.Empty(t, g.Members)

	require.NoError(t, a.SetOffsets(ctx, "g", at, kafka.Position{TopicPartition: tpOf("g-slots", 2), Offset: 7}))
	marks, err := a.Marks(ctx, "g", 0, 1, 2)
	require.NoError(t, err)
	require.Equal(t, map[int32]string{0: "", 1: "me/1", 2: ""}, marks)
	got, err := a.CommittedOffsets(ctx, "g", tpOf("g-slots", 2))
	require.NoError(t, err)
	require.Equal(t, int64(7), got[tpOf("g-slots", 2)].Offset)
	require.NoError(t, a.DeleteGroup(ctx, "g"))
	got, err = a.CommittedOffsets(ctx, "g", tpOf("g-slots", 2))
	require.NoError(t, err)
	require.Equal(t, int64(-1), got[tpOf("g-slots", 2)].Offset)
}

// TestAdminFence ends what a node's producer has open, by the same transactional id.
func TestAdminFence(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a"))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	d, err := New(Config{Brokers: c.ListenAddrs(), Logger: logger(t)})
	require.NoError(t, err)
	a, err := d.OpenOperator(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, a.Fence(ctx, "g", "nobody"), "an instance that never was")
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.cfg.Brokers...), kgo.TransactionalID(transactionalID("g", "me")))
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.BeginTransaction())
	require.NoError(t, cl.ProduceSync(ctx, &kgo.Record{Topic: "a", Value: []byte("x")}).FirstErr())
	ends := func(level kafka.Isolation) int64 {
		got, err := a.Ends(ctx, level, tpOf("a", 0))
		require.NoError(t, err)
		return got[tpOf("a", 0)]
	}
	require.Zero(t, ends(kafka.ReadCommitted))
	busy := 3 // a broker whose markers are on their way says so for a while
	c.ControlKey(22, func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if busy--; busy < 0 {
			return nil, nil, false
		}
		answer, ok := r.ResponseKind().(*kmsg.InitProducerIDResponse)
		answer.ErrorCode = kerr.ConcurrentTransactions.Code
		return answer, nil, ok
	})
	require.NoError(t, a.Fence(ctx, "g", "me"))
	require.Negative(t, busy)
	require.Equal(t, ends(kafka.ReadUncommitted), ends(kafka.ReadCommitted), "nothing is open any more")
	require.Error(t, cl.EndTransaction(ctx, kgo.TryCommit))
}

// TestTransactionTimeout: what the brokers' settings are compared with is what producers ask for.
func TestTransactionTimeout(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, kafka.TransactionTimeout.Milliseconds(), transactionTimeoutMs)
}

func TestAdminBrokers(t *testing.T) {
	t.Parallel()
	a, _ := adminOf(t, kfake.NumBrokers(3), kfake.BrokerConfigs(map[string]string{"offsets.retention.minutes": "77"}))
	got, err := a.Brokers(t.Context())
	require.NoError(t, err)
	require.Len(t, got, 3)
	for i, b := range got {
		require.EqualValues(t, i, b.ID)
		require.Equal(t, "77", b.Config["offsets.retention.minutes"])
		require.NotEmpty(t, b.Config["transaction.max.timeout.ms"])
	}
}

// TestAdminCommittedOffsetsOpenTransaction: offsets that a dead producer holds back are told from other failures.
func TestAdminCommittedOffsetsOpenTransaction(t *testing.T) {
	t.Parallel()
	a, d := adminOf(t, kfake.SeedTopics(1, "a", "g-slots"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, a.SetOffsets(ctx, "g", kafka.Position{TopicPartition: tpOf("a", 0), Offset: 1}))
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.TxnOffsetCommit.Int16(), 4) // later ones want topic ids
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.cfg.Brokers...), kgo.TransactionalID("g-me"), kgo.MaxVersions(versions))
	require.NoError(t, err)
	defer cl.Close()
	id, epoch, err := cl.ProducerID(ctx)
	require.NoError(t, err)
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = "g-me", id, epoch, "g"
	added, err := add.RequestWith(ctx, cl)
	require.NoError(t, err)
	require.Zero(t, added.ErrorCode)
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset = 3
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = "a", append(topic.Partitions, p)
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group, commit.Generation = "g-me", id, epoch, "g", -1
	commit.Topics = append(commit.Topics, topic)
	committed, err := commit.RequestWith(ctx, cl)
	require.NoError(t, err)
	require.Zero(t, committed.Topics[0].Partitions[0].ErrorCode)
	short, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	_, err = a.CommittedOffsets(short, "g", tpOf("a", 0))
	require.ErrorIs(t, err, kafka.ErrOpenTransaction)
	marks, err := a.Marks(ctx, "g", 0)
	require.NoError(t, err, "marks are never in a transaction")
	require.Equal(t, map[int32]string{0: ""}, marks)
}
