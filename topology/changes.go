package topology

import (
	"time"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Change is what a write has made of a row of a table.
type Change[V any] struct {
	Old, New V
	NullOld  bool // there was no row: Old is the zero value
	NullNew  bool // the row was deleted: New is the zero value
}

// changed is a change on its way to those that follow the table.
type changed[K, V any] struct {
	key    K
	change Change[V]
}

// Changes begins a flow at the changes of a table: each write of a row is an event, in the order of the writes, one that deletes or sets
// the same value again too. Its time is the row's: that of the record that wrote it, or for the result of an operator that of the newest
// record in it. The flow's steps run inside the table's shard, in the turn of the record that wrote it: what they send and write is
// committed with it. So they may run twice for a record, after a failure, and an error in them fails that record.
func Changes[K, V any](table *Table[K, V]) Flow[K, Change[V]] {
	table.def.keepTimes()
	steps := []string{"changes of " + table.def.name}
	return Flow[K, Change[V]]{
		leaf: table.def.t.grow(steps), t: table.def.t, table: table.def, keys: table.kc, steps: steps,
		bind: func(down func(*scope, Event[K, Change[V]]) error) func(*scope, plan.Rec) error {
			return func(s *scope, rec plan.Rec) error {
				c, ok := s.change.(*changed[K, V])
				if !ok {
					return lasting("table %s is followed by a program for another one", table.def.name) // a bug of this module's
				}
				return down(s, Event[K, Change[V]]{Key: c.key, Value: c.change, rec: rec})
			}
		},
	}
}

// ToStream begins a flow at the new values of a table (Kafka Streams: KTable.toStream): each write of a row is an event, a deletion one
// with a null value. See Changes.
func ToStream[K, V any](table *Table[K, V]) Flow[K, V] {
	f := then(Changes(table), "new values", func(down func(*scope, Event[K, V]) error) func(*scope, Event[K, Change[V]]) error {
		return func(s *scope, ev Event[K, Change[V]]) error {
			return down(s, Event[K, V]{Key: ev.Key, Value: ev.Value.New, NullValue: ev.Value.NullNew, rec: ev.rec})
		}
	})
	f.values = table.spec.Codec
	return f
}

// keepTimes lets rows have the times of their last changes.
func (d *tableDef) keepTimes() {
	d.stamped = true
	d.stamp()
	d.t.changed()
}

// isFollowed says whether writes must run inside the shard, since a row's time is kept or somebody follows its changes.
func (d *tableDef) isFollowed() bool { return d.stamped }

// newFollower defines what runs inside the shards of a table at each of its changes. It acts for the agents that write the table.
func (t *Topology) newFollower(name string, table *tableDef, opts []AgentOption) *agentDef {
	a := t.makeAgent(name, plan.Processor, nil, opts)
	a.follows = table
	a.enter(table)
	table.followers = append(table.followers, a)
	t.followers = append(t.followers, a)
	t.changed()
	return a
}

// enter notes tables that functions of an agent look rows up in, inside their shards.
func (a *agentDef) enter(all ...*tableDef) {
	for _, d := range all {
		if !a.reads[d] {
			a.reads[d] = true
			a.order = append(a.order, d)
		}
		a.links = append(a.links, d)
	}
}

// following is the programs that follow one table, for one of the programs that write it.
type following struct {
	turns []*turnInside
	runs  []func(*scope, plan.Rec) error
}

// following makes the programs that follow a table, once.
func (s *scope) following(d *tableDef) *following {
	if x := s.watches[d]; x != nil {
		return x
	}
	x := &following{}
	for _, a := range d.followers {
		turn := &turnInside{Input: s.in, scope: a.newScope()}
		turn.scope.shard = true
		turn.scope.begin(turn)
		x.turns, x.runs = append(x.turns, turn), append(x.runs, a.follow())
	}
	if s.watches == nil {
		s.watches = map[*tableDef]*following{}
	}
	s.watches[d] = x
	return x
}

// changing lets a function that runs inside the shard change a row, and tells those that follow the table. at is the row's time, unless
// the function sets a later one.
func (t *Table[K, V]) changing(s *scope, row *tables.Row[V], key K, at int64, change func() error) error {
	row.At, row.Touched = at, false
	if len(t.def.followers) == 0 {
		return firstOf(change(), row.Err())
	}
	old, had := row.Get()
	if err := firstOf(change(), row.Err()); err != nil || !row.Touched {
		return err
	}
	now, has := row.Get()
	if err := row.Err(); err != nil {
		return err
	}
	rec := s.rec
	when := time.UnixMilli(row.At)
	rec.Time = &when
	x := s.following(t.def)
	for i, turn := range x.turns {
		turn.begin(row.Out, row.Group(), rec)
		turn.scope.change = &changed[K, V]{key, Change[V]{old, now, !had, !has}}
		err := x.runs[i](turn.scope, rec)
		turn.end()
		if err = firstOf(err, turn.effects.Err); err != nil {
			return err
		}
	}
	return nil
}

// change asks for a change of a row, inside the shard.
func (t *Table[K, V]) change(s *scope, ops *tables.OpsOf[V], k []byte, key K, apply func(row *tables.Row[V]) error) {
	inside, rec := s.insideOf(t.def), s.rec
	ops.Row(k, 0, func(row *tables.Row[V], _ int32) error {
		inside.begin(row.Out, row.Group(), rec)
		defer inside.end()
		err := t.changing(inside.scope, row, key, inside.scope.timestamp(), func() error { return apply(row) })
		return firstOf(err, inside.effects.Err)
	})
}

// setFollowed sets a row of a table that is followed. The value is encoded at once: it may be changed afterwards.
func (t *Table[K, V]) setFollowed(s *scope, ops *tables.OpsOf[V], k []byte, key K, value V) {
	enc, err := encode(t.spec.Codec, t.spec.Valid, nil, value)
	if err != nil {
		s.effects().Fail(lasting("set table %s: encode the value: %w", t.def.name, redact.Of(err)))
		return
	}
	t.change(s, ops, k, key, func(row *tables.Row[V]) error {
		v, err := t.spec.Codec.Decode(append([]byte{}, enc...))
		if err == nil {
			row.Set(v)
		}
		return err
	})
}
