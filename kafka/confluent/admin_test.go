package confluent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// adminOf opens an admin for a broker of its own.
func adminOf(t *testing.T, opts ...kfake.Opt) (kafka.Operator, *Driver) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return adminAt(t, c)
}

// adminAt opens an admin for a broker.
func adminAt(t *testing.T, c hasAddrs) (kafka.Operator, *Driver) {
	t.Helper()
	d, err := New(Config{Brokers: c.ListenAddrs(), Client: underTest, Logger: logger(t)})
	require.NoError(t, err)
	a, err := d.OpenOperator(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a, d
}

func tpOf(topic string, p int32) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: topic, Partition: p}
}

func TestAdminTopics(t *testing.T) {
	t.Parallel()
	a, _ := adminOf(t)
	ctx := t.Context()
	spec := kafka.TopicSpec{Name: "a", Partitions: 3, Config: map[string]string{"cleanup.policy": "compact"}}
	require.NoError(t, a.Create(ctx, spec, kafka.TopicSpec{Name: "__b", Partitions: 1}))
	require.NoError(t, a.Create(ctx, spec), "one that exists is no error")

	states, err := a.Topics(ctx, "a", "missing")
	require.NoError(t, err)
	require.Len(t, states, 1)
	require.Equal(t, int32(3), states["a"].Partitions)
	require.Positive(t, states["a"].Replicas)
	require.Equal(t, "compact", states["a"].Config["cleanup.policy"])
	require.NotEmpty(t, states["a"].Config["max.message.bytes"])
	require.NotEmpty(t, states["a"].ID)
	none, err := a.Topics(ctx)
	require.NoError(t, err)
	require.Empty(t, none)
	all, err := a.AllTopics(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, all)

	require.NoError(t, a.Grow(ctx, "a", 5))
	require.ErrorContains(t, a.Grow(ctx, "a", 2), "grow topic a to 2 partitions")
	require.ErrorContains(t, a.Create(ctx, kafka.TopicSpec{Name: "x.y", Partitions: 1}, kafka.TopicSpec{Name: "x_y", Partitions: 1}), "INVALID_TOPIC")
	require.NoError(t, a.Delete(ctx, "a", "missing"))
	states, err = a.Topics(ctx, "a")
	require.NoError(t, err)
	require.Empty(t, states)

	require.NoError(t, a.Create(ctx, spec))
	anew, err := a.Topics(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, int32(3), anew["a"].Partitions)
}

func TestAdminProduceAndOffsets(t *testing.T) {
	t.Parallel()
	a, _ := adminOf(t, kfake.SeedTopics(2, "a", "b"))
	ctx := t.Context()
	out := new(kafka.Outputs)
	headers := kafka.AppendHeaders(nil, kafka.Header{Key: "h", Value: []byte("x")}, kafka.Header{Key: "null"})
	for i := range 3000 {
		out.Append(int32(i%2), int32(i/2%2), int64(1000+i), fmt.Appendf(nil, "%d", i), bytes.Repeat([]byte("v"), 1000), headers)
	}
	offsets, err := a.Produce(ctx, []string{"a", "b"}, out)
	require.NoError(t, err)
	for i, offset := range offsets {
		require.Equal(t, int64(i/4), offset, "record %d", i)
	}
	tps := []kafka.TopicPartition{tpOf("a", 0), tpOf("a", 1), tpOf("b", 0), tpOf("b", 1)}
	for _, level := range []kafka.Isolation{kafka.ReadCommitted, kafka.ReadUncommitted} {
		ends, err := a.Ends(ctx, level, tps...)
		require.NoError(t, err)
		require.Len(t, ends, 4)
		for _, tp := range tps {
			require.Equal(t, int64(750), ends[tp])
		}
	}
	require.NoError(t, a.DeleteRecords(ctx, map[kafka.TopicPartition]int64{tps[0]: 10, tps[1]: 0}))
	require.NoError(t, a.DeleteRecords(ctx, map[kafka.TopicPartition]int64{tps[0]: 5}), "what is deleted already is no error")
	starts, err := a.Starts(ctx, tps...)
	require.NoError(t, err)
	require.Equal(t, map[kafka.TopicPartition]int64{tps[0]: 10, tps[1]: 0, tps[2]: 0, tps[3]: 0}, starts)
	require.ErrorContains(t, a.DeleteRecords(ctx, map[kafka.TopicPartition]int64{tps[0]: 99999}), "a/0 before offset 99999")
	_, err = a.Ends(ctx, kafka.ReadCommitted, tpOf("missing", 0))
	require.ErrorContains(t, err, "UNKNOWN_TOPIC_OR_PARTITION")
}

func TestAdminSince(t *testing.T) {
	t.Parallel()
	a, _ := adminOf(t)
	ctx := t.Context()
	require.NoError(t, a.Create(ctx, kafka.TopicSpec{Name: "timed", Partitions: 2}))
	out := new(kafka.Outputs)
	for _, at := range []int64{1_000_000, 3_000_000, 2_000_000, 4_000_000} {
		out.Append(0, 0, at, nil, []byte("v"), nil)
	}
	_, err := a.Produce(ctx, []string{"timed"}, out)
	require.NoError(t, err)
	for at, want := range map[int64]int64{-5: 0, 0: 0, 1_000_000: 0, 1_000_001: 1, 2_000_000: 1, 3_000_001: 3, 4_000_001: -1} {
		since, err := a.Since(ctx, at, tpOf("timed", 0), tpOf("timed", 1))
		require.NoError(t, err)
		require.Equal(t, map[kafka.TopicPartition]int64{tpOf("timed", 0): want, tpOf("timed", 1): -1}, since, at)
	}
	_, err = a.Since(ctx, 0, tpOf("missing", 0))
	require.ErrorContains(t, err, "UNKNOWN_TOPIC_OR_PARTITION")
}

func TestAdminNamesRecordsThatAreTooLarge(t *testing.T) {
	t.Parallel()
	a, _ := adminOf(t)
	ctx := t.Context()
	require.NoError(t, a.Create(ctx, kafka.TopicSpec{Name: "small", Partitions: 1, Config: map[string]string{"max.message.bytes": "5000"}},
		kafka.TopicSpec{Name: "large", Partitions: 1, Config: map[string]string{"max.message.bytes": "30000000"}}))
	out := new(kafka.Outputs)
	for i := range 20 {
		out.Append(0, 0, 0, nil, bytes.Repeat([]byte{byte(i)}, 1000), nil) // more than a batch holds, in sum
	}
	out.Append(0, 0, 0, nil, make([]byte, 6000), nil)
	out.Append(1, 0, 0, nil, make([]byte, 20<<20), nil)
	offsets, err := a.Produce(ctx, []string{"small", "large"}, out)
	require.ErrorContains(t, err, "produce record 20 to small/0: 6000 bytes are over the topic's limit of 5000 (max.message.bytes)")
	require.NotContains(t, err.Error(), "large/0")
	require.Equal(t, int64(19), offsets[19])
	require.Equal(t, int64(-1), offsets[20])
	require.Equal(t, int64(0), offsets[21])
	_, err = a.Produce(ctx, []string{"missing"}, out)
	require.ErrorContains(t, err, "its topic is number 1 of 1")
}

func TestAdminCommittedOffsetsAndMembers(t *testing.T) {
	t.Parallel()
	a, d := adminOf(t, kfake.SeedTopics(2, "a"))
	ctx := t.Context()
	n, stable, err := a.Members(ctx, "nobody")
	require.NoError(t, err)
	require.Zero(t, n)
	require.True(t, stable)
	got, err := a.CommittedOffsets(ctx, "nobody", tpOf("a", 0))
	require.NoError(t, err)
	require.Equal(t, int64(-1), got[tpOf("a", 0)].Offset)

	cl, err := kgo.NewClient(kgo.SeedBrokers(d.cfg.Brokers...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("a"), kgo.DisableAutoCommit())
	require.NoError(t, err)
	defer cl.Close()
	polling, stop := context.WithCancel(ctx)
	defer stop()
	go cl.PollFetches(polling) // joins
	require.Eventually(t, func() bool {
		n, stable, err := a.Members(ctx, "g")
		return err == nil && n == 1 && stable
	}, patience, 10*time.Millisecond)
	cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{"a": {1: {Epoch: -1, Offset: 7}}}, nil)
	got, err = a.CommittedOffsets(ctx, "g", tpOf("a", 0), tpOf("a", 1))
	require.NoError(t, err)
	require.Equal(t, int64(-1), got[tpOf("a", 0)].Offset)
	require.Equal(t, int64(7), got[tpOf("a", 1)].Offset)
}

func TestAdminSaysWhichBrokerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	d, err := New(Config{Brokers: []string{addr}})
	require.NoError(t, err)
	began := time.Now()
	_, err = d.OpenAdmin()
	require.ErrorContains(t, err, "no broker answers at "+addr+" within 10s: ")
	require.ErrorContains(t, err, "check --brokers")
	require.Less(t, time.Since(began), patience)
	d.cfg.Brokers = []string{"nonsense"}
	_, err = d.OpenAdmin()
	require.ErrorContains(t, err, `"nonsense" is not host:port`)
}

func TestAdminCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	a, _ := adminOf(t, kfake.SeedTopics(1, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := a.Topics(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	out := new(kafka.Outputs)
	out.Append(0, 0, 0, nil, nil, nil)
	_, err = a.Produce(ctx, []string{"a"}, out)
	require.ErrorIs(t, err, context.Canceled)
}

func TestAdminProduceEndsWithItsContextWhenTheBrokerIsGone(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a"))
	require.NoError(t, err)
	d, err := New(Config{Brokers: c.ListenAddrs(), Client: underTest, Logger: logger(t)})
	require.NoError(t, err)
	a, err := d.OpenAdmin()
	require.NoError(t, err)
	defer func() { require.NoError(t, a.Close()) }()
	out := new(kafka.Outputs)
	out.Append(0, 0, 0, nil, []byte("x"), nil)
	_, err = a.Produce(t.Context(), []string{"a"}, out)
	require.NoError(t, err)
	c.ControlKey(0, func(kmsg.Request) (kmsg.Response, error, bool) { // a produce request arrives, its answer never does
		go c.Close()
		return nil, errors.New("gone"), true
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = a.Produce(ctx, []string{"a"}, out)
	require.ErrorContains(t, err, "produce record 0 to a/0")
}

func TestSlotMapOnABroker(t *testing.T) {
	t.Parallel()
	a, d := adminOf(t)
	r, err := d.OpenReader()
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	read := func(ctx context.Context, tp kafka.TopicPartition, end int64) ([]*kafka.Batch, error) {
		return kafka.ReadAll(ctx, r, tp, 0, end)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := kafka.SyncSlots(ctx, a, read, "t", []kafka.StageSize{{Key: "a", Partitions: 2}})
	require.NoError(t, err)
	again, err := kafka.SyncSlots(ctx, a, read, "t", []kafka.StageSize{{Key: "a", Partitions: 2}, {Key: "b", Partitions: 3}})
	require.NoError(t, err)
	require.Equal(t, int32(3), m.Len())
	require.Equal(t, int32(6), again.Len())
	require.Equal(t, m.Entries(), again.Entries()[:3])
	state, err := a.Topics(ctx, "t-slots")
	require.NoError(t, err)
	require.Equal(t, int32(6), state["t-slots"].Partitions)
}

func TestAdminWithSASL(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "me", "s3cret!"), kfake.Superuser("PLAIN", "me", "s3cret!"), kfake.SeedTopics(1, "a"))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	for _, mechanism := range []string{"SCRAM-SHA-256", "PLAIN"} {
		open := func(password string) (kafka.Admin, *Driver, error) {
			d, err := New(Config{Brokers: c.ListenAddrs(), Client: underTest, Logger: logger(t), Settings: map[string]string{
				"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism, "sasl.username": "me", "sasl.password": password,
			}})
			require.NoError(t, err)
			a, err := d.OpenAdmin()
			return a, d, err
		}
		a, d, err := open("s3cret!")
		require.NoError(t, err)
		out := new(kafka.Outputs)
		out.Append(0, 0, 0, []byte("k"), []byte(mechanism), nil)
		_, err = a.Produce(t.Context(), []string{"a"}, out)
		require.NoError(t, err)
		r, err := d.OpenReader()
		require.NoError(t, err)
		ends, err := a.Ends(t.Context(), kafka.ReadCommitted, tpOf("a", 0))
		require.NoError(t, err)
		bs, err := kafka.ReadAll(t.Context(), r, tpOf("a", 0), ends[tpOf("a", 0)]-1, ends[tpOf("a", 0)])
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(bs, func(b *kafka.Batch) bool { return string(b.Value(0)) == mechanism }))
		require.NoError(t, r.Close())
		require.NoError(t, a.Close())
	}
	d, err := New(Config{Brokers: c.ListenAddrs(), Settings: map[string]string{
		"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": "me", "sasl.password": "wrongpass",
	}})
	require.NoError(t, err)
	_, err = d.OpenAdmin()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "wrongpass")
	require.ErrorContains(t, err, "no broker answers")
}

func TestAdminProduceCompressesAsTheProducer(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]kgo.CompressionCodec{
		"": kgo.Lz4Compression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		require.Equal(t, want, compression(map[string]string{"compression.type": name}), name)
		require.Equal(t, want, compression(map[string]string{"compression.codec": name}), name)
	}
}

func TestAdminProduceRefusesATimeOutOfRange(t *testing.T) {
	t.Parallel()
	a, _ := adminOf(t, kfake.SeedTopics(1, "times"))
	out := new(kafka.Outputs)
	out.Append(0, 0, 1_700_000_000_000, nil, []byte("ms"), nil)
	out.Append(0, 0, 1_700_000_000_000_000, nil, []byte("us"), nil)
	offsets, err := a.Produce(t.Context(), []string{"times"}, out)
	require.ErrorContains(t, err, "are these microseconds?")
	require.Equal(t, []int64{0, -1}, offsets)
}
