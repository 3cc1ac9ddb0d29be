package confluent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

func TestBatchedIsChosenOnLinux(t *testing.T) {
	t.Parallel()
	d, err := New(Config{Brokers: []string{"127.0.0.1:1"}})
	require.NoError(t, err)
	client, why := d.Client()
	if runtime.GOOS != "linux" {
		require.Equal(t, Public, client)
		require.ErrorContains(t, why, "Linux")
		_, err = New(Config{Brokers: []string{"127.0.0.1:1"}, Client: Batched})
		require.ErrorContains(t, err, "leave out --client")
		return
	}
	require.NoError(t, why)
	require.Equal(t, Batched, client)
}

func TestTheClientThatIsAskedForIsUsed(t *testing.T) {
	t.Parallel()
	d, err := New(Config{Brokers: []string{"127.0.0.1:1"}, Client: Public})
	require.NoError(t, err)
	client, why := d.Client()
	require.NoError(t, why)
	require.Equal(t, Public, client)
	_, err = New(Config{Brokers: []string{"127.0.0.1:1"}, Client: "fast"})
	require.ErrorContains(t, err, `client "fast": use public or batched`)
	require.NoError(t, impossible(nil))
	require.EqualError(t, impossible(fmt.Errorf("why")), "the batched client cannot be used: why; leave out --client, or use --client public")
}

// TestATrialBeginsWithALook: nothing is called of a library that lacks something or has another version.
func TestATrialBeginsWithALook(t *testing.T) {
	t.Parallel()
	fault := errors.New("the librdkafka of this program has no rd_kafka_name")
	require.Equal(t, fault, tryBatched(fault))
	if runtime.GOOS == "linux" {
		require.NoError(t, batchedFault())
		require.NoError(t, closingsFault(false))
	}
}

// TestWithoutTheBatchedClient: what the trial finds is told once, and the public client used; who asked for the batched one is refused.
func TestWithoutTheBatchedClient(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	fails := func() error { return errors.New("record 0 of a trial was not read as it was written") }
	d, err := New(Config{Brokers: []string{"127.0.0.1:1"}, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	require.NoError(t, err)
	d.trial = fails
	client, why := d.Client()
	require.Equal(t, Public, client)
	require.Equal(t, fails(), why)
	for range 2 {
		batched, err := d.batched()
		require.NoError(t, err)
		require.False(t, batched)
	}
	require.Equal(t, 1, strings.Count(said.String(), `level=WARN msg="the batched Kafka client cannot be used;`))
	require.Contains(t, said.String(), fails().Error())
	if runtime.GOOS != "linux" {
		return // New refuses it
	}
	d, err = New(Config{Brokers: []string{"127.0.0.1:1"}, Client: Batched})
	require.NoError(t, err)
	d.trial = fails
	_, err = d.batched()
	require.EqualError(t, err, "the batched client cannot be used: record 0 of a trial was not read as it was written; leave out --client, or use --client public")
}

// TestATrialSeesWhatDiffers: a record that was read in another way than it was written is named, whatever is different.
func TestATrialSeesWhatDiffers(t *testing.T) {
	t.Parallel()
	want := trialRecords()
	read := func(change func(i int, offset *int64, value, headers *[]byte)) *kafka.Batch {
		b := new(kafka.Batch)
		for i := range 2 * want.Len() {
			w := i % want.Len()
			offset, value, headers := int64(i), want.Value(w), want.RawHeaders(w)
			change(i, &offset, &value, &headers)
			b.Append(offset, want.Records[w].Timestamp, want.Key(w), value, headers)
		}
		return b
	}
	require.NoError(t, compareTrial(read(func(int, *int64, *[]byte, *[]byte) {}), want))
	for at := range 2 * want.Len() {
		for what, change := range map[string]func(offset *int64, value, headers *[]byte){
			"offset":  func(offset *int64, _, _ *[]byte) { *offset++ },
			"value":   func(_ *int64, value, _ *[]byte) { *value = append([]byte("x"), *value...) },
			"headers": func(_ *int64, _, headers *[]byte) { *headers = append([]byte("x"), *headers...) },
		} {
			b := read(func(i int, offset *int64, value, headers *[]byte) {
				if i == at {
					change(offset, value, headers)
				}
			})
			require.EqualError(t, compareTrial(b, want), fmt.Sprintf("record %d of a trial was not read as it was written", at), what)
		}
	}
}

// What a broker refuses is counted to the record, with either client, and blamed on nothing that comes later.
func TestFailedDeliveriesAreCounted(t *testing.T) {
	t.Parallel()
	c := cluster(t, 4)
	d := driver(t, c)
	var refuse atomic.Bool
	c.ControlKey(kmsg.Produce.Int16(), func(rq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		p := rq.(*kmsg.ProduceRequest)
		if !refuse.Load() || p.Topics[0].Partitions[0].Partition != 1 {
			return nil, nil, false
		}
		r := rq.ResponseKind().(*kmsg.ProduceResponse)
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = p.Topics[0].Topic, p.Topics[0].TopicID
		x := kmsg.NewProduceResponseTopicPartition()
		x.Partition, x.ErrorCode = 1, kerr.InvalidRecord.Code
		topic.Partitions = append(topic.Partitions, x)
		r.Topics = append(r.Topics, topic)
		return r, nil, true
	})
	p := plainOf(t, d, "out")
	out := new(kafka.Outputs)
	for i := range 4000 {
		out.Append(0, int32(i%4), 0, fmt.Appendf(nil, "%d", i), nil, kafka.AppendHeaders(nil, kafka.Header{Key: "h", Value: []byte("x")}))
	}
	outs := []*kafka.Outputs{out}
	require.NoError(t, send(p, t.Context(), outs))
	refuse.Store(true)
	err := send(p, t.Context(), outs)
	require.ErrorContains(t, err, "1000 records were not delivered: topic out, partition 1")
	require.Equal(t, rdk.ErrInvalidRecord, codeOf(err))
	refuse.Store(false)
	require.NoError(t, send(p, t.Context(), outs))
	got := readAll(t, c, 4, 2000)
	for partition, records := range got {
		want := 3000
		if partition == 1 {
			want = 2000
		}
		if len(records) < want {
			records = committed(t, c, "out", func(got map[int32][]*kgo.Record) bool { return len(got[partition]) >= want })[partition]
		}
		require.Len(t, records, want)
		for i, r := range records {
			require.Equal(t, fmt.Sprint(i%1000*4+int(partition)), string(r.Key), "in order")
			require.Nil(t, r.Value)
			require.Equal(t, []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}, r.Headers)
		}
	}
}

// A full queue is waited for, and nothing is left out or turned round.
func TestAFullQueueIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := copying(t, 1)
	d, err := New(Config{Brokers: c.ListenAddrs(), Client: underTest, Logger: logger(t), Settings: map[string]string{"queue.buffering.max.messages": "100"}})
	require.NoError(t, err)
	p := plainOf(t, d, "out")
	out := new(kafka.Outputs)
	for i := range 5000 {
		out.Append(0, 0, 0, nil, fmt.Appendf(nil, "%d", i), nil)
	}
	require.NoError(t, send(p, t.Context(), []*kafka.Outputs{out}))
	for i, r := range readAll(t, c, 1, 5000)[0] {
		require.Equal(t, fmt.Sprint(i), string(r.Value))
	}
}

// Records larger than a batch, and batches of many small ones, come whole and split where they should be.
func TestLargeAndSmallRecordsInOneTopic(t *testing.T) {
	t.Parallel()
	a, d := adminAt(t, anyBroker(t, 1, "a"))
	out := new(kafka.Outputs)
	large := make([]byte, 900_000)
	for i := range 4000 {
		if i%1000 == 999 {
			out.Append(0, 0, 0, nil, large, nil)
			continue
		}
		out.Append(0, 0, 0, fmt.Appendf(nil, "%d", i), []byte{}, nil)
	}
	_, err := a.Produce(t.Context(), []string{"a"}, out)
	require.NoError(t, err)
	r := readerOf(t, d)
	require.NoError(t, r.Assign(tpOf("a", 0), 0))
	next := 0
	pollUntil(t, r, func(b *kafka.Batch) bool {
		require.LessOrEqual(t, b.Len(), readerBatch)
		require.LessOrEqual(t, len(b.Arena), readerBytes+len(large))
		for i := range b.Records {
			require.EqualValues(t, next, b.Records[i].Offset)
			if next%1000 == 999 {
				require.Nil(t, b.Key(i))
				require.Len(t, b.Value(i), len(large))
			} else {
				require.Equal(t, fmt.Sprint(next), string(b.Key(i)))
				require.NotNil(t, b.Value(i))
				require.Empty(t, b.Value(i))
			}
			next++
		}
		return next == out.Len()
	})
}

// plainOf is a sender without transactions to topics, closed with the test.
func plainOf(t *testing.T, d *Driver, topics ...string) *plainSender {
	t.Helper()
	p, err := openPlainSender(d, logger(t), topics)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// send sends outputs and waits until they are acknowledged.
func send(p *plainSender, ctx context.Context, outs []*kafka.Outputs) error { //nolint:revive // as the methods that it stands for
	return errors.Join(p.Produce(ctx, outs), p.Flush(ctx))
}
