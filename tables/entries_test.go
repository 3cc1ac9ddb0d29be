package tables

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/internal/allocs"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
)

// TestEntriesAnyOrder: entries are found by their keys, whatever was added and removed before, and those that are gone are not.
func TestEntriesAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := New(&Spec[int64]{Name: "t", Codec: codec.Int64}, Config{})
		if rapid.Bool().Draw(t, "collide") { // hashes of eight bits: long runs of places, that wrap around
			s.finder.bits = 0xff
		}
		if rapid.Bool().Draw(t, "tidy") { // keys are moved as soon as half of them are gone
			s.keys.slack = 0
		}
		want, kept := map[string]int32{}, map[string]string{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				key := fmt.Sprint(rapid.IntRange(0, 500).Draw(t, "key"))
				if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
					key += strings.Repeat("x", rapid.SampledFrom([]int{longKey - 4, longKey, fullBlock}).Draw(t, "length"))
				}
				if rapid.IntRange(0, 50).Draw(t, "empty") == 0 {
					key = ""
				}
				if _, ok := want[key]; ok {
					t.Skip("there")
				}
				i := s.insert([]byte(key))
				want[key], kept[s.key(i)] = i, key
			},
			"remove": func(t *rapid.T) {
				for key, i := range want {
					delete(want, key)
					s.remove(i)
					return
				}
				t.Skip("none")
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(want), s.finder.n)
				for key, at := range want {
					i, ok := s.find([]byte(key))
					require.True(t, ok, "%.20q is not found", key)
					require.Equal(t, at, i)
					require.Equal(t, key, s.key(i))
				}
				n := 0
				for range s.taken() {
					n++
				}
				require.Equal(t, len(want), n)
				_, ok := s.find([]byte("another"))
				require.False(t, ok)
				for is, was := range kept {
					require.Equal(t, was, is, "a key that was kept has changed")
				}
			},
		})
	})
}

// TestKeysAreFreed: blocks whose keys are all gone are let go of.
func TestKeysAreFreed(t *testing.T) {
	t.Parallel()
	k := newKeys()
	var refs []keyRef
	for round := range 20 {
		for i := range 5000 {
			refs = append(refs, k.add(fmt.Appendf(nil, "key-%d-%d", round, i)))
		}
		for _, r := range refs {
			k.remove(r)
		}
		refs = refs[:0]
	}
	held := 0
	for _, b := range k.blocks {
		held += cap(b)
	}
	require.LessOrEqual(t, held, 2*fullBlock)
	require.Less(t, len(k.blocks), 20, "numbers of blocks are used again")
}

// TestMemoryOfEntries: an entry takes 60 bytes at most beside its key and value, and none that a garbage collection has to look at for pointers.
func TestMemoryOfEntries(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	const n = 300_000
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	scanned := func() uint64 {
		of := []metrics.Sample{{Name: "/gc/scan/heap:bytes"}}
		metrics.Read(of)
		return of[0].Value.Uint64()
	}
	before, beforeScanned := used(), scanned()
	s := New(&Spec[int64]{Name: "t", Codec: codec.Int64}, Config{})
	var key [20]byte
	for i := range n {
		require.NoError(t, s.load(fmt.Appendf(key[:0], "key-%016d", i), codec8(int64(i)), 0))
	}
	each := float64(used()-before) / n
	looked := float64(int64(scanned()-beforeScanned)) / n
	t.Logf("%.1f bytes for an entry with a key of 20 bytes and a value of 8, of which a collection looks at %.2f", each, looked)
	require.Less(t, looked, 1.0)
	require.LessOrEqual(t, each, 60.0+20+8)
	require.LessOrEqual(t, unsafe.Sizeof(entry{}), uintptr(24))
	runtime.KeepAlive(s)
}

func codec8(n int64) []byte {
	b, err := codec.Int64.Append(nil, n)
	if err != nil {
		panic(err)
	}
	return b
}

// TestAllocationsOfReplay: a changelog is brought back without an allocation for a record, whether its key is new or not.
func TestAllocationsOfReplay(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	if allocs.Raced {
		t.Skip("the race detector allocates")
	}
	const each, times = 1000, 50
	s := New(&Spec[int64]{Name: "t", Codec: codec.Int64}, Config{})
	var batches []*kafka.Batch
	for i := range times + 1 { // PerRun begins with one more
		b := new(kafka.Batch)
		for j := range each {
			b.Append(int64(j), 1, fmt.Appendf(nil, "key-%016d", i*each+j), codec8(int64(j)), nil)
		}
		batches = append(batches, b)
	}
	at := 0
	replay := func() {
		require.NoError(t, s.Replay(batches[at%len(batches)]))
		at++
	}
	fresh, size := allocs.PerRun(times, replay)
	again, sizeAgain := allocs.PerRun(times, replay)
	t.Logf("%g allocations, %g bytes for a thousand records of new keys, %g and %g for those of keys that are there", fresh, size, again, sizeAgain)
	require.LessOrEqual(t, fresh, 95.0) // pages and slabs
	require.LessOrEqual(t, size, 130_000.0)
	require.LessOrEqual(t, again, 1.0)
	require.LessOrEqual(t, sizeAgain, 500.0)
	require.Equal(t, len(batches)*each, s.Stats().Entries)
}
