package topology

import (
	"fmt"
	"slices"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// TableFrom reads a topic as a table (Kafka Streams: KTable): the last value of each key, in the order of the topic; a null value deletes
// the row, records without a key are skipped. The table is written by an agent table-NAME. Its rows are kept in a changelog of its own, as
// those of any table: so a restart restores exactly what has been read and committed, and the topic may be one that is not compacted.
//
// Where the table is joined, its records and those of what it is joined with are processed in the order of their times, as far as they
// have come.
func TableFrom[K, V any](t *Topology, name string, topic *Topic[K, V], opts ...TableOption) *Table[K, V] {
	table := NewTable(t, name, topic.kc, topic.vc, opts...)
	begin(From(topic), "table-"+name, "table "+name, func() func(*scope, Event[K, V]) error {
		rows := &rowRun[K, V, V]{table: table, apply: func(_ *scope, row *tables.Row[V], ev Event[K, V]) error {
			if ev.NullValue {
				row.Delete()
			} else {
				row.Set(ev.Value)
			}
			return nil
		}}
		return func(s *scope, ev Event[K, V]) error {
			if ev.NullKey {
				return s.drop()
			}
			return rows.add(s, ev)
		}
	}, Writes(table))
	return table
}

// Join joins each event of a flow with the row of its key in a table (Kafka Streams: KStream.join(KTable)): those that find no row are
// dropped, and so are those with a null key or value. A change of the table makes no event. The result has the event's time.
// The row is looked up inside the table's shard, many events at a time, and the flow's further steps run there: they may run twice for a
// record, after a failure.
func Join[K, V, T, R any](f Flow[K, V], table *Table[K, T], fn func(value V, row T) R) Flow[K, R] {
	f.needs(fn == nil, "Join")
	return lookUp(f, table, false, func(v V, row T, _ bool) R { return fn(v, row) })
}

// LeftJoin is Join for events that find no row too: fn is called with ok false then (Kafka Streams: KStream.leftJoin(KTable)). Events with
// a null key find none; those with a null value are dropped.
func LeftJoin[K, V, T, R any](f Flow[K, V], table *Table[K, T], fn func(value V, row T, ok bool) R) Flow[K, R] {
	f.needs(fn == nil, "LeftJoin")
	return lookUp(f, table, true, fn)
}

func lookUp[K, V, T, R any](f Flow[K, V], table *Table[K, T], left bool, fn func(V, T, bool) R) Flow[K, R] {
	table.def.joined = true
	x := then(f, "join table "+table.def.name, func(down func(*scope, Event[K, R]) error) func(*scope, Event[K, V]) error {
		joined := func(s *scope, ev Event[K, V], row T, ok bool) error {
			return down(s, Event[K, R]{Key: ev.Key, NullKey: ev.NullKey, Value: fn(ev.Value, row, ok), rec: ev.rec})
		}
		rows := &rowRun[K, V, T]{table: table, reads: true, apply: func(s *scope, row *tables.Row[T], ev Event[K, V]) error {
			found, ok := row.Get()
			if err := row.Err(); err != nil || !ok && !left {
				return err
			}
			return joined(s, ev, found, ok)
		}}
		return func(s *scope, ev Event[K, V]) error {
			switch {
			case ev.NullValue || ev.NullKey && !left:
				return s.drop()
			case ev.NullKey:
				var none T
				return joined(s, ev, none, false)
			}
			return rows.add(s, ev)
		}
	})
	return x.all(func(x *Flow[K, R]) { x.joins = append(slices.Clone(x.joins), table.def) })
}

// JoinTables keeps in a table what fn makes of the rows that two tables have for the same key (Kafka Streams: KTable.join(KTable)). It is
// kept up by the changes of either. A row of the result has the later time of the two, and is deleted with either of them.
func JoinTables[K, L, R, V any](left *Table[K, L], right *Table[K, R], into *Table[K, V], fn func(left L, right R) V) {
	left.def.needs(fn == nil, "JoinTables", right.def, into.def)
	joinTables(left, right, into, func(l L, lok bool, r R, rok bool) (v V, ok bool) {
		if !lok || !rok {
			return v, false
		}
		return fn(l, r), true
	}, false, false)
}

// LeftJoinTables is JoinTables with a row for each row of the left table (Kafka Streams: KTable.leftJoin(KTable)): ok is false where the right one
// has none.
func LeftJoinTables[K, L, R, V any](left *Table[K, L], right *Table[K, R], into *Table[K, V], fn func(left L, right R, ok bool) V) {
	left.def.needs(fn == nil, "LeftJoinTables", right.def, into.def)
	joinTables(left, right, into, func(l L, lok bool, r R, rok bool) (v V, ok bool) {
		if !lok {
			return v, false
		}
		return fn(l, r, rok), true
	}, true, false)
}

// OuterJoinTables is JoinTables with a row for each key of either table (Kafka Streams: KTable.outerJoin(KTable)). fn is told which of the two
// have one.
func OuterJoinTables[K, L, R, V any](left *Table[K, L], right *Table[K, R], into *Table[K, V], fn func(left L, hasLeft bool, right R, hasRight bool) V) {
	left.def.needs(fn == nil, "OuterJoinTables", right.def, into.def)
	joinTables(left, right, into, func(l L, lok bool, r R, rok bool) (v V, ok bool) {
		if !lok && !rok {
			return v, false
		}
		return fn(l, lok, r, rok), true
	}, true, true)
}

func (d *tableDef) needs(missing bool, step string, right, into *tableDef) {
	if missing {
		d.t.fault("%s of tables %s and %s into %s has no function: pass one", step, d.name, right.name, into.name)
	}
	if d == right {
		d.t.fault("%s joins table %s with itself: use topology.Changes, or EachRow", step, d.name)
	}
}

// joinTables follows both tables. loneLeft and loneRight say that a row of that side is enough.
func joinTables[K, L, R, V any](left *Table[K, L], right *Table[K, R], into *Table[K, V], fn func(L, bool, R, bool) (V, bool), loneLeft, loneRight bool) {
	left.def.joined, right.def.joined = true, true
	into.def.keepTimes()
	join := "join of " + left.def.name + " and " + right.def.name
	follow(left, right, into, join, loneLeft, func(l L, lok bool, r R, rok bool) (V, bool) { return fn(l, lok, r, rok) })
	follow(right, left, into, join, loneRight, func(r R, rok bool, l L, lok bool) (V, bool) { return fn(l, lok, r, rok) })
}

// follow keeps the result of a join up with the changes of one side. lone says that a row of this side alone makes a result.
func follow[K, T, O, V any](table *Table[K, T], other *Table[K, O], into *Table[K, V], join string, lone bool, fn func(T, bool, O, bool) (V, bool)) {
	f := Changes(table)
	f.joins = []*tableDef{other.def, into.def}
	other.def.keepTimes()
	begin(f, join+"-"+table.def.name, "join with "+other.def.name+" into "+into.def.name, func() func(*scope, Event[K, Change[T]]) error {
		return func(s *scope, ev Event[K, Change[T]]) error {
			row, err := other.rowIn(s, ev.Key)
			if err != nil {
				return err
			}
			o, has := row.Get()
			if err := row.Err(); err != nil || !has && (!lone || ev.Value.NullOld && ev.Value.NullNew) {
				return err
			}
			result, err := into.rowIn(s, ev.Key)
			if err != nil {
				return err
			}
			return into.changing(s, result, ev.Key, max(s.timestamp(), row.Time()), func() error {
				if v, ok := fn(ev.Value.New, !ev.Value.NullNew, o, has); ok {
					result.Set(v)
				} else {
					result.Delete()
				}
				return nil
			})
		}
	}, Writes(into))
}

// links groups the tables that functions inside shards go between: the same number for those of one group. Tables that are alone have 0.
func (t *Topology) links() map[*tableDef]int32 {
	group := union{}
	for _, a := range slices.Concat(t.agents, t.followers) {
		for _, d := range a.links {
			if d.t == t && a.links[0].t == t {
				group.join(a.links[0], d)
			}
		}
	}
	size := map[any]int{}
	for _, d := range t.tables {
		if group.has(d) {
			size[group.find(d)]++
		}
	}
	numbers, of := map[any]int32{}, map[*tableDef]int32{}
	for _, d := range t.tables {
		if !group.has(d) || size[group.find(d)] < 2 {
			continue
		}
		root := group.find(d)
		if numbers[root] == 0 {
			numbers[root] = d.id + 1
		}
		of[d] = numbers[root]
	}
	return of
}

// adopt gives the agents that write tables what those who follow these tables do: it happens in their turns.
func (t *Topology) adopt() {
	for again := true; again; {
		again = false
		for _, a := range slices.Concat(t.agents, t.followers) {
			for d := range a.writes {
				for _, f := range d.followers {
					again = a.adopt(f) || again
				}
			}
		}
	}
}

// adopt takes over what a follower touches, and says whether that is new.
func (a *agentDef) adopt(f *agentDef) bool {
	before := len(a.order)
	for _, x := range f.order {
		switch x := x.(type) {
		case *topicDef:
			if !a.sends[x] {
				a.sends[x] = true
				a.order = append(a.order, x)
			}
		case *tableDef:
			if !a.reads[x] || f.writes[x] && !a.writes[x] {
				a.reads[x] = true
				a.order = append(a.order, x)
			}
			if f.writes[x] {
				a.writes[x] = true
			}
		case *globalDef:
			if !a.globals[x] {
				a.globals[x] = true
				a.order = append(a.order, x)
			}
		}
	}
	return len(a.order) > before
}

// takesTurns says whether an agent shares tables that are joined: then it takes turns with the others.
func (a *agentDef) takesTurns() bool {
	if a.role != plan.Processor || a.loop || a.raw != nil || a.source == nil || a.source.memory {
		return false
	}
	for d := range a.reads {
		if d.joined && (a.writes[d] || slices.Contains(a.links, d)) {
			return true
		}
	}
	return false
}

// checkFollowers finds tables whose changes come back to themselves.
func (t *Topology) checkFollowers() (faults []error) {
	for _, a := range t.followers {
		if a.writes[a.follows] {
			faults = append(faults, fmt.Errorf("the changes of table %s come back to it through %s: send them through a topic, declared with topology.Loop(), if that is meant",
				a.follows.name, a.name))
		}
	}
	return faults
}
