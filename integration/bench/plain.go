package main

import (
	"context"
	"fmt"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Variants of the task plain.
const (
	plainMap   = "map"   // of Go's
	plainTable = "table" // the engine's
)

// plainRun is how many increments the engine's table is given at a time, and plainEpoch after how many it forgets how to undo them.
const plainRun, plainEpoch = 1000, 100_000

// plain counts the keys of a uniform source in memory, without Kafka: it says what a machine's caches make of so many keys.
func plain(_ context.Context, j job) error {
	say("client %s", j.Client)
	src := source{kind: uniform, records: j.Records, keys: j.Keys}
	var arena []byte
	next := src.numbers()
	for range min(src.records, src.keys) { // keys come in turns
		arena = appendKey(arena, next())
	}
	size := len(arena) / min(src.records, src.keys)
	key := func(i int) []byte { return arena[i%src.keys*size:][:size] }
	count := countInMap
	if j.Variant == plainTable {
		count = countInTable
	}
	first()
	entries, err := count(src, key)
	if err != nil {
		return err
	}
	figure("restored", float64(entries))
	finish()
	return nil
}

func countInMap(src source, key func(int) []byte) (entries int, err error) {
	counts := map[string]int64{}
	for i := range src.records {
		counts[string(key(i))]++
	}
	return len(counts), nil
}

func countInTable(src source, key func(int) []byte) (entries int, err error) {
	spec := &tables.Spec[int64]{Name: "counts", Codec: codec.Int64}
	s, ops, epoch := tables.New(spec, tables.Config{}), tables.NewOps(spec), int64(1)
	up := func(n int64, _ bool) (int64, error) { return n + 1, nil }
	for i := range src.records {
		if ops.Update(key(i), up); ops.Len() < plainRun && i < src.records-1 {
			continue
		}
		if err := s.Apply(epoch, ops, new(kafka.Outputs)); err != nil {
			return 0, fmt.Errorf("count in the engine's table: %w", err)
		}
		if ops.Reset(); i%plainEpoch == plainEpoch-1 {
			s.Committed(epoch)
			epoch++
		}
	}
	s.Committed(epoch)
	return s.Stats().Entries, nil
}
