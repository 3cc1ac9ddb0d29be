package tables

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
)

// churn writes keys and deletes all of them but each nth, of so many; undone and committed in turns. It returns what stays.
func churn(t *testing.T, s *ShardOf[int64], keys, nth int) map[string]int64 {
	t.Helper()
	stay, epoch, batch := map[string]int64{}, int64(0), 500
	apply := func(change func(o *OpsOf[int64])) {
		epoch++
		o := NewOps(s.spec)
		change(o)
		require.NoError(t, s.Apply(epoch, o, new(kafka.Outputs)))
	}
	for from := 0; from < keys; from += batch {
		set := func(o *OpsOf[int64]) {
			for n := from; n < from+batch; n++ {
				require.NoError(t, o.Set(fmt.Appendf(nil, "key-%016d", n), int64(n)))
			}
		}
		apply(set)
		s.Undo(epoch - 1)
		apply(set)
		s.Committed(epoch)
		apply(func(o *OpsOf[int64]) {
			for n := from; n < from+batch; n++ {
				if key := fmt.Sprintf("key-%016d", n); n%nth == 0 {
					stay[key] = int64(n)
				} else {
					o.Delete([]byte(key))
				}
			}
		})
		s.Committed(epoch)
	}
	return stay
}

// TestKeysThatStayAreMoved: what keys take in memory is bounded by those that are there, however many come and go around them.
func TestKeysThatStayAreMoved(t *testing.T) {
	t.Parallel()
	s := New(&Spec[int64]{Name: "t", Codec: codec.Int64}, Config{})
	stay := churn(t, s, 400_000, 1000)
	held := 0
	for _, b := range s.keys.blocks {
		held += cap(b)
	}
	require.Equal(t, held, s.keys.held)
	require.Equal(t, len(stay)*20, s.keys.live)
	require.LessOrEqual(t, held, 2*s.keys.live+2*keySlack, "%d keys of 20 bytes stay", len(stay))
	for key, n := range stay {
		v, ok, err := s.get([]byte(key))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, n, v)
	}
}

// TestWhatIsBesideMovedKeys: the order of keys, indexes, times to expire and timers are what they were.
func TestWhatIsBesideMovedKeys(t *testing.T) {
	t.Parallel()
	s := New(&Spec[int64]{
		Name: "t", Codec: codec.Int64, Ordered: true, TTL: &TTL{After: time.Hour, Wall: true}, Timer: func(n int64) Timer { return Timer{Due: n} },
		Indexes: []*Index[int64]{{Name: "parity", Of: func(_ []byte, n int64) ([]byte, error) { return []byte{byte(n % 14)}, nil }}},
	}, Config{Clock: 1000})
	s.keys.slack = 0
	stay := churn(t, s, 5000, 7)
	require.LessOrEqual(t, s.keys.held, 2*s.keys.live+fullBlock)
	scan := &Scan[int64]{}
	s.Answer(scan)
	require.NoError(t, scan.Err)
	require.Len(t, scan.Keys, len(stay))
	for i, key := range scan.Keys {
		require.Equal(t, stay[string(key)], scan.Values[i])
		require.True(t, i == 0 || bytes.Compare(scan.Keys[i-1], key) < 0)
	}
	found := 0
	for _, of := range []byte{0, 7} {
		look := &Lookup[int64]{Value: []byte{of}}
		s.Answer(look)
		require.NoError(t, look.Err)
		for i, key := range look.Keys {
			require.Equal(t, stay[string(key)], look.Values[i])
			require.Equal(t, int64(of), look.Values[i]%14)
		}
		found += len(look.Keys)
	}
	require.Equal(t, len(stay), found)
	require.Equal(t, len(stay), s.ttl.tree.Len())
	require.Len(t, s.ttl.of, len(stay))
	require.Equal(t, len(stay), s.CollectDue(10_000, 10_000).Len())
}
