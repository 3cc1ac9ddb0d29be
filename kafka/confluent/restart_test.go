package confluent

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/kafka"
)

// TestABrokerThatComesBack: a broker that is stopped while records pass, and started again, costs time only: exactly once, each record is copied once and
// in order; at least once, none is left out.
func TestABrokerThatComesBack(t *testing.T) {
	t.Parallel()
	for name, atLeastOnce := range map[string]bool{"exactly once": false, "at least once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const partitions, each, times = 4, 2000, 3
			c := copying(t, partitions)
			d := driver(t, c)
			n := open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1", AtLeastOnce: atLeastOnce}, oneSource)
			passed := 0
			n.onBatch = func(b *kafka.Batch) { passed += b.Len() }
			n.start()
			n.await("owns all", n.owns(0, 1, 2, 3))
			for i := range times {
				before := passedOf(n, &passed)
				fill(t, c, "a", partitions, i*each, each)
				n.await("some pass", func() bool { return passed > before })
				c.stop(t)
				c.start(t)
			}
			if !atLeastOnce {
				exactly(t, c, partitions, times*each)
				n.stop()
				require.NoError(t, n.fatal)
				exactly(t, c, partitions, times*each)
				return
			}
			got := committed(t, c, "out", func(got map[int32][]*kgo.Record) bool {
				for p := range int32(partitions) {
					if inOrder(t, got[p]) < times*each {
						return false
					}
				}
				return true
			})
			for p := range int32(partitions) {
				require.Equal(t, times*each, inOrder(t, got[p]))
			}
			n.stop()
			require.NoError(t, n.fatal)
		})
	}
}

// inOrder is how many records of "a" there are in order, where some may come again behind those that follow them.
func inOrder(t *testing.T, records []*kgo.Record) (n int) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range records {
		if value := string(r.Value); !seen[value] {
			require.Equal(t, "a/"+itoa(n), value)
			seen[value] = true
			n++
		}
	}
	return n
}

func passedOf(n *node, passed *int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return *passed
}

// TestAReaderOfABrokerThatComesBack reads each record once and in order.
func TestAReaderOfABrokerThatComesBack(t *testing.T) {
	t.Parallel()
	const partitions, each, times = 2, 1000, 3
	c := anyBroker(t, partitions, "a")
	_, d := adminAt(t, c)
	r := readerOf(t, d)
	next := map[int32]int64{}
	for p := range int32(partitions) {
		require.NoError(t, r.Assign(tpOf("a", p), 0))
	}
	for i := range times {
		fill(t, c, "a", partitions, i*each, each)
		pollUntil(t, r, func(b *kafka.Batch) bool {
			for i := range b.Records {
				require.Equal(t, next[b.Partition], b.Records[i].Offset)
				require.Equal(t, "a/"+itoa(int(next[b.Partition])), string(b.Value(i)))
				next[b.Partition]++
			}
			return next[0] == int64(i+1)*each && next[1] == int64(i+1)*each
		})
		c.stop(t)
		c.start(t)
	}
}

// TestASenderToABrokerThatComesBack: what is sent while a broker is away arrives when it is back, once and in order, as an idempotent producer's records do.
func TestASenderToABrokerThatComesBack(t *testing.T) {
	t.Parallel()
	const each, times = 1000, 3
	c := anyBroker(t, 1, "out")
	p := plainOf(t, driver(t, c), "out")
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
	got := readAll(t, c, 1, times*each)[0]
	require.Len(t, got, times*each)
	for i, r := range got {
		require.Equal(t, itoa(i), string(r.Value))
	}
}
