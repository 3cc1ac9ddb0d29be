package tables

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/troupe-stream/troupe/kafka"
)

// Image is what a changelog says a table holds, as bytes: for commands that read a table without a node. The zero value
// is empty and ready to use. Keep one per partition.
type Image struct {
	// Current makes the encoding of this program's version of what another version of the codec has written (plan.Table.Current). Nil:
	// values are kept as they are.
	Current func(version uint64, value []byte) ([]byte, error)
	// Err is the first error of Current. The entry is left out.
	Err error

	rows map[string][]byte
}

// Apply applies a batch of the changelog; batches must come in order.
func (m *Image) Apply(b *kafka.Batch) {
	m.ApplyFrom(b, 0)
}

// ApplyFrom applies the records of a batch from an offset on.
func (m *Image) ApplyFrom(b *kafka.Batch, offset int64) {
	if m.rows == nil {
		m.rows = map[string][]byte{}
	}
	for i := range b.Records {
		if b.Records[i].Offset < offset {
			continue
		}
		v := b.Value(i)
		if v != nil && m.Current != nil {
			var err error
			if v, err = m.Current(VersionOf(b, i), v); err != nil {
				v = nil
				if m.Err == nil {
					m.Err = fmt.Errorf("record at offset %d: %w", b.Records[i].Offset, err)
				}
			}
		}
		if v == nil {
			delete(m.rows, string(b.Key(i)))
		} else {
			m.rows[string(b.Key(i))] = bytes.Clone(v) // else each value that is kept would keep its whole batch
		}
	}
}

// put takes over an entry of a checkpoint.
func (m *Image) put(key, value []byte) {
	if m.rows == nil {
		m.rows = map[string][]byte{}
	}
	m.rows[string(key)] = bytes.Clone(value)
}

// Len is the number of keys.
func (m *Image) Len() int { return len(m.rows) }

// Get returns the value of a key.
func (m *Image) Get(key []byte) ([]byte, bool) {
	v, ok := m.rows[string(key)]
	return v, ok
}

// All yields keys and values, sorted by the bytes of the keys.
func (m *Image) All() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(m.rows)) {
			if !yield([]byte(k), m.rows[k]) {
				return
			}
		}
	}
}
