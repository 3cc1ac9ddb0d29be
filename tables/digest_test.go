package tables_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
)

// A digest is of what is committed, in whatever order it came, and of nothing else.
func TestDigest(t *testing.T) {
	t.Parallel()
	spec := &tables.Spec[int64]{Name: "t", Codec: codec.Int64}
	set := func(s tables.Shard, epoch int64, pairs ...any) {
		ops := tables.NewOps(spec)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] == nil {
				ops.Delete([]byte(fmt.Sprint(pairs[i])))
				continue
			}
			require.NoError(t, ops.Set([]byte(fmt.Sprint(pairs[i])), int64(pairs[i+1].(int))))
		}
		require.NoError(t, s.Apply(epoch, ops, nil))
		require.NoError(t, s.Seal(epoch, new(kafka.Outputs)))
	}
	of := func(s tables.Shard) tables.Digest {
		d, err := s.Digest()
		require.NoError(t, err)
		return d
	}
	a, b := tables.New(spec, tables.Config{}), tables.New(spec, tables.Config{})
	require.Zero(t, of(a))
	set(a, 1, "x", 1, "y", 2, "z", 3)
	require.Zero(t, of(a), "nothing is committed")
	a.Committed(1)
	set(b, 1, "z", 9, "gone", 1, "x", 1)
	set(b, 2, "gone", nil, "y", 2, "z", 3)
	b.Committed(1)
	require.NotEqual(t, of(a), of(b))
	b.Committed(2)
	require.Equal(t, of(a), of(b))
	require.Equal(t, 3, of(a).Entries)
	want := of(a)
	set(a, 2, "x", 7, "y", nil, "new", 1)
	require.Equal(t, want, of(a), "what is not committed does not count")
	a.Undo(1)
	require.Equal(t, want, of(a))
	set(b, 3, "x", 2, "y", 1) // the same values at other keys
	b.Committed(3)
	require.NotEqual(t, want, of(b))
}
