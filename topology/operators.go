package topology

import (
	"fmt"
	"slices"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Flow is a topic with steps behind it that run, fused into one agent, when something ends it: To, Count, Reduce or
// Aggregate. Several ends of one flow are agents of their own.
type Flow[K, V any] struct {
	t      *Topology
	source *topicDef
	keys   codec.Codec[K]
	values codec.Codec[V] // as the source's; nil behind a step that changed them
	steps  []string
	// bind makes the function that takes a record through all steps and on to down.
	bind func(down func(*scope, Event[K, V]) error) func(*scope, plan.Rec) error
}

// From begins a flow at a topic.
func From[K, V any](topic *Topic[K, V]) Flow[K, V] {
	return Flow[K, V]{
		t: topic.def.t, source: topic.def, keys: topic.kc, values: topic.vc, steps: []string{"from " + topic.def.name},
		bind: func(down func(*scope, Event[K, V]) error) func(*scope, plan.Rec) error {
			return func(s *scope, rec plan.Rec) error {
				ev, err := topic.event(rec)
				if err != nil {
					return err
				}
				return down(s, ev)
			}
		},
	}
}

// then adds a step.
func then[K, V, R any](f Flow[K, V], name string, step func(down func(*scope, Event[K, R]) error) func(*scope, Event[K, V]) error) Flow[K, R] {
	return Flow[K, R]{
		t: f.t, source: f.source, keys: f.keys, steps: append(slices.Clone(f.steps), name),
		bind: func(down func(*scope, Event[K, R]) error) func(*scope, plan.Rec) error { return f.bind(step(down)) },
	}
}

// same is then for a step that changes no value.
func same[K, V any](f Flow[K, V], name string, step func(down func(*scope, Event[K, V]) error) func(*scope, Event[K, V]) error) Flow[K, V] {
	x := then(f, name, step)
	x.values = f.values
	return x
}

// Filter lets through the records for which keep says so.
func Filter[K, V any](f Flow[K, V], keep func(Event[K, V]) bool) Flow[K, V] {
	return same(f, "filter", func(down func(*scope, Event[K, V]) error) func(*scope, Event[K, V]) error {
		return func(s *scope, ev Event[K, V]) error {
			if !keep(ev) {
				return nil
			}
			return down(s, ev)
		}
	})
}

// Peek calls fn for each record and lets it through.
func Peek[K, V any](f Flow[K, V], fn func(Event[K, V])) Flow[K, V] {
	return same(f, "peek", func(down func(*scope, Event[K, V]) error) func(*scope, Event[K, V]) error {
		return func(s *scope, ev Event[K, V]) error {
			fn(ev)
			return down(s, ev)
		}
	})
}

// Map replaces each value by another one; keys stay.
func Map[K, V, R any](f Flow[K, V], fn func(V) R) Flow[K, R] {
	return then(f, "map", func(down func(*scope, Event[K, R]) error) func(*scope, Event[K, V]) error {
		return func(s *scope, ev Event[K, V]) error {
			return down(s, Event[K, R]{Key: ev.Key, NullKey: ev.NullKey, Value: fn(ev.Value), rec: ev.rec})
		}
	})
}

// FlatMap replaces each value by any number of others; keys stay.
func FlatMap[K, V, R any](f Flow[K, V], fn func(V) []R) Flow[K, R] {
	return then(f, "flat-map", func(down func(*scope, Event[K, R]) error) func(*scope, Event[K, V]) error {
		return func(s *scope, ev Event[K, V]) error {
			for _, v := range fn(ev.Value) {
				if err := down(s, Event[K, R]{Key: ev.Key, NullKey: ev.NullKey, Value: v, rec: ev.rec}); err != nil {
					return err
				}
			}
			return nil
		}
	})
}

// FlowOption names what ends a flow.
type FlowOption func(*flowEnd)

type flowEnd struct {
	name  string
	agent []AgentOption
}

// Named gives the agent that a flow becomes a name of its own; an agent's progress is kept under its name. Defaults to one
// made of the operator and its target.
func Named(name string) FlowOption { return func(e *flowEnd) { e.name = name } }

func endOf(name string, opts []FlowOption) flowEnd {
	e := flowEnd{name: name}
	for _, o := range opts {
		o(&e)
	}
	return e
}

// define makes the agent of a flow.
func define[K, V any](f Flow[K, V], name, last string, down func(*scope, Event[K, V]) error, opts ...AgentOption) *agentDef {
	a := f.t.newAgent(name, plan.Processor, f.source, opts)
	a.steps = append(slices.Clone(f.steps), last)
	a.program = func() plan.Program {
		return program(func(in plan.Input) error {
			s := &scope{in: in, agent: a}
			run := f.bind(down)
			for rec, ok := in.Next(); ok; rec, ok = in.Next() {
				s.rec = rec
				if err := run(s, rec); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return a
}

// To sends the flow's records to a topic.
func To[K, V any](f Flow[K, V], topic *Topic[K, V], opts ...FlowOption) {
	end := endOf("to-"+topic.def.name, opts)
	define(f, end.name, "to "+topic.def.name, func(s *scope, ev Event[K, V]) error {
		var o []SendOption
		if ev.NullKey {
			o = append(o, NullKey())
		}
		if ev.NullValue {
			o = append(o, NullValue())
		}
		topic.Send(s.context(), ev.Key, ev.Value, o...)
		return nil
	}, Sends(topic))
}

// Grouped is a flow spread by a key: what Count, Reduce and Aggregate work on.
type Grouped[K, V any] struct {
	t      *Topology
	source *topicDef // where records come from that have the key already; nil: they are spread first
	values codec.Codec[V]
	// spread defines the agent that writes the repartition topic.
	spread func(name string, repartition *Topic[K, V], values bool)
	keep   func(down func(*scope, Event[K, V]) error) func(*scope, plan.Rec) error
	steps  []string
}

// GroupOption changes how a flow is grouped.
type GroupOption[V any] func(*codec.Codec[V])

// WithValues says how values are written to the topic between. Defaults to how the flow's topic has them, unless Map or FlatMap
// has changed them since; Reduce then takes the table's codec, and Aggregate needs to be told.
func WithValues[V any](c codec.Codec[V]) GroupOption[V] {
	return func(x *codec.Codec[V]) { *x = c }
}

// GroupBy spreads a flow by a key made of its values: through an internal topic TOPOLOGY-NAME-repartition, so that all
// records of a key meet in one partition.
func GroupBy[K, V, G any](f Flow[K, V], key func(V) G, opts ...GroupOption[V]) Grouped[G, V] {
	g := Grouped[G, V]{t: f.t, values: f.values, steps: f.steps}
	for _, o := range opts {
		o(&g.values)
	}
	g.spread = func(name string, repartition *Topic[G, V], values bool) {
		define(f, name, "group to "+repartition.def.name, func(s *scope, ev Event[K, V]) error {
			if !values {
				repartition.Send(s.context(), key(ev.Value), ev.Value, NullValue())
				return nil
			}
			repartition.Send(s.context(), key(ev.Value), ev.Value)
			return nil
		}, Sends(repartition))
	}
	return g
}

// GroupByKey groups a flow by the key that its records have: they are spread by it already.
func GroupByKey[K, V any](f Flow[K, V]) Grouped[K, V] {
	return Grouped[K, V]{t: f.t, source: f.source, keep: f.bind, steps: f.steps}
}

const opCount = "count"

// Count counts the records of each key into a table.
func Count[K, V any](g Grouped[K, V], table *Table[K, int64], opts ...FlowOption) {
	fold(g, table, opCount, nil, opts, func(row *tables.Row[int64], _ Event[K, V]) error {
		n, _ := row.Get()
		row.Set(n + 1)
		return nil
	})
}

// Reduce folds the values of each key into a table: its first one as it is, the others by fn. Records without a value are
// skipped.
func Reduce[K, V any](g Grouped[K, V], table *Table[K, V], fn func(acc, value V) V, opts ...FlowOption) {
	fold(g, table, "reduce", table.spec.Codec, opts, func(row *tables.Row[V], ev Event[K, V]) error {
		if ev.NullValue {
			return nil
		}
		v := ev.Value
		if acc, ok := row.Get(); ok {
			v = fn(acc, v)
		}
		row.Set(v)
		return nil
	})
}

// Aggregate folds the values of each key into a table, from init on. Records without a value are skipped.
func Aggregate[K, V, A any](g Grouped[K, V], table *Table[K, A], init func() A, fn func(acc A, ev Event[K, V]) A, opts ...FlowOption) {
	if g.source == nil && g.values == nil {
		g.t.fault("aggregate into table %s: GroupBy needs to know how to write values to its topic: pass it topology.WithValues(codec)", table.def.name)
	}
	fold(g, table, "aggregate", nil, opts, func(row *tables.Row[A], ev Event[K, V]) error {
		if ev.NullValue {
			return nil
		}
		acc, ok := row.Get()
		if !ok {
			acc = init()
		}
		row.Set(fn(acc, ev))
		return nil
	})
}

// fold ends a grouped flow with a function that runs inside the table's shard.
func fold[K, V, A any](g Grouped[K, V], table *Table[K, A], op string, values codec.Codec[V], opts []FlowOption, apply func(*tables.Row[A], Event[K, V]) error) {
	end := endOf(op+"-"+table.def.name, opts)
	f := Flow[K, V]{t: g.t, source: g.source, keys: table.kc, steps: g.steps, bind: g.keep}
	if g.source == nil {
		vc := g.values
		if vc == nil {
			vc = values
		}
		if op == opCount { // only keys count
			vc = nil
		}
		written := vc
		if vc == nil {
			written = noValues[V]{}
		}
		repartition := NewTopic(g.t, fmt.Sprintf("%s-%s-repartition", g.t.name, end.name), table.kc, written)
		repartition.def.kind = plan.Repartition
		g.spread(end.name+"-group", repartition, vc != nil)
		f = From(repartition)
	}
	a := g.t.newAgent(end.name, plan.Processor, f.source, []AgentOption{Writes(table)})
	a.steps = append(slices.Clone(f.steps), op+" into "+table.def.name)
	a.program = func() plan.Program {
		return program(func(in plan.Input) error { return runFold(in, a, f, table, apply) })
	}
}

func runFold[K, V, A any](in plan.Input, a *agentDef, f Flow[K, V], table *Table[K, A], apply func(*tables.Row[A], Event[K, V]) error) error {
	s := &scope{in: in, agent: a}
	var events []Event[K, V]
	var run func(*tables.Row[A], int32) error
	take := f.bind(func(s *scope, ev Event[K, V]) error {
		if ev.NullKey {
			return nil
		}
		if len(events) == cap(events) {
			events = make([]Event[K, V], 0, rowChunk)
			all := events[:rowChunk]
			run = func(row *tables.Row[A], i int32) error { return apply(row, all[i]) }
		}
		events = append(events, ev)
		if ops, _, k := table.write(s, ev.Key); ops != nil {
			ops.Row(k, int32(len(events)-1), run)
		}
		return nil
	})
	for rec, ok := in.Next(); ok; rec, ok = in.Next() {
		s.rec = rec
		if err := take(s, rec); err != nil {
			return err
		}
	}
	return nil
}

// noValues is the codec of a topic whose values nobody looks at.
type noValues[V any] struct{}

// Append implements codec.Codec.
func (noValues[V]) Append(dst []byte, _ V) ([]byte, error) { return dst, nil }

// Decode implements codec.Codec.
func (noValues[V]) Decode([]byte) (v V, err error) { return v, nil }
