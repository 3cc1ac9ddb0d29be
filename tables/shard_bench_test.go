package tables_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
)

// counting is a shard of so many keys, with what counts 1,000 records of theirs.
func counting(tb testing.TB, keys int) (s *tables.ShardOf[int64], batch func(ops *tables.OpsOf[int64])) {
	tb.Helper()
	spec := &tables.Spec[int64]{Name: "counts", Codec: codec.Int64}
	s = tables.New(spec, tables.Config{})
	b := &kafka.Batch{}
	var key [20]byte
	for i := range keys {
		b.Append(int64(i), 1, fmt.Appendf(key[:0], "key-%016d", i), []byte("8 bytes."), nil)
	}
	err := s.Replay(b)
	require.NoError(tb, err)
	n := 0
	return s, func(ops *tables.OpsOf[int64]) {
		for range 1000 {
			ops.Update(fmt.Appendf(key[:0], "key-%016d", n*7919%keys), func(n int64, _ bool) (int64, error) { return n + 1, nil })
			n++
		}
	}
}

// BenchmarkShard counts 1,000 records; each hundredth time it seals and commits. One operation is 1,000 records.
func BenchmarkShard(b *testing.B) {
	for _, keys := range []int{25_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s, batch := counting(b, keys)
			ops := tables.NewOps(&tables.Spec[int64]{Name: "counts", Codec: codec.Int64})
			epoch := int64(1)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				ops.Reset()
				batch(ops)
				b.StartTimer()
				if err := s.Apply(epoch, ops, nil); err != nil {
					b.Fatal(err)
				}
				if n%100 == 99 {
					if err := s.Seal(epoch, new(kafka.Outputs)); err != nil {
						b.Fatal(err)
					}
					s.Committed(epoch)
					epoch++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
		})
	}
}

// BenchmarkCollect is a garbage collection beside a shard of a million entries.
func BenchmarkCollect(b *testing.B) {
	s, _ := counting(b, 1_000_000)
	runtime.GC()
	for b.Loop() {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/1_000_000, "bytes/entry")
	runtime.KeepAlive(s)
}

// BenchmarkReplay restores 1,000 entries at a time. One operation is 1,000 records.
func BenchmarkReplay(b *testing.B) {
	const keys = 200_000
	spec := &tables.Spec[int64]{Name: "counts", Codec: codec.Int64}
	var batches []*kafka.Batch
	var key [20]byte
	for i := range keys {
		if i%1000 == 0 {
			batches = append(batches, &kafka.Batch{})
		}
		batches[len(batches)-1].Append(int64(i), 1, fmt.Appendf(key[:0], "key-%016d", i*7919%keys), []byte("8 bytes."), nil)
	}
	s := tables.New(spec, tables.Config{})
	began := time.Now()
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%len(batches) == 0 {
			s.Clear()
		}
		if err := s.Replay(batches[n%len(batches)]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(b.N)/1000, "ns/record")
}
