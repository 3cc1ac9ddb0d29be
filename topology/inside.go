package topology

import (
	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Events on their way to a shard share an array and a function: these are how many at least, at most, and how many bytes
// of keys and values at most, since whoever holds one of them holds all.
const (
	rowChunkMin   = 8
	rowChunkMax   = 256
	rowChunkBytes = 1 << 20
)

// rowRun takes events to the row of their key, inside its shard, with one function for many of them.
type rowRun[K, V, R any] struct {
	table *Table[K, R]
	apply func(s *scope, row *tables.Row[R], ev Event[K, V]) error
	reads bool // apply changes nothing

	of     int64         // the run of the program that events are of
	events []Event[K, V] // of the chunk being filled; those before have gone to the shard, and are only read
	size   int
	bytes  int
	run    func(*tables.Row[R], int32) error
}

// add asks for the row of an event's key. Inside a shard it is at hand.
func (r *rowRun[K, V, R]) add(s *scope, ev Event[K, V]) error {
	if s.shard {
		row, err := r.table.rowIn(s, ev.Key)
		if err != nil {
			return err
		}
		return r.visit(s, row, ev)
	}
	ops, _, k := r.table.enter(s, ev.Key)
	if ops == nil {
		return nil
	}
	if r.of != s.runs {
		r.end()
		r.of = s.runs
	}
	if len(r.events) == cap(r.events) || r.bytes > rowChunkBytes {
		r.size = min(max(2*r.size, rowChunkMin), rowChunkMax) // a run may be one record or many thousands
		r.events, r.bytes = make([]Event[K, V], 0, r.size), 0
		r.run = r.runner(s, r.events[:r.size])
	}
	r.events, r.bytes = append(r.events, ev), r.bytes+ev.rec.B.Size(ev.rec.I)
	ops.Row(k, int32(len(r.events)-1), r.run)
	return nil
}

// end lets go of the events of a run.
func (r *rowRun[K, V, R]) end() { r.events, r.size, r.bytes, r.run = nil, 0, 0, nil }

// runner makes the function that the shard calls for a run of events.
func (r *rowRun[K, V, R]) runner(s *scope, events []Event[K, V]) func(*tables.Row[R], int32) error {
	inside := s.insideOf(r.table.def)
	return func(row *tables.Row[R], i int32) error {
		inside.begin(row.Out, row.Group(), events[i].rec)
		defer inside.end()
		if err := r.visit(inside.scope, row, events[i]); err != nil {
			return err
		}
		return inside.effects.Err
	}
}

// visit applies the function to a row, and tells those that follow the table.
func (r *rowRun[K, V, R]) visit(s *scope, row *tables.Row[R], ev Event[K, V]) error {
	if r.reads || !r.table.def.isFollowed() {
		if err := r.apply(s, row, ev); err != nil {
			return err
		}
		return row.Err()
	}
	return r.table.changing(s, row, ev.Key, s.timestamp(), func() error { return r.apply(s, row, ev) })
}

// turnInside is the turn of functions inside the shards of one table. Its scope is theirs.
type turnInside struct {
	plan.Input
	scope   *scope
	effects plan.Effects
	open    bool // a function is running
}

// insideOf returns the turn of functions that run inside a table's shard.
func (s *scope) insideOf(d *tableDef) *turnInside {
	x := s.turns[d]
	if x != nil && x.Input == s.in {
		return x
	}
	x = &turnInside{Input: s.in, scope: s.agent.newScope()}
	x.scope.shard = true
	x.scope.begin(x)
	if s.turns == nil {
		s.turns = map[*tableDef]*turnInside{}
	}
	s.turns[d] = x
	return x
}

// begin begins the turn for a record.
func (x *turnInside) begin(out *kafka.Outputs, group *tables.Group, rec plan.Rec) {
	x.effects, x.open = plan.Effects{Out: out}, true
	x.scope.rec, x.scope.group = rec, group
}

// end ends it: whoever keeps its context is told.
func (x *turnInside) end() { x.open = false }

// Effects implements plan.Input.
func (x *turnInside) Effects() *plan.Effects {
	if !x.open {
		return nil
	}
	return &x.effects
}

// Ask implements plan.Input: a shard that waited for itself would wait for ever.
func (x *turnInside) Ask(table *plan.Table, _ tables.Query) error {
	return lasting("a handler of EachRow sees its row alone: read table %s from an agent made with Each", table.Name)
}

// rowIn returns the row of a key in another table of the group, for a function that runs inside a shard.
func (t *Table[K, V]) rowIn(s *scope, key K) (*tables.Row[V], error) {
	k, err := encode(t.kc, t.validK, s.key[:0], key)
	if err != nil {
		return nil, lasting("table %s: encode the key: %w", t.def.name, redact.Of(err))
	}
	s.key = k
	return tables.RowIn[V](s.group, t.def.id, k)
}
