//go:build integration

package realkafka

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestStartKillRestart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	begin := time.Now()
	k, err := Start(ctx, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	t.Logf("Kafka %s answers at %v after %s", Version, k.Brokers(), time.Since(begin).Round(time.Millisecond))

	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", 1, 1
	create.Topics = append(create.Topics, topic)
	made, err := create.RequestWith(ctx, client)
	require.NoError(t, err)
	require.Zero(t, made.Topics[0].ErrorCode)
	require.NoError(t, client.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("before")}).FirstErr())

	require.NoError(t, k.Kill(0))
	require.Error(t, k.probe(ctx, client))
	require.NoError(t, k.Restart(ctx, 0))
	require.NoError(t, client.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("after")}).FirstErr())
	var got []string
	for len(got) < 2 {
		fetches := client.PollFetches(ctx)
		require.NoError(t, ctx.Err())
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	require.Equal(t, []string{"before", "after"}, got)
}

func TestThreeBrokers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	k, err := StartCluster(ctx, t.TempDir(), 3)
	require.NoError(t, err)
	require.Len(t, k.Brokers(), 3)
	require.NoError(t, k.Stop(ctx))
	require.NoError(t, k.Stop(ctx))
}
