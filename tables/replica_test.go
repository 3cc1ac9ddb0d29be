package tables_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

func replicaOf(skip bool) *tables.ReplicaOf[int64] {
	return tables.NewReplica(&tables.ReplicaSpec[int64]{Name: "global table prices", Decode: int64Codec{}.Decode, Skip: skip})
}

func number(v int64) []byte { b, _ := int64Codec{}.Append(nil, v); return b }

// A replica is what a map would be, at each moment; a scan is that of the moment when it began.
func TestReplicaModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r, model := replicaOf(false), map[string]int64{}
		offset, size := int64(0), int64(0)
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			before := maps.Clone(model)
			scan := r.Scan(nil, nil)
			b := &kafka.Batch{Topic: "prices"}
			for range rapid.IntRange(0, 10).Draw(t, "records") {
				key := fmt.Sprintf("k%d", rapid.IntRange(0, 8).Draw(t, "key"))
				if rapid.Bool().Draw(t, "tombstone") {
					b.Append(offset, 0, []byte(key), nil, nil)
					delete(model, key)
				} else {
					b.Append(offset, 0, []byte(key), number(offset), nil)
					model[key] = offset
				}
				offset++
			}
			b.Append(offset, 0, nil, number(1), nil) // without a key
			offset++
			held := map[string]int64{}
			for k, x := range scan {
				if len(held) == 0 { // in the midst of the scan
					require.NoError(t, r.Apply(b))
				}
				held[string(k)] = x.Value
			}
			if len(before) == 0 {
				require.NoError(t, r.Apply(b))
			}
			require.Equal(t, before, held)
			for k := range 9 {
				key := fmt.Sprintf("k%d", k)
				v, ok, err := r.Get([]byte(key))
				require.NoError(t, err)
				want, is := model[key]
				require.Equal(t, is, ok)
				require.Equal(t, want, v)
			}
			keys := []string{}
			for k := range r.Scan([]byte("k2"), []byte("k5")) {
				keys = append(keys, string(k))
			}
			require.Equal(t, slices.DeleteFunc(append([]string{}, slices.Sorted(maps.Keys(model))...), func(k string) bool { return k < "k2" || k >= "k5" }), keys)
			size = int64(len(model) * 10)
		}
		require.Equal(t, tables.ReplicaStats{Entries: int64(len(model)), Bytes: size}, r.Stats())
	})
}

// A record that does not decode is refused, with its place, or passed over and counted.
func TestReplicaUndecodable(t *testing.T) {
	t.Parallel()
	b := &kafka.Batch{Topic: "prices", Partition: 3}
	b.Append(7, 0, []byte("a"), number(1), nil)
	b.Append(8, 0, []byte("b"), []byte("secret"), nil)
	b.Append(9, 0, []byte("c"), number(2), nil)

	strict := replicaOf(false)
	err := strict.Apply(b)
	require.ErrorContains(t, err, "global table prices: decode the value of prices/3@8: not 8 bytes")
	x, ok := errors.AsType[*tables.UndecodableError](err)
	require.True(t, ok)
	require.NotContains(t, x.Redacted(), "not 8 bytes")
	require.Equal(t, tables.ReplicaStats{Entries: 1, Bytes: 9}, strict.Stats())

	lenient := replicaOf(true)
	require.NoError(t, lenient.Apply(b))
	require.Equal(t, tables.ReplicaStats{Entries: 2, Bytes: 18, Skipped: 1}, lenient.Stats())
	lenient.Clear()
	require.Zero(t, lenient.Stats())
}

// What a reader does to a value that it got changes nothing.
func TestReplicaGivesCopies(t *testing.T) {
	t.Parallel()
	r := tables.NewReplica(&tables.ReplicaSpec[[]byte]{Name: "x", Encoded: true, Decode: func(b []byte) ([]byte, error) { return b, nil }})
	b := &kafka.Batch{Topic: "x"}
	b.Append(0, 0, []byte("k"), []byte("value"), nil)
	require.NoError(t, r.Apply(b))
	copy(b.Arena, "overwritten")
	v, _, _ := r.Get([]byte("k"))
	require.Equal(t, "value", string(v))
	v[0] = 'X'
	v, _, _ = r.Get([]byte("k"))
	require.Equal(t, "value", string(v))
}

// Readers run beside the writer: for the race detector.
func TestReplicaReadersBesideTheWriter(t *testing.T) {
	t.Parallel()
	r := replicaOf(false)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				_, _, _ = r.Get([]byte("k1"))
				last := int64(-1)
				for _, x := range r.Scan(nil, nil) {
					if last >= 0 && x.Value != last {
						t.Error("a scan has seen half a batch")
					}
					last = x.Value
				}
			}
		})
	}
	for i := range int64(200) {
		b := &kafka.Batch{Topic: "prices"}
		for k := range 5 {
			b.Append(i, 0, fmt.Appendf(nil, "k%d", k), number(i), nil)
		}
		if err := r.Apply(b); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// A copy of a changelog reads values of older versions of the table's codec as its shards do, and refuses those of unknown ones.
func TestReplicaReadsOtherVersions(t *testing.T) {
	t.Parallel()
	spec := &tables.Spec[int64]{
		Name: "prices", Codec: int64Codec{}, Version: 2,
		Migrate: map[uint64]func([]byte) (int64, error){0: func(b []byte) (int64, error) {
			n, err := int64Codec{}.Decode(b)
			return 100 * n, err
		}},
	}
	r := tables.NewReplica(&tables.ReplicaSpec[int64]{Name: "view of table prices", Decode: int64Codec{}.Decode, Current: spec.Current})
	of := func(version byte) []byte {
		return kafka.AppendHeaders(nil, kafka.Header{Key: "v", Value: []byte{version}})
	}
	b := &kafka.Batch{Topic: "prices-changelog"}
	b.Append(0, 0, []byte("old"), number(7), nil)
	b.Append(1, 0, []byte("new"), number(7), of(2))
	b.Append(2, 0, []byte("gone"), nil, nil)
	require.NoError(t, r.Apply(b))
	old, _, err := r.Get([]byte("old"))
	require.NoError(t, err)
	require.EqualValues(t, 700, old)
	now, _, err := r.Get([]byte("new"))
	require.NoError(t, err)
	require.EqualValues(t, 7, now)
	b = &kafka.Batch{Topic: "prices-changelog"}
	b.Append(3, 0, []byte("x"), number(7), of(1))
	var refused *tables.UndecodableError
	require.ErrorAs(t, r.Apply(b), &refused)
	require.ErrorContains(t, refused, "declare topology.Migrate from version 1")
}
