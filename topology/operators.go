package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Flow is a source, or the changes of a table, with steps behind it that run, fused into one agent, when something ends it: To, Count, Reduce or
// Aggregate. Several ends of one flow are agents of their own, and so are the topics of a flow that has several (see Merge).
type Flow[K, V any] struct {
	t      *Topology
	source *topicDef
	keys   codec.Codec[K]
	values codec.Codec[V] // as the source's; nil behind a step that changed them
	steps  []string
	table  *tableDef     // whose changes it begins with, instead of a source
	joins  []*tableDef   // that steps look rows up in, inside their shards
	reads  []AnyReadable // tables that its steps read
	once   []*onceOnly   // steps that a record may go through once
	limit  *plan.Throttle
	async  bool         // it has a MapAsync
	more   []Flow[K, V] // that are merged with it; they have none themselves
	leaf   *leaf        // notes whether anything goes on from here
	// bind makes the function that takes a record through all steps and on to down.
	bind func(down func(*scope, Event[K, V]) error) func(*scope, plan.Rec) error
}

// From begins a flow at a source.
func From[K, V any](source Source[K, V]) Flow[K, V] {
	if several, ok := source.(*sources[K, V]); ok {
		return several.flow()
	}
	source, limit := limitOf(source)
	d := source.topic()
	keys, values := source.codecs()
	steps := []string{"from " + d.name}
	return Flow[K, V]{
		leaf: d.t.grow(steps), t: d.t, source: d, keys: keys, values: values, steps: steps, limit: limit,
		bind: func(down func(*scope, Event[K, V]) error) func(*scope, plan.Rec) error {
			var ev Event[K, V] // a program's own, as all that is bound
			return func(s *scope, rec plan.Rec) error {
				if err := source.event(rec, &ev); err != nil {
					return err
				}
				return down(s, ev)
			}
		},
	}
}

// then adds a step.
func then[K, V, R any](f Flow[K, V], name string, step func(down func(*scope, Event[K, R]) error) func(*scope, Event[K, V]) error) Flow[K, R] {
	f.leaf.use()
	steps := append(slices.Clone(f.steps), name)
	x := Flow[K, R]{
		leaf: f.t.grow(steps), t: f.t, source: f.source, keys: f.keys, steps: steps, table: f.table, joins: f.joins, reads: slices.Clone(f.reads), once: f.once, limit: f.limit, async: f.async,
		bind: func(down func(*scope, Event[K, R]) error) func(*scope, plan.Rec) error { return f.bind(step(down)) },
	}
	for _, other := range f.more {
		x.more = append(x.more, then(other, name, step))
	}
	return x
}

// branches are the flows that are merged in one.
func (f Flow[K, V]) branches() []Flow[K, V] {
	first := f
	first.more = nil
	return append([]Flow[K, V]{first}, f.more...)
}

// all changes each of the flows that are merged in one.
func (f Flow[K, V]) all(change func(*Flow[K, V])) Flow[K, V] {
	f.more = slices.Clone(f.more)
	for i := range f.more {
		change(&f.more[i])
	}
	change(&f)
	return f
}

// needs notes a step without a function.
func (f Flow[K, V]) needs(missing bool, step string) {
	if missing {
		what := "from topic"
		if f.table != nil {
			what = "of the changes of table"
		}
		f.t.fault("the flow %s %s has a step %s without a function: pass one", what, f.root(), step)
	}
}

// root is the name of what the flow begins with.
func (f Flow[K, V]) root() string {
	if f.table != nil {
		return f.table.name
	}
	return f.source.name
}

// same is then for a step that changes no value.
func same[K, V any](f Flow[K, V], name string, step func(down func(*scope, Event[K, V]) error) func(*scope, Event[K, V]) error) Flow[K, V] {
	x := then(f, name, step)
	x.values = f.values
	return x
}

// Filter lets through the records for which keep says so.
func Filter[K, V any](f Flow[K, V], keep func(Event[K, V]) bool) Flow[K, V] {
	f.needs(keep == nil, "Filter")
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
	f.needs(fn == nil, "Peek")
	return same(f, "peek", func(down func(*scope, Event[K, V]) error) func(*scope, Event[K, V]) error {
		return func(s *scope, ev Event[K, V]) error {
			fn(ev)
			return down(s, ev)
		}
	})
}

// Map replaces each value by another one; keys stay. A null value comes as the zero value of its type, and what fn makes of it
// is not null: put a Filter on NullValue before it where that matters.
func Map[K, V, R any](f Flow[K, V], fn func(V) R) Flow[K, R] {
	f.needs(fn == nil, "Map")
	return then(f, "map", func(down func(*scope, Event[K, R]) error) func(*scope, Event[K, V]) error {
		return func(s *scope, ev Event[K, V]) error {
			return down(s, Event[K, R]{Key: ev.Key, NullKey: ev.NullKey, Value: fn(ev.Value), rec: ev.rec})
		}
	})
}

// FlatMap replaces each value by any number of others; keys stay. A null value comes as the zero value of its type.
func FlatMap[K, V, R any](f Flow[K, V], fn func(V) []R) Flow[K, R] {
	f.needs(fn == nil, "FlatMap")
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

type flowEnd struct{ name string }

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
func define[K, V any](f Flow[K, V], name, last string, down func(*scope, Event[K, V]) error, opts ...AgentOption) {
	begin(f, name, last, func() func(*scope, Event[K, V]) error { return down }, opts...)
}

// begin makes the agent of a flow that ends in what down makes for each of its programs; a flow of changes becomes a follower. Of merged flows, those
// of one source are one agent.
func begin[K, V any](f Flow[K, V], name, last string, down func() func(*scope, Event[K, V]) error, opts ...AgentOption) {
	roots := byRoot(f)
	for _, flows := range roots {
		if len(roots) == 1 {
			beginOne(flows, name, last, down, opts)
		} else {
			beginOne(flows, name+"-"+flows[0].root(), last, down, append(slices.Clone(opts), partOf(name)))
		}
	}
}

// beginOne makes the agent, or the follower, of flows of one source.
func beginOne[K, V any](flows []Flow[K, V], name, last string, down func() func(*scope, Event[K, V]) error, opts []AgentOption) {
	f := flows[0]
	var steps []string
	var joins []*tableDef
	for _, x := range flows {
		x.leaf.use()
		x.checkInside()
		steps, joins, opts = append(steps, x.steps...), append(joins, x.joins...), append(slices.Clone(opts), Reads(x.reads...))
		opts = append(opts, x.checkOnce(name)...)
	}
	bind := func() func(*scope, plan.Rec) error {
		end := down()
		var runs []func(*scope, plan.Rec) error
		for _, x := range flows {
			runs = append(runs, x.bind(end))
		}
		if len(runs) == 1 {
			return runs[0]
		}
		return func(s *scope, rec plan.Rec) error {
			for _, run := range runs {
				if err := run(s, rec); err != nil {
					return err
				}
			}
			return nil
		}
	}
	var a *agentDef
	if f.table != nil {
		a = f.t.newFollower(name, f.table, opts)
		a.follow = bind
	} else {
		checkLimits(flows)
		a = f.t.newAgent(name, plan.Processor, f.source, append(opts, limitedTo(f.limit)))
		a.program = func() plan.Program {
			s, run := a.newScope(), bind()
			return program(func(in plan.Input) error { return runTurns(s, in, run) })
		}
	}
	a.steps = append(steps, last)
	a.enter(joins...)
}

// Destination is where records of a flow may go, with keys of type K and values of type V: a *Topic or a *Channel.
type Destination[K, V any] interface {
	AnyTopic
	// put adds a record to the effects of the turn at hand.
	put(s *scope, key K, value V, x sending)
}

// To sends the flow's records to a topic or a channel, with the times and headers of the records that they are made of: behind a join or an aggregation those of the
// record that has brought them about. A flow that begins at the changes of a table, or joins one,
// runs inside that table, and can go to a topic only.
func To[K, V any](f Flow[K, V], to Destination[K, V], opts ...FlowOption) {
	d := sourceOf(to)
	if d == nil {
		f.t.fault("the flow of %s ends in a nil topic: define the topic first", f.root())
		return
	}
	end := endOf("to-"+d.name, opts)
	last := "to " + d.name
	if d.memory {
		last = "to channel " + d.name
		f.checkChannel(d)
	}
	define(f, end.name, last, func(s *scope, ev Event[K, V]) error {
		to.put(s, ev.Key, ev.Value, s.onward(ev.NullKey, ev.NullValue))
		return nil
	}, Sends(to))
}

// checkChannel finds flows that run inside a table, from where nothing goes to a channel.
func (f Flow[K, V]) checkChannel(d *topicDef) {
	for _, x := range f.branches() {
		inside := x.table
		if len(x.joins) > 0 {
			inside = x.joins[0]
		}
		if inside != nil {
			f.t.fault("the flow %s sends to channel %s from inside table %s: send to a topic", strings.Join(x.steps, " | "), d.name, inside.name)
		}
	}
}

// Grouped is a flow spread by a key: what Count, Reduce and Aggregate work on.
type Grouped[K, V any] struct {
	t      *Topology
	from   *topicDef  // where records come from
	table  *tableDef  // or changes
	keyed  bool       // records have the key already; else they are spread first
	flow   Flow[K, V] // of those that have it
	leaf   *leaf
	values codec.Codec[V]
	// spread defines the agent that writes the repartition topic.
	spread func(name string, repartition *Topic[K, V], values bool)
}

// GroupOption changes how a flow is grouped.
type GroupOption[V any] func(*codec.Codec[V])

// WithValues says how values are written to the topic between. Defaults to how the flow's topic has them, unless Map or FlatMap
// has changed them since; Reduce then takes the table's codec, and Aggregate needs to be told.
func WithValues[V any](c codec.Codec[V]) GroupOption[V] {
	return func(x *codec.Codec[V]) { *x = c }
}

// GroupBy spreads a flow by a key made of its values: through an internal topic TOPOLOGY-NAME-repartition, so that all
// records of a key meet in one partition. The topic is made with as many partitions as the flow's. Records with a null value
// are skipped, as Kafka Streams does before it aggregates.
func GroupBy[K, V, G any](f Flow[K, V], key func(V) G, opts ...GroupOption[V]) Grouped[G, V] {
	f.needs(key == nil, "GroupBy")
	f.use()
	g := Grouped[G, V]{t: f.t, from: f.source, table: f.table, values: f.values, leaf: f.t.grow(append(slices.Clone(f.steps), "group"))}
	for _, o := range opts {
		o(&g.values)
	}
	g.spread = func(name string, repartition *Topic[G, V], values bool) {
		define(f, name, "group to "+repartition.def.name, func(s *scope, ev Event[K, V]) error {
			if ev.NullValue {
				return s.drop()
			}
			repartition.put(s, key(ev.Value), ev.Value, s.onward(false, !values))
			return nil
		}, Sends(repartition))
	}
	return g
}

// GroupByKey groups a flow by the key that its records have: they are spread by it already.
func GroupByKey[K, V any](f Flow[K, V]) Grouped[K, V] {
	f.use()
	return Grouped[K, V]{t: f.t, from: f.source, table: f.table, keyed: true, flow: f, leaf: f.t.grow(append(slices.Clone(f.steps), "group"))}
}

const opCount = "count"

// Count counts the records of each key into a table. Records without a key or value are skipped.
func Count[K, V any](g Grouped[K, V], table *Table[K, int64], opts ...FlowOption) {
	fold(g, table, opCount, nil, opts, func(row *tables.Row[int64], _ Event[K, V]) error {
		n, _ := row.Get()
		row.Set(n + 1)
		return nil
	})
}

// Reduce folds the values of each key into a table: its first one as it is, the others by fn. Records without a key or value
// are skipped.
func Reduce[K, V any](g Grouped[K, V], table *Table[K, V], fn func(acc, value V) V, opts ...FlowOption) {
	if fn == nil {
		g.t.fault("reduce into table %s has no function: pass one", table.def.name)
	}
	fold(g, table, "reduce", table.spec.Codec, opts, func(row *tables.Row[V], ev Event[K, V]) error {
		v := ev.Value
		if acc, ok := row.Get(); ok {
			v = fn(acc, v)
		}
		row.Set(v)
		return nil
	})
}

// Aggregate folds the values of each key into a table, from init on. Records without a key or value are
// skipped.
func Aggregate[K, V, A any](g Grouped[K, V], table *Table[K, A], init func() A, fn func(acc A, ev Event[K, V]) A, opts ...FlowOption) {
	if !g.keyed && g.values == nil {
		g.t.fault("aggregate into table %s: GroupBy needs to know how to write values to its topic: pass it topology.WithValues(codec)", table.def.name)
	}
	if init == nil || fn == nil {
		g.t.fault("aggregate into table %s lacks a function: pass one that makes the first value and one that adds to it", table.def.name)
	}
	fold(g, table, "aggregate", nil, opts, func(row *tables.Row[A], ev Event[K, V]) error {
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
	g.leaf.use()
	f, hasValues := g.flow, true
	if !g.keyed {
		vc := g.values
		if vc == nil {
			vc = values
		}
		if op == opCount { // only keys count
			vc, hasValues = nil, false
		}
		written := vc
		if vc == nil {
			written = noValues[V]{}
		}
		repartition := NewTopic(g.t, fmt.Sprintf("%s-%s-repartition", g.t.name, end.name), table.kc, written)
		repartition.def.kind, repartition.def.like, repartition.def.likeTable = plan.Repartition, g.from, g.table
		g.spread(end.name+"-group", repartition, vc != nil)
		f = From(repartition)
	}
	f = f.all(func(x *Flow[K, V]) {
		if len(x.joins) > 0 || x.table != nil {
			x.joins = append(slices.Clone(x.joins), table.def)
		}
	})
	begin(f, end.name, op+" into "+table.def.name, func() func(*scope, Event[K, V]) error {
		rows := &rowRun[K, V, A]{table: table, apply: func(s *scope, row *tables.Row[A], ev Event[K, V]) error {
			row.At = max(s.timestamp(), row.Time()) // the time of a result is that of its newest record
			return apply(row, ev)
		}}
		return func(s *scope, ev Event[K, V]) error {
			if ev.NullKey || ev.NullValue && hasValues {
				return s.drop()
			}
			return rows.add(s, ev)
		}
	}, Writes(table))
}

// noValues is the codec of a topic whose values nobody looks at.
type noValues[V any] struct{}

// Append implements codec.Codec.
func (noValues[V]) Append(dst []byte, _ V) ([]byte, error) { return dst, nil }

// Decode implements codec.Codec.
func (noValues[V]) Decode([]byte) (v V, err error) { return v, nil }
