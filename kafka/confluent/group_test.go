package confluent

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/kafka"
)

func marksOf(t *testing.T, d *Driver, slots ...int32) map[int32]string {
	t.Helper()
	raw, err := d.openRaw(t.Context())
	require.NoError(t, err)
	defer raw.Close()
	got, err := groupWire{raw, "g"}.Marks(t.Context(), slots)
	require.NoError(t, err)
	return got
}

func TestTakesSlotsAndMarksThem(t *testing.T) {
	t.Parallel()
	c := copying(t, 3)
	d := driver(t, c)
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, func(slot int32) []kafka.TopicPartition {
		if slot == 2 {
			return nil // none of this plan's
		}
		return oneSource(slot)
	}).start()
	n.await("owns its slots", n.owns(0, 1))
	n.mu.Lock()
	for _, g := range n.grants {
		require.Equal(t, []kafka.Position{{TopicPartition: oneSource(g.Slot)[0], Offset: -1}}, g.Sources)
		require.False(t, g.Careful)
		require.NotEmpty(t, g.MemberID)
		require.NotZero(t, g.Incarnation)
	}
	require.NotEqual(t, n.grants[0].Incarnation, n.grants[1].Incarnation)
	n.mu.Unlock()
	marks := marksOf(t, d, 0, 1)
	require.Equal(t, map[int32]string{0: "A/1", 1: "A/1"}, marks)
	n.stop()
	require.ElementsMatch(t, []int32{0, 1}, n.released)
	require.Equal(t, map[int32]string{0: "released", 1: "released", 2: "released"}, marksOf(t, d, 0, 1, 2))
}

func TestASecondMemberGetsItsShareInOrder(t *testing.T) {
	t.Parallel()
	c := copying(t, 4)
	d := driver(t, c)
	a := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	a.await("A owns all", a.owns(0, 1, 2, 3))
	fill(t, c, "a", 4, 0, 100)
	b := open(t, d, kafka.GroupConfig{Instance: "B", Nonce: "1"}, oneSource).start()
	b.await("B owns two", func() bool { return len(b.slots) == 2 })
	a.await("A owns two", func() bool { return len(a.slots) == 2 })
	b.mu.Lock()
	for _, g := range b.grants {
		require.False(t, g.Careful, "it was released in order")
	}
	b.mu.Unlock()
	fill(t, c, "a", 4, 100, 100)
	exactly(t, c, 4, 200)
	b.stop() // it leaves: A does not wait for the session to end
	a.await("A owns all again", a.owns(0, 1, 2, 3))
	require.Empty(t, a.lost)
	require.Empty(t, b.lost)
}

// exactly checks that "out" holds the first n records of "a", once each and in order.
func exactly(t *testing.T, c hasAddrs, partitions int32, n int) {
	t.Helper()
	got := readAll(t, c, partitions, n)
	for p := range partitions {
		require.Equal(t, n, len(got[p]), "records in partition %d", p)
		for i, r := range got[p] {
			require.Equal(t, "a/"+itoa(i), string(r.Value), "partition %d", p)
		}
	}
}

func TestAMemberThatDiedIsFencedAndItsSlotsResumedCarefully(t *testing.T) {
	t.Parallel()
	c := copying(t, 2)
	d := driver(t, c)
	fill(t, c, "a", 2, 0, 50)
	a := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	exactly(t, c, 2, 50)
	// A dies with a transaction open: as another process of its instance finds it.
	a.stop()
	raw, err := d.openRaw(t.Context())
	require.NoError(t, err)
	defer raw.Close()
	w := groupWire{raw, "g"}
	require.NoError(t, w.Mark(t.Context(), kafka.Member{Generation: -1, Instance: ""}, map[int32]kafka.Mark{0: {Owners: []kafka.Owner{{Instance: "Z", Nonce: "9"}}}}))
	dead := kafkaClient(t, c, kgo.TransactionalID("g-Z"), kgo.DefaultProduceTopic("out"))
	require.NoError(t, dead.BeginTransaction())
	require.NoError(t, dead.ProduceSync(t.Context(), &kgo.Record{Topic: "out", Partition: 0, Value: []byte("never")}).FirstErr())
	b := open(t, d, kafka.GroupConfig{Instance: "B", Nonce: "1"}, oneSource).start()
	b.await("B owns both", b.owns(0, 1))
	b.mu.Lock()
	for _, g := range b.grants {
		require.Equal(t, g.Slot == 0, g.Careful)
		require.Positive(t, kafka.SeqOf(g.Sources[0].Metadata))
	}
	b.mu.Unlock()
	fill(t, c, "a", 2, 50, 50)
	exactly(t, c, 2, 100)
	require.Error(t, dead.EndTransaction(t.Context(), kgo.TryCommit), "it was fenced")
	require.Equal(t, "B/1", marksOf(t, d, 0)[0])
}

func TestRecordsArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	c := copying(t, 1)
	d := driver(t, c)
	type rec struct {
		offset, ts int64
		key, value []byte
		headers    []kafka.Header
	}
	var got []rec
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource)
	n.onBatch = func(b *kafka.Batch) {
		for i, r := range b.Records {
			x := rec{r.Offset, r.Timestamp, b.Key(i), b.Value(i), nil}
			for h := range b.Headers(i) {
				x.headers = append(x.headers, h)
			}
			got = append(got, x)
		}
	}
	at := time.UnixMilli(1700000000123)
	in := []*kgo.Record{
		{Key: nil, Value: nil, Timestamp: at},
		{Key: []byte{}, Value: []byte{}, Timestamp: at},
		{Key: []byte("k"), Value: []byte("v"), Timestamp: at, Headers: []kgo.RecordHeader{{Key: "n", Value: nil}, {Key: "e", Value: []byte{}}, {Key: "", Value: []byte("x")}}},
		{Key: []byte{0, 255}, Value: nil, Timestamp: time.UnixMilli(1)},
	}
	for _, r := range in {
		r.Topic = "a"
	}
	require.NoError(t, kafkaClient(t, c).ProduceSync(t.Context(), in...).FirstErr())
	n.start()
	n.await("all records", func() bool { return len(got) == 4 })
	n.mu.Lock()
	defer n.mu.Unlock()
	require.Equal(t, []rec{
		{0, at.UnixMilli(), nil, nil, nil},
		{1, at.UnixMilli(), []byte{}, []byte{}, nil},
		{2, at.UnixMilli(), []byte("k"), []byte("v"), []kafka.Header{{Key: "n"}, {Key: "e", Value: []byte{}}, {Key: "", Value: []byte("x")}}},
		{3, 1, []byte{0, 255}, nil, nil},
	}, got)
	// And through our producer as well.
	n.mu.Unlock()
	out := readAll(t, c, 1, 4)[0]
	n.mu.Lock()
	for i, r := range out {
		require.Equal(t, in[i].Key, r.Key)
		require.Equal(t, in[i].Value, r.Value)
		require.Equal(t, in[i].Timestamp.UnixMilli(), r.Timestamp.UnixMilli())
		require.Equal(t, in[i].Headers, r.Headers)
	}
}

func TestTheEndOfATransactionalTopicIsReached(t *testing.T) {
	t.Parallel()
	c := copying(t, 1)
	d := driver(t, c)
	tx := kafkaClient(t, c, kgo.TransactionalID("t"))
	for _, try := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		require.NoError(t, tx.BeginTransaction())
		require.NoError(t, tx.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte("x")}).FirstErr())
		require.NoError(t, tx.EndTransaction(t.Context(), try))
	}
	records, next := 0, int64(0)
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource)
	n.onBatch = func(b *kafka.Batch) { records, next = records+b.Len(), b.Next }
	n.start()
	n.await("the end, behind the markers", func() bool { return next == 4 })
	n.mu.Lock()
	defer n.mu.Unlock()
	require.Equal(t, 1, records)
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	c := copying(t, 2)
	d := driver(t, c)
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource)
	seen, next := map[int32]int{}, int64(0)
	n.onBatch = func(b *kafka.Batch) {
		if seen[b.Partition] += b.Len(); b.Partition == 0 {
			next = b.Next
		}
	}
	n.start()
	n.await("owns both", n.owns(0, 1))
	n.group.Pause(kafka.TopicPartition{Topic: "a", Partition: 0}, kafka.TopicPartition{Topic: "nobody's", Partition: 7})
	fill(t, c, "a", 2, 0, 10)
	n.await("partition 1 is read", func() bool { return seen[1] == 10 })
	n.mu.Lock()
	require.Zero(t, seen[0])
	n.mu.Unlock()
	n.group.Resume(kafka.TopicPartition{Topic: "a", Partition: 0})
	n.await("partition 0 is read", func() bool { return seen[0] == 10 })
	// A pause does not outlive its assignment.
	n.group.Pause(kafka.TopicPartition{Topic: "a", Partition: 0})
	n.group.Retake([]int32{0}, context.Canceled)
	n.await("slot 0 is taken again", func() bool { return len(n.grants) == 3 })
	fill(t, c, "a", 1, 10, 10)
	n.await("partition 0 is read again, from where it is committed: its first records may come twice", func() bool { return next == 20 })
}

// TestPausesLoseNothing pauses each of six partitions behind each of its batches, and resumes the one that has been paused for longest: more are paused
// than are held back, and what librdkafka has fetched of one is moved or thrown away all the time.
func TestPausesLoseNothing(t *testing.T) {
	t.Parallel()
	const partitions, records = 6, 20_000
	c := copying(t, partitions)
	d, err := New(Config{Brokers: c.ListenAddrs(), Client: underTest, Logger: logger(t), Settings: map[string]string{"queued.min.messages": "1000", "fetch.message.max.bytes": "20000"}})
	require.NoError(t, err)
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource)
	next, over, paused, pauses := map[int32]int64{}, map[int32]bool{}, []kafka.TopicPartition(nil), 0
	var faults []string
	n.onBatch = func(b *kafka.Batch) {
		for _, r := range b.Records {
			if r.Offset != next[b.Partition] {
				faults = append(faults, fmt.Sprintf("partition %d: offset %d has come, %d was expected", b.Partition, r.Offset, next[b.Partition]))
			}
			next[b.Partition] = r.Offset + 1
		}
		tp := kafka.TopicPartition{Topic: "a", Partition: b.Partition}
		ended := b.Next == records
		if !ended && !slices.Contains(paused, tp) {
			n.group.Pause(tp)
			paused, pauses = append(paused, tp), pauses+1
		}
		if ended {
			over[b.Partition] = true
			paused = slices.DeleteFunc(paused, func(x kafka.TopicPartition) bool { return x == tp })
		}
		if len(paused) > 0 && len(paused)+len(over) == partitions {
			n.group.Resume(paused[0])
			paused = paused[1:]
		}
	}
	fill(t, c, "a", partitions, 0, records)
	n.start()
	n.await("all is read", func() bool {
		if len(faults) > 0 {
			return true
		}
		for p := range int32(partitions) {
			if next[p] < records {
				return false
			}
		}
		return true
	})
	n.stop()
	require.Empty(t, faults)
	require.Greater(t, pauses, 3*partitions)
}

func TestKeptSlotsStayWithTheInstance(t *testing.T) {
	t.Parallel()
	c := copying(t, 2)
	d := driver(t, c)
	a := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1", KeepSlots: true}, oneSource).start()
	a.await("owns both", a.owns(0, 1))
	b := open(t, d, kafka.GroupConfig{Instance: "B", Nonce: "1"}, oneSource).start()
	b.await("owns one", func() bool { return len(b.slots) == 1 })
	a.await("owns one", func() bool { return len(a.slots) == 1 })
	a.stop()
	again := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "2"}, oneSource).start()
	again.await("has its slot back", func() bool { return len(again.slots) == 1 })
	require.Empty(t, b.lost)
	require.Len(t, b.grants, 1)
}

func TestAnOffsetThatIsGoneIsFatal(t *testing.T) {
	t.Parallel()
	c := copying(t, 1)
	d := driver(t, c)
	raw, err := d.openRaw(t.Context())
	require.NoError(t, err)
	defer raw.Close()
	require.NoError(t, groupWire{raw, "g"}.Commit(t.Context(), kafka.Member{Generation: -1}, []kafka.Position{{TopicPartition: oneSource(0)[0], Offset: 17}}))
	fill(t, c, "a", 1, 0, 3)
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	n.await("fails", func() bool { return n.fatal != nil })
	require.ErrorContains(t, n.fatal, "offset 17 of a/0 is to be read next, but its log goes from 0 to 3")
}

func TestNoBroker(t *testing.T) {
	t.Parallel()
	d, err := New(Config{Brokers: []string{"127.0.0.1:1"}, Logger: logger(t)})
	require.NoError(t, err)
	began := time.Now()
	_, err = d.OpenGroup(kafka.GroupConfig{Group: "g", Instance: "A", Nonce: "1"})
	require.ErrorContains(t, err, "no broker answers at 127.0.0.1:1 within 10s: ")
	require.ErrorContains(t, err, "nothing listens at 127.0.0.1:1: check --brokers")
	require.Less(t, time.Since(began), patience)
}

func TestGroupConfigIsChecked(t *testing.T) {
	t.Parallel()
	d, err := New(Config{Brokers: []string{"127.0.0.1:1"}})
	require.NoError(t, err)
	_, err = d.OpenGroup(kafka.GroupConfig{Group: "g", Instance: "A B", Nonce: "1"})
	require.ErrorContains(t, err, `instance id "A B"`)
	_, err = New(Config{})
	require.ErrorContains(t, err, "--brokers")
}

func TestSlotsThatAreNotReleasedInTimeAreLost(t *testing.T) {
	t.Parallel()
	c := copying(t, 2)
	d := driver(t, c)
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1", ReleaseTimeout: 200 * time.Millisecond}, oneSource)
	stuck := make(chan struct{})
	n.chaos = func(*node) { <-stuck }
	n.start()
	n.await("owns both", n.owns(0, 1))
	fill(t, c, "a", 1, 0, 10)
	n.await("a bundle is to be committed", func() bool { o := n.slots[0]; return o != nil && o.b != nil })
	n.cancel()
	n.await("slot 0 is lost", func() bool { return len(n.lost) > 0 })
	require.Equal(t, []int32{0}, n.lost)
	require.Equal(t, []int32{1}, n.released)
	close(stuck)
	n.stop()
	require.Equal(t, map[int32]string{0: "A/1", 1: "released"}, marksOf(t, d, 0, 1))
}
