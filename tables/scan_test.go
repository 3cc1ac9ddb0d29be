package tables_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

// Ranges from both sides, with bounds that are keys and such that are none.
func TestRangesFromBothSides(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{true, false} {
		spec := &tables.Spec[int64]{Name: "t", Codec: int64Codec{}, Ordered: ordered}
		s := tables.New(spec, tables.Config{Table: "t"})
		ops := tables.NewOps(spec)
		var all []string
		for i := range 10 {
			all = append(all, fmt.Sprint("k", i))
			require.NoError(t, ops.Set([]byte(all[i]), int64(i)))
		}
		require.NoError(t, s.Apply(1, ops, new(kafka.Outputs)))
		for _, c := range []struct {
			from, to string
			lo, hi   int
		}{{"", "", 0, 10}, {"k3", "", 3, 10}, {"", "k3", 0, 3}, {"k3", "k7", 3, 7}, {"k31", "k71", 4, 8}, {"k7", "k3", 0, 0}, {"k9", "z", 9, 10}, {"a", "k0", 0, 0}} {
			bound := func(b string) []byte {
				if b == "" {
					return nil
				}
				return []byte(b)
			}
			for _, reverse := range []bool{false, true} {
				want := slices.Clone(all[c.lo:c.hi])
				if reverse {
					slices.Reverse(want)
				}
				for limit := range 4 {
					q := &tables.Scan[int64]{From: bound(c.from), To: bound(c.to), Reverse: reverse, Limit: limit}
					s.Answer(q)
					require.NoError(t, q.Err)
					var got []string
					for _, k := range q.Keys {
						got = append(got, string(k))
					}
					want := want
					if limit > 0 && len(want) > limit {
						want = want[:limit]
						require.True(t, q.More)
					} else {
						require.False(t, q.More)
					}
					require.Equal(t, len(want), len(got))
					for i := range want {
						require.Equal(t, want[i], got[i])
					}
				}
			}
			q := &tables.Count[int64]{From: bound(c.from), To: bound(c.to)}
			s.Answer(q)
			require.NoError(t, q.Err)
			require.Equal(t, c.hi-c.lo, q.N)
		}
	}
}

// A default is what functions inside the shard are given; nothing is stored by looking.
func TestDefault(t *testing.T) {
	t.Parallel()
	spec := &tables.Spec[map[string]int64]{Name: "t", Codec: jsonCodec[map[string]int64]{}, Default: func() map[string]int64 { return map[string]int64{"n": 7} }}
	s := tables.New(spec, tables.Config{Table: "t"})
	ops := tables.NewOps(spec)
	ops.Update([]byte("a"), func(old map[string]int64, ok bool) (map[string]int64, error) {
		require.False(t, ok)
		old["n"]++
		return old, nil
	})
	ops.Row([]byte("b"), 0, func(r *tables.Row[map[string]int64], _ int32) error {
		v, ok := r.Get()
		require.False(t, ok)
		require.Equal(t, map[string]int64{"n": 7}, v)
		return nil
	})
	require.NoError(t, s.Apply(1, ops, new(kafka.Outputs)))
	q := &tables.Scan[map[string]int64]{}
	s.Answer(q)
	require.Len(t, q.Values, 1)
	require.Equal(t, map[string]int64{"n": 8}, q.Values[0])
}
