package confluent

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

func itoa(i int) string { return strconv.Itoa(i) }

// readAll reads "out", read committed, until each partition has n records.
func readAll(t *testing.T, c hasAddrs, partitions int32, n int) map[int32][]*kgo.Record {
	t.Helper()
	return committed(t, c, "out", func(got map[int32][]*kgo.Record) bool {
		for p := range partitions {
			if len(got[p]) < n {
				return false
			}
		}
		return true
	})
}

func TestExactlyOnceThroughAbortsAndRetakes(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := cluster(t, 4)
	d := driver(t, c)
	var inject atomic.Int32
	c.ControlKey(kmsg.TxnOffsetCommit.Int16(), func(rq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if inject.Add(-1) < 0 {
			return nil, nil, false
		}
		r := rq.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, t := range rq.(*kmsg.TxnOffsetCommitRequest).Topics {
			x := kmsg.NewTxnOffsetCommitResponseTopic()
			x.Topic = t.Topic
			for _, p := range t.Partitions {
				y := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				y.Partition, y.ErrorCode = p.Partition, kerr.IllegalGeneration.Code
				x.Partitions = append(x.Partitions, y)
			}
			r.Topics = append(r.Topics, x)
		}
		return r, nil, true
	})
	chaos := func(n *node) {
		switch rnd.IntN(6) {
		case 0:
			n.group.Retake([]int32{int32(rnd.IntN(4))}, fmt.Errorf("chaos"))
		case 1:
			inject.Store(1)
		}
	}
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource)
	n.chaos = chaos
	n.start()
	var other *node
	for i := range 40 {
		fill(t, c, "a", 4, i*10, 10)
		switch i { // and a second member that comes and goes
		case 10:
			other = open(t, d, kafka.GroupConfig{Instance: "B", Nonce: "1"}, oneSource).start()
		case 25:
			other.stop()
		}
		exactly(t, c, 4, (i+1)*10)
	}
	n.stop()
	require.NoError(t, n.fatal)
	require.NoError(t, other.fatal)
	t.Logf("outcomes %v and %v, %d and %d grants", n.outcomes, other.outcomes, len(n.grants), len(other.grants))
	require.Greater(t, len(n.grants), 4)
	require.Positive(t, n.outcomes[kafka.Aborted])
	exactly(t, c, 4, 400)
}

// endTxn answers the next EndTxn requests by f.
func endTxn(c *kfake.Cluster, f func(n int32, rq *kmsg.EndTxnRequest) (kmsg.Response, error, bool)) {
	var n atomic.Int32
	c.ControlKey(kmsg.EndTxn.Int16(), func(rq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return f(n.Add(1), rq.(*kmsg.EndTxnRequest))
	})
}

func TestUnknownOutcomesAreSettled(t *testing.T) {
	t.Parallel()
	c := cluster(t, 2)
	d := driver(t, c)
	// Every third commit is answered by a broken connection, before it is carried out: the client sends it again, slowly.
	endTxn(c, func(n int32, _ *kmsg.EndTxnRequest) (kmsg.Response, error, bool) {
		if n%3 == 0 {
			return nil, fmt.Errorf("the connection breaks"), true
		}
		return nil, nil, false
	})
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	for i := range 8 {
		fill(t, c, "a", 2, i*10, 10)
		readAll(t, c, 2, (i+1)*10)
	}
	exactly(t, c, 2, 80)
	n.stop()
	require.NoError(t, n.fatal)
	require.Positive(t, n.outcomes[kafka.Unknown], "outcomes %v", n.outcomes)
	exactly(t, c, 2, 80)
}

func TestATransactionThatWasFencedIsSettled(t *testing.T) {
	t.Parallel()
	c := copying(t, 2)
	d := driver(t, c)
	raw, err := d.openRaw(t.Context())
	require.NoError(t, err)
	defer raw.Close()
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource)
	fences := 0
	n.chaos = func(*node) {
		if fences++; fences%3 == 1 { // as one does who takes a slot over us
			require.NoError(t, groupWire{raw, "g"}.Fence(t.Context(), "A"))
		}
	}
	n.start()
	for i := range 6 {
		fill(t, c, "a", 2, i*10, 10)
		readAll(t, c, 2, (i+1)*10)
	}
	n.stop()
	require.NoError(t, n.fatal)
	require.Positive(t, n.outcomes[kafka.Unknown], "outcomes %v", n.outcomes)
	exactly(t, c, 2, 60)
}

func TestTwoProcessesOfOneIdentity(t *testing.T) {
	t.Parallel()
	c := copying(t, 1)
	d := driver(t, c)
	a := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	a.await("owns", a.owns(0))
	twin := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "2"}, oneSource).start()
	twin.await("owns", twin.owns(0))
	fill(t, c, "a", 1, 0, 10)
	a.await("stops", func() bool { return a.fatal != nil })
	require.ErrorIs(t, a.fatal, kafka.ErrDuplicateIdentity)
	exactly(t, c, 1, 10)
}

func TestASickBundleIsToldApart(t *testing.T) {
	t.Parallel()
	eachGuarantee(t, func(t *testing.T, atLeastOnce bool) {
		t.Helper()
		sickBundles(t, copying(t, 1), atLeastOnce)
	})
}

func sickBundles(t *testing.T, c broker, atLeastOnce bool) {
	t.Helper()
	d := driver(t, c)
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1", AtLeastOnce: atLeastOnce}, oneSource).start()
	n.await("owns", n.owns(0))
	n.mu.Lock()
	g := n.grants[0]
	n.mu.Unlock()
	bundle := func(seq int64, value []byte, partition int32) *kafka.Bundle {
		b := &kafka.Bundle{Slot: 0, Incarnation: g.Incarnation, MemberID: g.MemberID, Seq: seq, Outputs: []*kafka.Outputs{{}}}
		b.Outputs[0].Append(0, partition, 0, nil, value, nil)
		b.Offsets = []kafka.Position{{TopicPartition: oneSource(0)[0], Offset: 0, Metadata: kafka.Meta{Seq: seq}.Encode()}}
		return b
	}
	large := make([]byte, 3<<20)
	for i := range large {
		large[i] = byte(rand.Uint32()) // does not compress
	}
	out := n.prod.Commit(t.Context(), []*kafka.Bundle{bundle(1, large, 0)})
	require.Equal(t, kafka.Aborted, out.Verdict, "%v", out.Err)
	require.True(t, out.Sick, "%v", out.Err)
	out = n.prod.Commit(t.Context(), []*kafka.Bundle{bundle(1, nil, 99)})
	require.Equal(t, kafka.Aborted, out.Verdict, "%v", out.Err)
	require.True(t, out.Sick, "%v", out.Err)
	b := bundle(1, nil, 0)
	b.Incarnation--
	out = n.prod.Commit(t.Context(), []*kafka.Bundle{b})
	require.Equal(t, kafka.Aborted, out.Verdict)
	require.ErrorContains(t, out.Err, "slots 0 were given up")
	require.Empty(t, out.Lost, "it is given up already")
	b = bundle(1, nil, 0)
	b.MemberID = "another"
	out = n.prod.Commit(t.Context(), []*kafka.Bundle{b})
	require.Equal(t, kafka.Aborted, out.Verdict)
	require.Equal(t, []int32{0}, out.Lost)
	require.False(t, out.Sick)
	b = bundle(1, []byte("well"), 0)
	state, err := n.prod.Settle(t.Context(), []*kafka.Bundle{b})
	require.NoError(t, err)
	require.Equal(t, map[int32]kafka.Settled{0: kafka.SlotNotCommitted}, state)
	require.NotEqual(t, kafka.Aborted, n.prod.Commit(t.Context(), []*kafka.Bundle{b}).Verdict, "one that took long is unknown")
	state, err = n.prod.Settle(t.Context(), []*kafka.Bundle{b})
	require.NoError(t, err)
	require.Equal(t, map[int32]kafka.Settled{0: kafka.SlotCommitted}, state)
	state, err = n.prod.Settle(t.Context(), []*kafka.Bundle{bundle(3, nil, 0)})
	require.NoError(t, err)
	require.Equal(t, map[int32]kafka.Settled{0: kafka.SlotLost}, state)
}

// Offsets are added while records are on their way: what says in the end that these must not be written is the transaction, which has failed
// for it, and not the records, which were purged with it.
func TestATransactionThatIsDeniedSaysSo(t *testing.T) {
	t.Parallel()
	c := cluster(t, 1)
	n := open(t, driver(t, c), kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	n.await("owns", n.owns(0))
	c.ControlKey(kmsg.AddPartitionsToTxn.Int16(), func(rq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := rq.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
		for _, asked := range rq.(*kmsg.AddPartitionsToTxnRequest).Topics {
			topic := kmsg.NewAddPartitionsToTxnResponseTopic()
			topic.Topic = asked.Topic
			for _, p := range asked.Partitions {
				x := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				x.Partition, x.ErrorCode = p, kerr.TopicAuthorizationFailed.Code
				topic.Partitions = append(topic.Partitions, x)
			}
			r.Topics = append(r.Topics, topic)
		}
		return r, nil, true
	})
	n.mu.Lock()
	g := n.grants[0]
	n.mu.Unlock()
	b := &kafka.Bundle{Slot: 0, Incarnation: g.Incarnation, MemberID: g.MemberID, Seq: 1, Outputs: []*kafka.Outputs{{}}}
	b.Outputs[0].Append(0, 0, 0, nil, []byte("v"), nil)
	b.Offsets = []kafka.Position{{TopicPartition: oneSource(0)[0], Offset: 0, Metadata: kafka.Meta{Seq: 1}.Encode()}}
	for range 3 {
		out := n.prod.Commit(t.Context(), []*kafka.Bundle{b})
		require.NotEqual(t, kafka.Committed, out.Verdict)
		require.ErrorIs(t, out.Err, kafka.ErrDenied)
		require.ErrorContains(t, out.Err, "Write on topic out")
	}
}

func TestAtLeastOnce(t *testing.T) {
	t.Parallel()
	c := copying(t, 2)
	d := driver(t, c)
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1", AtLeastOnce: true}, twoSources).start()
	n.await("owns both", n.owns(0, 1))
	fill(t, c, "a", 2, 0, 300)
	fill(t, c, "b", 2, 0, 300)
	got := readAll(t, c, 2, 600)
	for p := range int32(2) {
		require.Equal(t, 600, len(got[p]), "records in partition %d", p)
	}
	n.stop()
	require.NoError(t, n.fatal)
	require.Equal(t, map[kafka.Verdict]int{kafka.Committed: n.outcomes[kafka.Committed]}, n.outcomes)
	again := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "2", AtLeastOnce: true}, twoSources).start()
	again.await("owns both", again.owns(0, 1))
	again.mu.Lock()
	defer again.mu.Unlock()
	for _, g := range again.grants {
		require.Len(t, g.Sources, 2)
		for _, pos := range g.Sources {
			require.EqualValues(t, 300, pos.Offset)
		}
	}
}
