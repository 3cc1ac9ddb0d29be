package tables_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

// Entries that expire do not get ahead of what deletes them, however many each batch of operations writes and however long that lasts; nor
// does it take long to be rid of all at once.
func TestExpiryKeepsUp(t *testing.T) {
	t.Parallel()
	const perBatch = 5000
	spec := &tables.Spec[int64]{Name: "t", Codec: int64Codec{}, TTL: &tables.TTL{After: time.Second}}
	s := tables.New(spec, tables.Config{Table: "t"})
	out := new(kafka.Outputs)
	for batch := range int64(40) { // half a second apart: what is three batches old has expired
		ops := tables.NewOps(spec)
		ops.Time(1_700_000_000_000 + batch*500)
		for i := range perBatch {
			require.NoError(t, ops.Set(fmt.Appendf(nil, "%d-%d", batch, i), batch))
		}
		require.NoError(t, s.Apply(batch+1, ops, out))
		require.LessOrEqual(t, s.Stats().Entries, 3*perBatch, "batch %d", batch)
	}
	ops := tables.NewOps(spec)
	ops.Time(1_800_000_000_000)
	ops.Delete([]byte("none"))
	require.NoError(t, s.Apply(41, ops, out))
	for n := int64(42); s.Stats().Entries > 0; n++ {
		require.Less(t, n, int64(45), "%d entries are left", s.Stats().Entries)
		require.NoError(t, s.Apply(n, tables.NewOps(spec), out))
	}
}
