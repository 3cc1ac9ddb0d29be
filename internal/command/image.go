package command

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// tableImage is what the changelog of a table says that it holds, in all partitions.
type tableImage map[int32]*tables.Image

// row is an entry of a table, encoded.
type row struct {
	key, value []byte
	partition  int32
}

// take makes what takes the batches of a table's changelog.
func (m tableImage) take(t *plan.Table) func(*kafka.Batch) error {
	return func(b *kafka.Batch) error {
		if m[b.Partition] == nil {
			m[b.Partition] = &tables.Image{Current: t.Current}
		}
		m[b.Partition].Apply(b)
		return m[b.Partition].Err
	}
}

// get returns the entries of a key: one, or of a Local table one of each partition that has it; of a set table all its elements.
func (m tableImage) get(t *plan.Table, key []byte) []row {
	var rows []row
	if t.Split != nil {
		for _, r := range m.all() {
			if k, _ := t.Entry(r.key, nil); bytes.Equal(k, key) {
				rows = append(rows, r)
			}
		}
		return rows
	}
	for _, p := range slices.Sorted(maps.Keys(m)) {
		if v, ok := m[p].Get(key); ok {
			rows = append(rows, row{key, v, p})
		}
	}
	return rows
}

// all returns all entries, sorted by the bytes of their keys.
func (m tableImage) all() []row {
	n := 0
	for _, image := range m {
		n += image.Len()
	}
	rows := make([]row, 0, n)
	for p, image := range m {
		for k, v := range image.All() {
			rows = append(rows, row{k, v, p})
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.partition, b.partition))
	})
	return rows
}
