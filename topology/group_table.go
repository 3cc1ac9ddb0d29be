package topology

import (
	"encoding/binary"
	"errors"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
)

// GroupedTable is a table whose rows are spread by another key: what CountRows, ReduceRows and AggregateRows work on.
type GroupedTable[G, R any] struct{ grouped Grouped[G, Change[R]] }

// GroupTable groups the rows of a table (Kafka Streams: KTable.groupBy). fn says of a row which group it is in, and what of it the group
// is made of; ok is false for a row that is in none. A change of a row is a record in an internal topic TOPOLOGY-NAME-repartition, with what the row
// was and what it is: one where its group stays the same, else one that takes it out of the old group and one that puts it into the new
// one (KIP-904). values writes what fn makes. The topic is made with as many partitions as the table's.
//
// fn runs inside the table's shard, for the row before the change and for the one after it: it must be pure, and say of equal rows
// the same. It must say the same of a row that Migrate has made as it did of that row when it was written: else what is subtracted is not what was added.
func GroupTable[K, V, G, R any](table *Table[K, V], fn func(key K, row V) (group G, value R, ok bool), values codec.Codec[R]) GroupedTable[G, R] {
	t := table.def.t
	if fn == nil {
		t.fault("GroupTable of table %s has no function: pass one that says in which group a row is", table.def.name)
	}
	if values == nil {
		t.fault("GroupTable of table %s has no codec for what its groups are made of: pass one, such as codec.String or codec.JSON[T]()", table.def.name)
	}
	f := Changes(table)
	g := Grouped[G, Change[R]]{t: t, table: table.def}
	if values != nil {
		g.values = changeCodec[R]{values, codec.Validator[R]()}
	}
	g.spread = func(name string, repartition *Topic[G, Change[R]], _ bool) {
		begin(f, name, "group to "+repartition.def.name, func() func(*scope, Event[K, Change[V]]) error {
			spread := &tableSpread[G, R]{topic: repartition}
			return func(s *scope, ev Event[K, Change[V]]) error {
				var old, now membership[G, R]
				if !ev.Value.NullOld {
					old.group, old.value, old.ok = fn(ev.Key, ev.Value.Old)
				}
				if !ev.Value.NullNew {
					now.group, now.value, now.ok = fn(ev.Key, ev.Value.New)
				}
				return spread.send(s, old, now)
			}
		}, Sends(repartition))
	}
	return GroupedTable[G, R]{g}
}

// membership is what a row is to a group; ok is false for none.
type membership[G, R any] struct {
	group G
	value R
	ok    bool
}

// tableSpread sends the changes of a table's rows to the topic of their groups.
type tableSpread[G, R any] struct {
	topic *Topic[G, Change[R]]
	keys  [2][]byte // scratch
}

// send sends what a change of a row is to its groups: old comes first.
func (x *tableSpread[G, R]) send(s *scope, old, now membership[G, R]) (err error) {
	if old.ok && now.ok {
		for i, m := range []membership[G, R]{old, now} {
			if x.keys[i], err = encode(x.topic.kc, x.topic.validK, x.keys[i][:0], m.group); err != nil {
				return lasting("send to topic %s: encode the key as %s: %w", x.topic.def.name, x.topic.def.key.Type, redact.Of(err))
			}
		}
		if string(x.keys[0]) == string(x.keys[1]) {
			x.topic.put(s, now.group, Change[R]{Old: old.value, New: now.value}, s.onward(false, false))
			return nil
		}
	}
	if old.ok {
		x.topic.put(s, old.group, Change[R]{Old: old.value, NullNew: true}, s.onward(false, false))
	}
	if now.ok {
		x.topic.put(s, now.group, Change[R]{New: now.value, NullOld: true}, s.onward(false, false))
	}
	return nil
}

// CountRows keeps in a table how many rows each group has (Kafka Streams: KGroupedTable.count). A group that has lost its last row has 0.
// A row of the result has the time of the newest change in it.
func CountRows[G, R any](g GroupedTable[G, R], into *Table[G, int64], opts ...FlowOption) {
	g.grouped.values = changeCodec[R]{values: noValues[R]{}} // only how many there are counts
	foldTable(g, into, "count-rows", opts, tableFold[int64, R]{
		init:     func() int64 { return 0 },
		add:      func(n int64, _ R) int64 { return n + 1 },
		subtract: func(n int64, _ R) (int64, bool) { return n - 1, true },
	})
}

// ReduceRows folds the values of each group's rows into a table (Kafka Streams: KGroupedTable.reduce): the first one as it is, others by
// add. What a row was is taken away by subtract before what it is now is added; ok is false where nothing is left: the group's row is
// deleted. Both run inside the shard of into, perhaps twice: they must be pure.
func ReduceRows[G, R any](g GroupedTable[G, R], into *Table[G, R], add func(acc, value R) R, subtract func(acc, value R) (left R, ok bool), opts ...FlowOption) {
	into.def.needsFolds(add == nil || subtract == nil, "ReduceRows")
	foldTable(g, into, "reduce-rows", opts, tableFold[R, R]{add: add, subtract: subtract})
}

// AggregateRows folds the values of each group's rows into a table, from init on (Kafka Streams: KGroupedTable.aggregate). What a row was is
// taken away by subtract before what it is now is added; ok is false where nothing is left: the group's row is deleted, and init begins
// it anew. All of them run inside the shard of into, perhaps twice: they must be pure.
func AggregateRows[G, R, A any](g GroupedTable[G, R], into *Table[G, A], init func() A, add func(acc A, value R) A, subtract func(acc A, value R) (left A, ok bool), opts ...FlowOption) {
	into.def.needsFolds(init == nil || add == nil || subtract == nil, "AggregateRows")
	foldTable(g, into, "aggregate-rows", opts, tableFold[A, R]{init: init, add: add, subtract: subtract})
}

func (d *tableDef) needsFolds(missing bool, step string) {
	if missing {
		d.t.fault("%s into table %s lacks a function: pass all of them", step, d.name)
	}
}

// tableFold is how a group's row is made of the values of its rows. Without init, the first value is the row: A is R then.
type tableFold[A, R any] struct {
	init     func() A
	add      func(A, R) A
	subtract func(A, R) (A, bool)
}

// apply takes what was away from a group's row and adds what is.
func (x tableFold[A, R]) apply(row *tables.Row[A], c Change[R]) {
	acc, ok := row.Get()
	if ok && !c.NullOld {
		acc, ok = x.subtract(acc, c.Old)
	}
	switch {
	case c.NullNew:
	case !ok && x.init == nil:
		acc, _ = any(c.New).(A)
		ok = true
	default:
		if !ok {
			acc = x.init()
		}
		acc, ok = x.add(acc, c.New), true
	}
	if ok {
		row.Set(acc)
	} else {
		row.Delete()
	}
}

func foldTable[G, R, A any](g GroupedTable[G, R], into *Table[G, A], op string, opts []FlowOption, x tableFold[A, R]) {
	fold(g.grouped, into, op, nil, opts, func(row *tables.Row[A], ev Event[G, Change[R]]) error {
		if !ev.NullValue {
			x.apply(row, ev.Value)
		}
		return nil
	})
}

// changeCodec writes a change: which of its two values there are, how long the old one is, the old one, the new one.
type changeCodec[V any] struct {
	values codec.Codec[V]
	valid  func(V) error // of new values; nil: all are
}

// The first byte of a change.
const (
	changeOld = 1 << iota
	changeNew
)

// Append implements codec.Codec.
func (c changeCodec[V]) Append(dst []byte, x Change[V]) ([]byte, error) {
	if !x.NullNew && c.valid != nil {
		if err := c.valid(x.New); err != nil {
			return dst, err
		}
	}
	head, flags := len(dst), byte(0)
	dst = append(dst, 0)
	if !x.NullOld {
		flags |= changeOld
		old, err := c.values.Append(nil, x.Old)
		if err != nil {
			return dst, err
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(old))), old...)
	}
	if !x.NullNew {
		flags |= changeNew
		var err error
		if dst, err = c.values.Append(dst, x.New); err != nil {
			return dst, err
		}
	}
	dst[head] = flags
	return dst, nil
}

var errNoChange = errors.New("these bytes are not a change of a row")

// Decode implements codec.Codec.
func (c changeCodec[V]) Decode(b []byte) (x Change[V], err error) {
	if len(b) == 0 || b[0] > changeOld|changeNew {
		return x, errNoChange
	}
	x.NullOld, x.NullNew = b[0]&changeOld == 0, b[0]&changeNew == 0
	b = b[1:]
	if !x.NullOld {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			return x, errNoChange
		}
		if x.Old, err = c.values.Decode(b[used : used+int(n) : used+int(n)]); err != nil {
			return x, err
		}
		b = b[used+int(n):]
	}
	if !x.NullNew {
		x.New, err = c.values.Decode(b)
	}
	return x, err
}

// Check implements codec.Checker.
func (c changeCodec[V]) Check() error { return codec.Check(c.values) }
