package topology

import (
	"fmt"
	"iter"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Index finds entries of a table by something else than their keys. It is kept in the memory of each shard, beside the entries: it sees
// what a turn has written, is undone with it, and is made anew when a shard is restored, so what it is made by may change from one
// version of a topology to the next. It is a handle: any goroutine may use it.
type Index[K, V, I any] struct {
	table *Table[K, V]
	codec codec.Codec[I]
	place int // among the table's
	name  string
}

// NewIndex defines an index of a table by what `by` makes of each entry; the codec says how that is written, and so which of them are
// the same: equal values must have equal encodings. by runs inside the shard, and while it is restored: it must be pure. If it panics,
// so does the record at hand fail that writes the entry.
func NewIndex[K, V, I any](table *Table[K, V], name string, by func(key K, value V) I, values codec.Codec[I]) *Index[K, V, I] {
	t := table.def.t
	x := &Index[K, V, I]{table: table, codec: values, place: len(table.spec.Indexes), name: name}
	if name == "" {
		t.fault("table %s has an index without a name: give it one", table.def.name)
		return x
	}
	if by == nil || values == nil {
		t.fault("index %s of table %s lacks its function or its codec: pass one that makes of an entry what it is found by, and a codec for that", name, table.def.name)
		return x
	}
	of := fmt.Sprintf("index %s of table %s: the codec", name, table.def.name)
	t.checkCodec(of, codecFault(values))
	if err := codec.CheckKey(values); err != nil {
		t.fault("%s cannot be used for an index: %w; use another one, such as codec.String, or codec.ForKeys to vouch for it", of, err)
	}
	for _, other := range table.spec.Indexes {
		if other.Name == name {
			t.fault("table %s has two indexes %s: name one of them otherwise", table.def.name, name)
		}
	}
	table.spec.Indexes = append(table.spec.Indexes, &tables.Index[V]{Name: name, Of: func(key []byte, v V) ([]byte, error) {
		k, err := table.kc.Decode(key)
		if err != nil {
			return nil, fmt.Errorf("decode the key: %w", err)
		}
		return values.Append(nil, by(k, v))
	}})
	table.def.make.Indexes = append(table.def.make.Indexes, name)
	t.changed()
	return x
}

// Lookup yields the entries of the partition's shard that the index has under a value, in the order of their encoded keys, with what
// the turn at hand has written. Each few hundred are read as of one moment. It waits for the table's shard. An error ends it and fails
// the record at hand.
func (x *Index[K, V, I]) Lookup(ctx Reader, value I) iter.Seq2[K, V] {
	s, t := ctx.turn(), x.table
	v, err := x.codec.Append(nil, value)
	if err != nil {
		s.effects().Fail(lasting("index %s of table %s: encode the value: %w", x.name, t.def.name, redact.Of(err)))
		return func(func(K, V) bool) {}
	}
	return func(yield func(K, V) bool) {
		var after []byte
		for more := true; more; {
			p, own, committed, err := t.read(s) // anew for each chunk: the loop's body may write
			q := &tables.Lookup[V]{Index: x.place, Value: v, After: after, Limit: scanChunk, Own: own, Committed: committed}
			if err == nil {
				err = s.in.Ask(p, q)
			}
			if err = firstOf(err, q.Err); err != nil {
				s.effects().Fail(err)
				return
			}
			if !t.each(s, q.Keys, q.Values, yield) {
				return
			}
			more, after = q.More, q.Next
		}
	}
}
