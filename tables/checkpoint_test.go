package tables_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/buntdb"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

var id = tables.Identity{Topology: "wc", Table: "t", Partition: 3, ChangelogID: "abc"}

// history is a changelog and the file that checkpoints of it have made.
type history struct {
	log   *kafka.Batch
	truth map[string]int64
	file  []byte
}

// write makes a history whose checkpoint has been written several times, and grown its number of pages.
func write(t *testing.T, keys int) history {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.db")
	s := tables.New(ints.spec, tables.Config{Table: "t"})
	c, err := tables.OpenCheckpoint(tables.Files{}, path, id, quiet)
	require.NoError(t, err)
	h := history{log: &kafka.Batch{Topic: "c"}, truth: map[string]int64{}}
	for epoch := int64(1); epoch <= 6; epoch++ {
		ops := tables.NewOps(ints.spec)
		for i := range keys {
			k := fmt.Sprint("key", (i*int(epoch))%keys+int(epoch)*3)
			if (i+int(epoch))%5 == 0 {
				ops.Delete([]byte(k))
				delete(h.truth, k)
				continue
			}
			require.NoError(t, ops.Set([]byte(k), int64(i)*epoch))
			h.truth[k] = int64(i) * epoch
		}
		out := new(kafka.Outputs)
		require.NoError(t, s.Apply(epoch, ops, out))
		require.NoError(t, s.Seal(epoch, out))
		for i := range out.Records {
			h.log.Append(int64(h.log.Len()), 1, out.Key(i), out.Value(i), nil)
		}
		s.Committed(epoch)
		if epoch == 6 {
			_, err := c.Write(s, int64(h.log.Len()), 3) // a checkpoint that is not finished
			require.NoError(t, err)
			break
		}
		for more := true; more; {
			more, err = c.Write(s, int64(h.log.Len()), 7)
			require.NoError(t, err)
		}
		require.NoError(t, c.Mark(s, time.Now(), 24*time.Hour))
	}
	require.NoError(t, c.Close())
	h.file, err = os.ReadFile(path)
	require.NoError(t, err)
	return h
}

// What is noted with a checkpoint comes back with it; one of an earlier version, which has not noted for how long deletions are kept, does not limit that.
func TestCheckpointNotesHowLongDeletionsAreKept(t *testing.T) {
	t.Parallel()
	for kept, want := range map[time.Duration]time.Duration{time.Hour: time.Hour, 0: time.Millisecond, math.MaxInt64: time.Duration(math.MaxInt64).Truncate(time.Millisecond)} {
		path := filepath.Join(t.TempDir(), "t.db")
		c, err := tables.OpenCheckpoint(tables.Files{}, path, id, quiet)
		require.NoError(t, err)
		require.EqualValues(t, math.MaxInt64, c.Kept())
		s := tables.New(ints.spec, tables.Config{Table: "t"})
		for more := true; more; {
			more, err = c.Write(s, 3, 100)
			require.NoError(t, err)
		}
		require.NoError(t, c.Mark(s, time.Now(), kept))
		require.NoError(t, c.Close())
		c, err = tables.OpenCheckpoint(tables.Files{}, path, id, quiet)
		require.NoError(t, err)
		require.Equal(t, want, c.Kept())
		require.NoError(t, c.Close())
		x, err := tables.InspectCheckpoint(path)
		require.NoError(t, err)
		require.Equal(t, want, x.Kept)
	}
}

// restore opens a file, replays the rest of the log, and requires the truth. It returns why the file was dropped.
func (h history) restore(t *testing.T, file []byte) (dropped string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.db")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	c, err := tables.OpenCheckpoint(tables.Files{}, path, id, quiet)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	s := tables.New(ints.spec, tables.Config{Table: "t"})
	if err := c.Load(s); err != nil {
		require.ErrorAs(t, err, new(*tables.CorruptError))
		require.NoError(t, c.Drop(err.Error()))
		s.Clear()
	}
	from, _, ok := c.Offset()
	if !ok {
		from = 0
	}
	err = s.Replay(&kafka.Batch{Arena: h.log.Arena, Records: h.log.Records[from:]})
	require.NoError(t, err)
	q := new(tables.Scan[int64])
	s.Answer(q)
	require.NoError(t, q.Err)
	got := map[string]int64{}
	for i, k := range q.Keys {
		got[string(k)] = q.Values[i]
	}
	require.Equal(t, h.truth, got)
	return c.Dropped()
}

func TestCheckpointWholeIsUsed(t *testing.T) {
	t.Parallel()
	for _, keys := range []int{40, 9000} { // the latter needs more pages
		h := write(t, keys)
		require.Empty(t, h.restore(t, h.file))
	}
}

// TestCheckpointTruncatedAnywhere cuts the file at every point: what is left is right, or is dropped.
func TestCheckpointTruncatedAnywhere(t *testing.T) {
	t.Parallel()
	h := write(t, 40)
	step := 1
	if testing.Short() {
		step = 37
	}
	for n := 0; n < len(h.file); n += step * max(1, len(h.file)/3000) {
		h.restore(t, h.file[:n])
	}
	big := write(t, 9000)
	for n := 0; n < len(big.file); n += len(big.file) / 25 {
		big.restore(t, big.file[:n])
	}
}

// TestCheckpointBitFlips flips single bits all over the file.
func TestCheckpointBitFlips(t *testing.T) {
	t.Parallel()
	h := write(t, 40)
	dropped := 0
	for n := 0; n < len(h.file); n += max(1, len(h.file)/1500) {
		file := append([]byte(nil), h.file...)
		file[n] ^= 1 << (n % 8)
		if h.restore(t, file) != "" {
			dropped++
		}
	}
	require.Positive(t, dropped)
}

func TestCheckpointOlderCopy(t *testing.T) {
	t.Parallel()
	h := write(t, 40)
	h.restore(t, h.file[:len(h.file)/2])
	h.restore(t, h.file)
}

func TestCheckpointForeign(t *testing.T) {
	t.Parallel()
	h := write(t, 40)
	require.Contains(t, h.restore(t, []byte("this is no database")), "not a file of buntdb")

	path := filepath.Join(t.TempDir(), "f.db")
	db, err := buntdb.Open(path)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *buntdb.Tx) error { _, _, err := tx.Set("user:1", "x", nil); return err }))
	require.NoError(t, db.Close())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, h.restore(t, file), "foreign key")

	require.NoError(t, os.WriteFile(path, h.file, 0o600))
	other := id
	other.Partition = 4
	c, err := tables.OpenCheckpoint(tables.Files{}, path, other, quiet)
	require.NoError(t, err)
	require.Contains(t, c.Dropped(), "it is of")
	require.NoError(t, c.Close())

	_, err = tables.OpenCheckpoint(tables.Files{}, t.TempDir(), id, quiet)
	require.ErrorContains(t, err, "is a directory")
}

func BenchmarkUpdate(b *testing.B) {
	s := tables.New(ints.spec, tables.Config{Table: "t"})
	keys := make([][]byte, 100_000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key-%08d", i)
	}
	inc := func(n int64, _ bool) (int64, error) { return n + 1, nil }
	ops := tables.NewOps(ints.spec)
	out := new(kafka.Outputs)
	epoch, next := int64(0), 0
	b.ReportAllocs()
	for b.Loop() {
		ops.Reset()
		for range 1000 {
			ops.Update(keys[next%len(keys)], inc)
			next += 7919
		}
		if next/7919%50_000 == 0 {
			out.Reset()
			if err := s.Seal(epoch, out); err != nil {
				b.Fatal(err)
			}
			s.Committed(epoch)
			epoch++
		}
		if err := s.Apply(epoch, ops, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/op-in-batch")
}
