package topology

import (
	"bytes"
	"slices"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// A Get is a question to the table's shard, which takes some microseconds. An agent that asks for the rows of its records' keys, one after the other, is
// likely to ask for those of the next records, too: so they are asked for with the one at hand. Only where nobody but the agent writes to the table, by one
// worker: what it is told holds until it writes itself. And only of values that are kept as they are: a value of a later record that cannot be
// decoded must not fail the one at hand.

const (
	// lookFar is for how many records' keys is asked at once.
	lookFar = 32
	// lookLeast is how many Gets in a row must have been for their records' keys before it is asked ahead.
	lookLeast = 4
	// lookPause is for how many Gets it is not asked ahead when that was of little use.
	lookPause = 100
)

// lookahead is what a scope knows of one table.
type lookahead struct {
	fit  bool // it may be asked ahead
	hits int  // Gets in a row that were for the keys of their records
	uses int  // Gets that were answered by what was asked for ahead the last time; -1: it was not
	rows any  // a *rowsAhead[V], or nil: nothing is known
}

// rowsAhead are rows that were asked for ahead.
type rowsAhead[V any] struct {
	tables.GetMany[V]
	at int // the last that was found: the next one is likely behind it
}

// find returns the place of a key, -1 if it is not among them.
func (r *rowsAhead[V]) find(key []byte) int {
	for n := range r.Keys {
		if i := (r.at + n) % len(r.Keys); bytes.Equal(r.Keys[i], key) {
			r.at = i
			return i
		}
	}
	return -1
}

// lookAt begins to know of a table.
func (s *scope) lookAt(d *tableDef, plain bool) *lookahead {
	if s.ahead == nil {
		s.ahead = map[*tableDef]*lookahead{}
	}
	x := &lookahead{fit: plain && !s.shard && s.isAlone(d), uses: -1}
	s.ahead[d] = x
	return x
}

// isAlone says whether what the agent reads of a table holds until it writes itself.
func (s *scope) isAlone(d *tableDef) bool {
	a := s.agent
	if a.role != plan.Processor || a.raw != nil || a.workers > 1 || a.source == nil || len(a.links) > 0 || d.t != a.t || d.ttl != nil || d.timers || d.isFollowed() {
		return false
	}
	return !slices.ContainsFunc(d.t.agents, func(b *agentDef) bool {
		return b != a && (b.writes[d] || b.fires == d || slices.Contains(b.links, d))
	})
}

// getAhead answers a Get by what was asked for ahead, or asks ahead. key is scratch: what is kept of it is copied. done is false if it has to be asked for the key alone.
func (t *Table[K, V]) getAhead(s *scope, p *plan.Table, own tables.Ops, key []byte) (value V, ok, done bool, err error) {
	x := s.ahead[t.def]
	if x == nil {
		x = s.lookAt(t.def, t.spec.Plain())
	}
	if !x.fit {
		return value, false, false, nil
	}
	if rows, known := x.rows.(*rowsAhead[V]); known {
		if i := rows.find(key); i >= 0 {
			x.uses++
			return rows.Values[i], rows.OKs[i], true, nil
		}
	}
	if k := s.rec.B.Key(s.rec.I); k == nil || !bytes.Equal(k, key) {
		x.hits = 0
		return value, false, false, nil
	}
	if x.uses >= 0 && x.uses < lookFar/4 {
		x.hits = -lookPause
	}
	x.uses = -1
	in, async := s.in.(plan.Async)
	if x.hits++; x.hits < lookLeast || !async {
		return value, false, false, nil
	}
	rows := &rowsAhead[V]{GetMany: tables.GetMany[V]{Own: own, Keys: [][]byte{bytes.Clone(key)}}}
	for _, rec := range in.Ahead(lookFar) {
		if k := rec.B.Key(rec.I); k != nil && rows.find(k) < 0 {
			rows.Keys = append(rows.Keys, k)
		}
	}
	if err := s.in.Ask(p, &rows.GetMany); err != nil {
		return value, false, true, err
	}
	rows.Own, rows.at = nil, 0
	if rows.Err == nil {
		x.rows, x.uses = rows, 0
		value, ok = rows.Values[0], rows.OKs[0]
	}
	return value, ok, true, rows.Err
}

// forget lets go of what was asked for ahead of a table: it is written to.
func (s *scope) forget(d *tableDef) (rows any) {
	if x := s.ahead[d]; x != nil {
		rows, x.rows = x.rows, nil
	}
	return rows
}

// remember takes up again what was let go of when a key was set, or deleted.
func (t *Table[K, V]) remember(s *scope, rows any, key []byte, value V, live bool) {
	r, ok := rows.(*rowsAhead[V])
	if !ok {
		return
	}
	if i := r.find(key); i >= 0 {
		r.Values[i], r.OKs[i] = value, live
	}
	s.ahead[t.def].rows = r
}
