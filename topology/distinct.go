package topology

import (
	"slices"
	"strings"

	"github.com/troupe-stream/troupe/tables"
)

// onceOnly is a step of a flow that changes what it sees of a record: the record may go through it once, and so to one end.
type onceOnly struct {
	step  string
	table AnyTable // that it writes
	end   string   // the agent behind it; empty: none yet
}

// Distinct lets the first record of each identity through and drops those that come later, exactly once through crashes: what the table remembers is committed together
// with what the record that passed has caused, and a record that fails behind Distinct was not there. An identity is one of its key: seen has for each key of the flow the set
// of identities that have passed, in the key's partition, so records with the same identity and different keys all pass. Where that is not meant, send the flow by
// its identity first, for example with the identity as key through a topic of its own. Records without a key are skipped, as by Count; id sees null values too, and must be
// pure. Equal identities must have equal encodings.
//
// The table's TTL says for how long an identity is remembered after the record that has passed: without one the table grows for ever. Other agents may look into the table, or
// forget an identity (Remove). It serves one Distinct only.
//
// What follows runs inside the table's shard, as behind Join: it may run twice for a record, after a failure, and can send to topics only. A flow behind Distinct has one end,
// since a second one would be an agent of its own that finds everything seen already: to do several things with it, send it Through a topic.
func Distinct[K, V, ID any](f Flow[K, V], seen *SetTable[K, ID], id func(Event[K, V]) ID) Flow[K, V] {
	f.needs(id == nil, "Distinct")
	if seen == nil {
		f.t.fault("the flow %s has a step Distinct with a nil table: define a set table first", strings.Join(f.steps, " | "))
		return f
	}
	d := seen.rows.def
	if seen.distinct {
		f.t.fault("set table %s remembers for more than one Distinct, which would drop each other's records: give each a table of its own", d.name)
	}
	seen.distinct = true
	step := "distinct by " + d.name
	x := same(f, step, func(down func(*scope, Event[K, V]) error) func(*scope, Event[K, V]) error {
		rows := &rowRun[member[K, ID], V, struct{}]{table: seen.rows, apply: func(s *scope, row *tables.Row[struct{}], ev Event[member[K, ID], V]) error {
			if _, ok := row.Get(); ok {
				return row.Err()
			}
			row.Set(struct{}{})
			return down(s, Event[K, V]{Key: ev.Key.Key, Value: ev.Value, NullValue: ev.NullValue, rec: ev.rec})
		}}
		return func(s *scope, ev Event[K, V]) error {
			if ev.NullKey {
				return nil
			}
			return rows.add(s, Event[member[K, ID], V]{Key: member[K, ID]{ev.Key, id(ev)}, Value: ev.Value, NullValue: ev.NullValue, rec: ev.rec})
		}
	})
	return x.all(func(x *Flow[K, V]) {
		x.joins = append(slices.Clip(x.joins), d)
		x.once = append(slices.Clip(x.once), &onceOnly{step: step, table: seen})
	})
}

// checkOnce notes the end of a flow, and finds steps that have one already. It returns what their tables ask of the agent.
func (f Flow[K, V]) checkOnce(end string) (opts []AgentOption) {
	for _, o := range f.once {
		opts = append(opts, Writes(o.table))
		if o.end == "" {
			o.end = end
			continue
		}
		f.t.fault("the flow %s goes on more than once behind %s, to %s and to %s: the second would find everything seen already; send it to a topic with topology.Through, and go on from there",
			strings.Join(f.steps, " | "), o.step, o.end, end)
	}
	return opts
}

// checkInside finds tables whose entries expire and that the flow would come to from inside another table, where they do not hear of the time.
func (f Flow[K, V]) checkInside() {
	inside := f.table
	for _, d := range f.joins {
		if inside == nil {
			inside = d
		}
		if d != inside && d.ttl != nil {
			f.t.fault("the flow %s comes to table %s from inside table %s, and entries of %s expire, which works only where a flow comes to it first: send the flow to a topic with topology.Through before, or remove topology.TTL",
				strings.Join(f.steps, " | "), d.name, inside.name, d.name)
		}
	}
}
