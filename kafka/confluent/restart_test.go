package confluent

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
)

// TestABrokerThatComesBack: a broker that is stopped while bundles are about to be committed, and started again, costs time only: exactly once, each record
// is copied once and in order; at least once, none is left out.
func TestABrokerThatComesBack(t *testing.T) {
	t.Parallel()
	eachGuarantee(t, func(t *testing.T, atLeastOnce bool) {
		t.Helper()
		comesBack(t, copying(t, 4), atLeastOnce)
	})
}

func comesBack(t *testing.T, c broker, atLeastOnce bool) {
	t.Helper()
	const partitions, each, times = 4, 2000, 3
	d := driver(t, c)
	n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1", AtLeastOnce: atLeastOnce}, oneSource)
	var gate sync.RWMutex // held while nothing is to be committed
	n.chaos = func(*node) {
		gate.RLock()
		defer gate.RUnlock()
	}
	seen := int64(0)
	n.onBatch = func(b *kafka.Batch) {
		if b.Partition == 0 {
			seen = max(seen, b.Next)
		}
	}
	n.start()
	n.await("owns all", n.owns(0, 1, 2, 3))
	for i := range times {
		gate.Lock()
		fill(t, c, "a", partitions, i*each, each)
		n.await("some have come, and are not committed", func() bool { return seen > int64(i*each) })
		gate.Unlock()
		c.stop(t)
		c.start(t)
	}
	fill(t, c, "a", partitions, times*each, each)
	const all = (times + 1) * each
	readAll(t, c, partitions, all)
	n.await("all is committed", func() bool {
		for _, o := range n.slots {
			if o.at[oneSource(o.grant.Slot)[0]] < all || o.moved || o.b != nil {
				return false
			}
		}
		return len(n.slots) == partitions
	})
	n.stop()
	require.NoError(t, n.fatal)
	for p := range int32(partitions) {
		next := 0
		came := map[string]bool{}
		for _, value := range valuesOf(t, d, tpOf("out", p)) {
			if atLeastOnce && came[value] {
				continue
			}
			require.Equal(t, "a/"+itoa(next), value)
			came[value] = true
			next++
		}
		require.Equal(t, all, next)
	}
}

// valuesOf are all values of a partition, up to its end.
func valuesOf(t *testing.T, d *Driver, tp kafka.TopicPartition) (values []string) {
	t.Helper()
	a, err := d.OpenOperator(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, a.Close()) }()
	ends, err := a.Ends(t.Context(), kafka.ReadCommitted, tp)
	require.NoError(t, err)
	bs, err := kafka.ReadAll(t.Context(), readerOf(t, d), tp, 0, ends[tp])
	require.NoError(t, err)
	for _, b := range bs {
		for i := range b.Records {
			values = append(values, string(b.Value(i)))
		}
	}
	return values
}

// TestAReaderOfABrokerThatComesBack reads each record once and in order, also of what was on its way when the broker was stopped.
func TestAReaderOfABrokerThatComesBack(t *testing.T) {
	t.Parallel()
	const partitions, each, times = 2, 20_000, 3
	c := anyBroker(t, partitions, "a")
	_, d := adminAt(t, c)
	r := readerOf(t, d)
	next := map[int32]int64{}
	for p := range int32(partitions) {
		require.NoError(t, r.Assign(tpOf("a", p), 0))
	}
	read := func(until func() bool) {
		pollUntil(t, r, func(b *kafka.Batch) bool {
			for i := range b.Records {
				require.Equal(t, next[b.Partition], b.Records[i].Offset)
				require.Equal(t, "a/"+itoa(int(next[b.Partition])), string(b.Value(i)))
				next[b.Partition]++
			}
			return until()
		})
	}
	for i := range times {
		fill(t, c, "a", partitions, i*each, each)
		read(func() bool { return next[0]+next[1] > int64(partitions*i*each) }) // the first batch
		require.Less(t, next[0]+next[1], int64(partitions*(i+1)*each))
		c.stop(t)
		c.start(t)
		read(func() bool { return next[0] == int64(i+1)*each && next[1] == int64(i+1)*each })
	}
}

// TestASenderToABrokerThatComesBack: what is sent while a broker is away arrives when it is back, once and in order, as an idempotent producer's records do.
func TestASenderToABrokerThatComesBack(t *testing.T) {
	t.Parallel()
	const each, times = 1000, 3
	c := anyBroker(t, 1, "out")
	d := driver(t, c)
	p := plainOf(t, d, "out")
	for i := range times {
		c.stop(t)
		out := new(kafka.Outputs)
		for j := range each {
			out.Append(0, 0, 0, nil, []byte(itoa(i*each+j)), nil)
		}
		require.NoError(t, p.Produce(t.Context(), []*kafka.Outputs{out}))
		c.start(t)
		require.NoError(t, p.Flush(t.Context()))
	}
	got := valuesOf(t, d, tpOf("out", 0))
	require.Len(t, got, times*each)
	for i, value := range got {
		require.Equal(t, itoa(i), value)
	}
}
