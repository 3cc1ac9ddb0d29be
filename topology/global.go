package topology

import (
	"iter"
	"reflect"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// globalDef is a global table without its types.
type globalDef struct {
	t     *Topology
	id    int32
	name  string
	topic *topicDef
	skip  bool
	make  plan.Global // what Plan gives out, but for its topic
}

// GlobalTable is a full copy of a topic on every node (Kafka Streams: GlobalKTable): for each key the value that was written last. Any
// agent, timer or task may read it, whatever partition it works for, and so may handlers of EachRow. It is a handle: any goroutine may
// use it.
//
// It is written through its topic alone, which should be compacted (cleanup.policy=compact, as a node makes it): a record with a null value
// deletes its key. What a handler sends to the topic is seen once it is committed and has come back, on each node at its own time: a handler
// does not see its own writes, and two reads may differ. Only what is committed is ever seen.
//
// A node reads the whole topic before it processes its first record, and at each start: there are no checkpoints, and all entries are kept in memory,
// one copy for all partitions of a node. Record times play no part.
type GlobalTable[K, V any] struct {
	def   *globalDef
	topic *Topic[K, V]
}

// GlobalOption changes how a global table is kept.
type GlobalOption func(*globalDef)

// SkipUndecodable passes over records of a global table's topic whose key or value does not decode, or is refused by its Validate, as if they were not there: they
// are counted. By default a node that meets one ends with an error that names it, since an old value would be taken for the present one.
func SkipUndecodable() GlobalOption { return func(d *globalDef) { d.skip = true } }

// NewGlobalTable defines a global table: a full copy of a topic on every node. The topic's codecs are its own. Readers declare it with Reads.
func NewGlobalTable[K, V any](t *Topology, name string, topic *Topic[K, V], opts ...GlobalOption) *GlobalTable[K, V] {
	d := &globalDef{t: t, id: int32(len(t.globals)), name: name, topic: topic.topic()}
	for _, o := range opts {
		o(d)
	}
	x := &GlobalTable[K, V]{def: d, topic: topic}
	if d.topic == nil {
		t.fault("global table %s was given a nil topic: define the topic first", name)
		d.topic = &topicDef{t: t}
	}
	if topic != nil && topic.kc != nil && topic.vc != nil {
		d.make = plan.Global{ID: d.id, Name: name, Skip: d.skip, New: func() tables.Replica { return tables.NewReplica(topic.replica("global table "+name, d.skip)) }}
	}
	t.globals = append(t.globals, d)
	t.changed()
	t.typed[d] = x
	return x
}

// replica describes a copy of the topic.
func (t *Topic[K, V]) replica(name string, skip bool) *tables.ReplicaSpec[V] {
	return &tables.ReplicaSpec[V]{
		Name: name, Skip: skip, Encoded: tables.HoldsReferences(reflect.TypeFor[V]()),
		Decode: func(b []byte) (V, error) { return decode(t.vc, t.validV, b) },
		Key:    func(b []byte) error { _, err := decode(t.kc, t.validK, b); return err },
	}
}

// GlobalTableOf finds a global table by name and types: for tests of a topology that keeps its handles to itself. It panics, naming what
// there is, if there is none or its types are others.
func GlobalTableOf[K, V any](t *Topology, name string) *GlobalTable[K, V] {
	return handleOf[*GlobalTable[K, V]](t, "global table", name, t.globals, func(d *globalDef) string { return d.name })
}

// Name returns the global table's name.
func (g *GlobalTable[K, V]) Name() string { return g.def.name }

// declareRead implements AnyReadable.
func (g *GlobalTable[K, V]) declareRead(a *agentDef) {
	if g == nil {
		a.nilTable("Reads")
		return
	}
	a.globals[g.def] = true
	a.order = append(a.order, g.def)
}

// Get returns the value of a key; ok is false if there is none. It waits for nothing. An error fails the record at hand too, whatever
// the handler returns.
func (g *GlobalTable[K, V]) Get(ctx Reader, key K) (value V, ok bool, err error) {
	return g.get(ctx.turn(), key)
}

func (g *GlobalTable[K, V]) get(s *scope, key K) (value V, ok bool, err error) {
	r, err := g.replica(s)
	if err == nil {
		if s.key, err = g.topic.kc.Append(s.key[:0], key); err != nil {
			err = lasting("global table %s: encode the key: %w", g.def.name, redact.Of(err))
		} else if value, ok, err = r.Get(s.key); err != nil {
			err = lasting("global table %s, %w: %w", g.def.name, redact.Quote("a key", "key %.40q", s.key), redact.Of(err))
		}
	}
	if err != nil {
		s.effects().Fail(err)
	}
	return value, ok, err
}

// replica returns the node's copy, if the handler may read it.
func (g *GlobalTable[K, V]) replica(s *scope) (*tables.ReplicaOf[V], error) {
	s.effects() // there is a turn
	if !s.agent.globals[g.def] {
		return nil, lasting("%s %s reads global table %s without having declared it: add topology.Reads(%s) to it", roleOf(s.agent), s.agent.name, g.def.name, g.def.name)
	}
	r, ok := s.in.Env().Globals[g.def.id].(*tables.ReplicaOf[V])
	if !ok {
		return nil, lasting("global table %s is not of this topology", g.def.name)
	}
	return r, nil
}

// Range yields the entries from one key up to another, which is not included, in the order of the keys' encoded bytes, as of one
// moment. An error ends it and fails the record at hand.
func (g *GlobalTable[K, V]) Range(ctx Reader, from, to K) iter.Seq2[K, V] {
	s := ctx.turn()
	lo, err := g.topic.kc.Append([]byte{}, from)
	hi, err2 := g.topic.kc.Append([]byte{}, to)
	if err != nil || err2 != nil {
		s.effects().Fail(lasting("global table %s: encode the keys of a range: %w", g.def.name, redact.Of(firstOf(err, err2))))
		return func(func(K, V) bool) {}
	}
	return g.scan(s, lo, hi)
}

// All yields all entries, in the order of the keys' encoded bytes, as of one moment. An error ends it and fails the record at hand.
func (g *GlobalTable[K, V]) All(ctx Reader) iter.Seq2[K, V] { return g.scan(ctx.turn(), nil, nil) }

func (g *GlobalTable[K, V]) scan(s *scope, from, to []byte) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		r, err := g.replica(s)
		if err != nil {
			s.effects().Fail(err)
			return
		}
		for b, x := range r.Scan(from, to) {
			k, err := g.topic.kc.Decode(b)
			if err = firstOf(x.Err, err); err != nil {
				s.effects().Fail(lasting("global table %s, %w: %w", g.def.name, redact.Quote("a key", "key %.40q", b), redact.Of(err)))
				return
			}
			if !yield(k, x.Value) {
				return
			}
		}
	}
}

// JoinGlobal joins each record with the row of a global table whose key is made of the record: inner, so a record without such a row is dropped, as
// is one for which key says false (Kafka Streams: a null mapped key) and one with a null value. The record's own key stays, and may be null. The row is the one that
// the node has when the record is processed: the join goes by no time, and a later change of the row changes no result. Semantics are those of
// Kafka Streams' KStream-GlobalKTable join (KIP-99).
func JoinGlobal[K, V, G, W, R any](f Flow[K, V], table *GlobalTable[G, W], key func(Event[K, V]) (G, bool), join func(value V, row W) R) Flow[K, R] {
	f.needs(key == nil || join == nil, "JoinGlobal")
	return joinGlobal(f, "join", table, key, func(value V, row W, ok bool) (R, bool) {
		if !ok {
			var none R
			return none, false
		}
		return join(value, row), true
	})
}

// LeftJoinGlobal is JoinGlobal for all records: ok says whether there is a row. A record for which key says false is joined with none (KIP-962); only one with a
// null value is dropped.
func LeftJoinGlobal[K, V, G, W, R any](f Flow[K, V], table *GlobalTable[G, W], key func(Event[K, V]) (G, bool), join func(value V, row W, ok bool) R) Flow[K, R] {
	f.needs(key == nil || join == nil, "LeftJoinGlobal")
	return joinGlobal(f, "left-join", table, key, func(value V, row W, ok bool) (R, bool) { return join(value, row, ok), true })
}

func joinGlobal[K, V, G, W, R any](f Flow[K, V], name string, table *GlobalTable[G, W], key func(Event[K, V]) (G, bool), join func(V, W, bool) (R, bool)) Flow[K, R] {
	if table == nil {
		f.t.fault("the flow from %s has a step %s with a nil global table: define the table first", f.root(), name)
		table = &GlobalTable[G, W]{def: &globalDef{t: f.t}}
	}
	x := then(f, name+" global "+table.def.name, func(down func(*scope, Event[K, R]) error) func(*scope, Event[K, V]) error {
		return func(s *scope, ev Event[K, V]) error {
			if ev.NullValue {
				return s.drop()
			}
			var row W
			ok := false
			k, mapped := key(ev)
			if mapped {
				var err error
				if row, ok, err = table.get(s, k); err != nil {
					return err
				}
			}
			r, ok := join(ev.Value, row, ok)
			switch {
			case !ok && !mapped:
				return s.drop()
			case !ok:
				return nil
			}
			return down(s, Event[K, R]{Key: ev.Key, NullKey: ev.NullKey, Value: r, rec: ev.rec})
		}
	})
	if table.topic == nil {
		return x
	}
	return x.all(func(x *Flow[K, R]) { x.reads = append(x.reads, table) })
}
