package confluent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/troupe-stream/troupe/kafka"
)

func readerOf(t *testing.T, d *Driver) kafka.Reader {
	t.Helper()
	r, err := d.OpenReader()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// pollUntil polls until done says so and returns all batches.
func pollUntil(t *testing.T, r kafka.Reader, done func(*kafka.Batch) bool) (batches []*kafka.Batch) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		b, err := r.Poll(100 * time.Millisecond)
		require.NoError(t, err)
		if b == nil {
			continue
		}
		batches = append(batches, b)
		if done(b) {
			return batches
		}
	}
	t.Fatalf("not within %v; %d batches came", patience, len(batches))
	return nil
}

func TestReaderGivesEachRecordOnceInOrder(t *testing.T) {
	t.Parallel()
	a, d := adminAt(t, anyBroker(t, 3, "a"))
	out := new(kafka.Outputs)
	const each = 5000
	for i := range 3 * each {
		var value []byte
		if i%7 > 0 {
			value = fmt.Appendf(nil, "v%d", i/3)
		}
		out.Append(0, int32(i%3), int64(1000+i/3), fmt.Appendf(nil, "%d", i/3), value, kafka.AppendHeaders(nil, kafka.Header{Key: "h", Value: []byte("x")}, kafka.Header{Key: "n"}))
	}
	_, err := a.Produce(t.Context(), []string{"a"}, out)
	require.NoError(t, err)
	r := readerOf(t, d)
	next := map[int32]int64{0: 0, 1: 100, 2: 4999}
	for p, from := range next {
		require.NoError(t, r.Assign(tpOf("a", p), from))
	}
	pollUntil(t, r, func(b *kafka.Batch) bool {
		for i := range b.Records {
			want := next[b.Partition]
			require.Equal(t, want, b.Records[i].Offset)
			require.Equal(t, 1000+want, b.Records[i].Timestamp)
			require.Equal(t, fmt.Sprint(want), string(b.Key(i)))
			if (3*want+int64(b.Partition))%7 > 0 {
				require.Equal(t, fmt.Sprint("v", want), string(b.Value(i)))
			} else {
				require.Nil(t, b.Value(i))
			}
			require.Equal(t, []kafka.Header{{Key: "h", Value: []byte("x")}, {Key: "n"}}, slices.Collect(b.Headers(i)))
			next[b.Partition]++
		}
		require.Equal(t, next[b.Partition], b.Next)
		return next[0] == each && next[1] == each && next[2] == each
	})
}

// Messages of the format before Kafka's second, behind newer ones in one answer: they come as they were, and nothing behind the last, which ends with the answer, is
// looked at (the address sanitizer says so). The broker is as before Kafka 2.7: of later ones librdkafka does not know how to read such messages.
func TestReaderOfMessagesInAnOlderFormat(t *testing.T) {
	t.Parallel()
	newer := []byte{0, 0, 0, 1, 2 * 3, 'n', 'e', 'w', 0} // attributes, times and offsets since the first, no key, a value, no headers; numbers are zigzag varints
	batch := kmsg.RecordBatch{Magic: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1, Records: append([]byte{byte(2 * len(newer))}, newer...)}
	batch.Length = int32(len(batch.AppendTo(nil)) - 12) // what follows it
	older := kmsg.MessageV1{Offset: 1, Magic: 1, Timestamp: 7, Value: []byte("older")}
	older.MessageSize = int32(len(older.AppendTo(nil)) - 12)
	answer := older.AppendTo(batch.AppendTo(nil))

	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.Fetch.Int16(), 11)
	c := fakeCluster(t, kfake.SeedTopics(1, "a"), kfake.MaxVersions(versions))
	c.ControlKey(kmsg.Fetch.Int16(), func(rq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		f, is := rq.(*kmsg.FetchRequest)
		if !is || len(f.Topics) != 1 || f.Topics[0].Partitions[0].FetchOffset > 1 {
			return nil, nil, false
		}
		out := kmsg.NewPtrFetchResponse()
		out.Version = f.Version
		part := kmsg.NewFetchResponseTopicPartition()
		part.HighWatermark, part.LastStableOffset, part.RecordBatches = 2, 2, answer
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID, topic.Partitions = f.Topics[0].Topic, f.Topics[0].TopicID, []kmsg.FetchResponseTopicPartition{part}
		out.Topics = []kmsg.FetchResponseTopic{topic}
		return out, nil, true
	})
	fill(t, c, "a", 1, 0, 2) // the broker's own; answers are made up
	r := readerOf(t, driver(t, c))
	require.NoError(t, r.Assign(tpOf("a", 0), 0))
	var values []string
	pollUntil(t, r, func(b *kafka.Batch) bool {
		for i := range b.Records {
			values = append(values, string(b.Value(i)))
			require.Empty(t, slices.Collect(b.Headers(i)))
		}
		return b.Next == 2
	})
	require.Equal(t, []string{"new", "older"}, values)
}

func TestReaderSkipsAbortedRecordsAndMovesOverMarkers(t *testing.T) {
	t.Parallel()
	_, d := adminAt(t, anyBroker(t, 1, "a"))
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.cfg.Brokers...), kgo.TransactionalID("x"), kgo.DefaultProduceTopic("a"))
	require.NoError(t, err)
	defer cl.Close()
	var want []string
	for i := range 10 {
		require.NoError(t, cl.BeginTransaction())
		value := fmt.Sprint(i)
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord(value), kgo.StringRecord(value)).FirstErr())
		commit := i%3 == 0 && i < 9
		require.NoError(t, cl.EndTransaction(t.Context(), kgo.TransactionEndTry(commit)))
		if commit {
			want = append(want, value, value)
		}
	}
	r := readerOf(t, d)
	require.NoError(t, r.Assign(tpOf("a", 0), 0))
	var got []string
	pollUntil(t, r, func(b *kafka.Batch) bool {
		for i := range b.Records {
			got = append(got, string(b.Value(i)))
		}
		return b.Next >= 30 // ten transactions of two records and a marker, the last ones aborted
	})
	require.Equal(t, want, got)
}

func TestReaderTellsTheEndOfAnEmptyPartition(t *testing.T) {
	t.Parallel()
	_, d := adminAt(t, anyBroker(t, 1, "a"))
	r := readerOf(t, d)
	require.NoError(t, r.Assign(tpOf("a", 0), 0))
	bs := pollUntil(t, r, func(*kafka.Batch) bool { return true })
	require.Zero(t, bs[0].Len())
	require.Zero(t, bs[0].Next)
}

func TestReaderAssignsAnewAndRemoves(t *testing.T) {
	t.Parallel()
	a, d := adminAt(t, anyBroker(t, 2, "a"))
	out := new(kafka.Outputs)
	for i := range 20000 {
		out.Append(0, int32(i%2), 0, nil, fmt.Appendf(nil, "%d", i/2), nil)
	}
	_, err := a.Produce(t.Context(), []string{"a"}, out)
	require.NoError(t, err)
	r := readerOf(t, d)
	require.NoError(t, r.Remove(tpOf("a", 0)), "one that is not assigned is ignored")
	for round := range 10 {
		from := int64(round * 900)
		require.NoError(t, r.Assign(tpOf("a", 0), from))
		require.NoError(t, r.Assign(tpOf("a", 1), 0))
		var moved bool
		next := from
		pollUntil(t, r, func(b *kafka.Batch) bool {
			if b.Partition == 1 {
				return false
			}
			for i := range b.Records {
				require.Equal(t, next, b.Records[i].Offset, "round %d", round)
				next++
			}
			moved = moved || b.Len() > 0
			return moved
		})
		require.NoError(t, r.Remove(tpOf("a", 1)))
	}
}

func TestReaderNamesAnOffsetOutOfRange(t *testing.T) {
	t.Parallel()
	_, d := adminAt(t, anyBroker(t, 1, "a"))
	r := readerOf(t, d)
	require.NoError(t, r.Assign(tpOf("a", 0), 77))
	require.ErrorContains(t, r.Assign(tpOf("a", 0), -1), "must not be below 0")
	var err error
	for end := time.Now().Add(patience); err == nil && time.Now().Before(end); {
		_, err = r.Poll(100 * time.Millisecond)
	}
	require.ErrorContains(t, err, "a/0")
	require.ErrorContains(t, err, "77")
	require.ErrorContains(t, err, "out of range")
}

func TestReaderAfterCloseAndUnderIt(t *testing.T) {
	t.Parallel()
	_, d := adminAt(t, anyBroker(t, 4, "a"))
	for range 5 {
		r := readerOf(t, d)
		var all sync.WaitGroup
		all.Go(func() {
			for {
				if _, err := r.Poll(time.Second); err != nil {
					require.ErrorIs(t, err, errReaderClosed)
					return
				}
			}
		})
		for p := range int32(4) {
			all.Go(func() { _ = r.Assign(tpOf("a", p), 0) })
		}
		require.NoError(t, r.Close())
		all.Wait()
		_, err := r.Poll(0)
		require.ErrorIs(t, err, errReaderClosed)
		require.ErrorIs(t, r.Assign(tpOf("a", 0), 0), errReaderClosed)
		require.NoError(t, r.Remove(tpOf("a", 0)))
		require.NoError(t, r.Close())
	}
}

func TestReadAll(t *testing.T) {
	t.Parallel()
	a, d := adminAt(t, anyBroker(t, 1, "a"))
	out := new(kafka.Outputs)
	for i := range 2500 {
		out.Append(0, 0, 0, nil, fmt.Appendf(nil, "%d", i), nil)
	}
	_, err := a.Produce(t.Context(), []string{"a"}, out)
	require.NoError(t, err)
	r := readerOf(t, d)
	for range 3 {
		bs, err := kafka.ReadAll(t.Context(), r, tpOf("a", 0), 10, 2500)
		require.NoError(t, err)
		n := int64(10)
		for _, b := range bs {
			for i := range b.Records {
				require.Equal(t, n, b.Records[i].Offset)
				n++
			}
		}
		require.Equal(t, int64(2500), n)
	}
	none, err := kafka.ReadAll(t.Context(), r, tpOf("a", 0), 5, 5)
	require.NoError(t, err)
	require.Empty(t, none)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = kafka.ReadAll(ctx, r, tpOf("a", 0), 0, 9999)
	require.ErrorContains(t, err, "read a/0: at offset 2500 of 9999")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
