package topology

import (
	"bytes"
	"fmt"
	"iter"
	"reflect"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Table is a table with keys of type K and values of type V, spread over the partitions of the topics that its agents read.
// It is a handle: any goroutine may use it.
//
// Reads see what the handler's own turn has written. Writes return nothing: their errors, and those of a key's or value's
// Validate, fail the record at hand.
type Table[K, V any] struct {
	def    *tableDef
	kc     codec.Codec[K]
	validK func(K) error // nil where keys have no Validate
	spec   *tables.Spec[V]
}

// table returns nil for a nil handle, which the options turn into a fault.
func (t *Table[K, V]) table() *tableDef {
	if t == nil {
		return nil
	}
	return t.def
}

// declareRead implements AnyReadable.
func (t *Table[K, V]) declareRead(a *agentDef) { a.touch("Reads", []AnyTable{t}, a.reads) }

// Name returns the table's name.
func (t *Table[K, V]) Name() string { return t.def.name }

// TableOption changes how a table is kept.
type TableOption func(*tableDef)

// Ordered keeps the keys in the order of their encoded bytes, for Range and Prefix.
func Ordered() TableOption { return func(d *tableDef) { d.ordered = true } }

// Local allows any key in any partition: the table is not spread by its keys, each partition has entries of its own.
func Local() TableOption { return func(d *tableDef) { d.local = true } }

// Default says what a key has that is not in the table: Get, the function of Update and Row.Get are given what fn makes, with ok
// still false, and nothing is stored by that (Faust's default, but that a look does not write). fn is called anew each time, also
// inside the shard: it must be pure, and quick. Scans yield what is there. V must be the type of the table's values.
func Default[V any](fn func() V) TableOption {
	return func(d *tableDef) {
		if fn == nil {
			d.t.fault("table %s: topology.Default was given no function: pass one that makes a value", d.name)
			return
		}
		d.initial = fn
	}
}

// defaultOf is the function of Default, if it makes values of the table's type.
func defaultOf[V any](d *tableDef) func() V {
	if d.initial == nil {
		return nil
	}
	fn, ok := d.initial.(func() V)
	if !ok {
		d.t.fault("table %s: topology.Default was given a %T, and the table has values of type %s: pass a function that makes one", d.name, d.initial, reflect.TypeFor[V]())
	}
	return fn
}

// NewTable defines a table with codecs for its keys and values.
func NewTable[K, V any](t *Topology, name string, keys codec.Codec[K], values codec.Codec[V], opts ...TableOption) *Table[K, V] {
	d := &tableDef{t: t, id: int32(len(t.tables)), name: name}
	for _, o := range opts {
		o(d)
	}
	x := makeTable(d, keys, values)
	t.typed[d] = x
	return x
}

// makeTable defines a table with what its options have made of its definition.
func makeTable[K, V any](d *tableDef, keys codec.Codec[K], values codec.Codec[V]) *Table[K, V] {
	t, name := d.t, d.name
	if keys == nil || values == nil {
		t.fault("table %s has no codec for its keys or values: pass one, such as codec.String or codec.JSON[T]()", name)
	}
	t.checkCodec("table "+name+": the codec of its keys", codecFault(keys))
	t.checkCodec("table "+name+": the codec of its values", codecFault(values))
	if keys != nil {
		if err := codec.CheckKey(keys); err != nil {
			t.fault("table %s: the codec of its keys cannot be used for keys: %w; use another one, such as codec.String, or codec.ForKeys to vouch for it", name, err)
		}
	}
	spec := &tables.Spec[V]{Name: name, Codec: values, Valid: codec.Validator[V](), Ordered: d.ordered, Default: defaultOf[V](d), TTL: d.ttl, Version: d.version, Migrate: migrationsOf[V](d)}
	d.make = plan.Table{
		ID: d.id, Name: name, Key: textOf(keys), Value: textOf(values), Ordered: d.ordered, Local: d.local,
		TTL: d.ttl, Version: d.version, Current: spec.Current,
		NewShard: func(c tables.Config) tables.Shard { return tables.New(spec, c) },
		NewOps:   func() tables.Ops { return tables.NewOps(spec) },
	}
	t.tables = append(t.tables, d)
	t.changed()
	d.stamp = func() { spec.Stamped = true }
	return &Table[K, V]{def: d, kc: keys, validK: codec.Validator[K](), spec: spec}
}

// TableOf finds a table by name and types: for tests of a topology that keeps its handles to itself. It panics, naming what
// there is, if there is none or its types are others.
func TableOf[K, V any](t *Topology, name string) *Table[K, V] {
	return handleOf[*Table[K, V]](t, "table", name, t.tables, func(d *tableDef) string { return d.name })
}

// Set sets the value of a key. The value is encoded or copied at once: it may be changed afterwards.
func (t *Table[K, V]) Set(ctx Writer, key K, value V) {
	s := ctx.turn()
	rows := s.forget(t.def)
	ops, e, k := t.write(s, key)
	if ops != nil && t.def.isFollowed() {
		t.setFollowed(s, ops, k, key, value)
	} else if ops != nil {
		if err := ops.Set(k, value); err != nil {
			e.Fail(lasting("set table %s: encode the value: %w", t.def.name, redact.Of(err)))
			return
		}
		t.remember(s, rows, k, value, true)
	}
}

// Delete deletes a key.
func (t *Table[K, V]) Delete(ctx Writer, key K) {
	s := ctx.turn()
	rows := s.forget(t.def)
	ops, _, k := t.write(s, key)
	if ops != nil && t.def.isFollowed() {
		t.change(s, ops, k, key, func(row *tables.Row[V]) error { row.Delete(); return nil })
	} else if ops != nil {
		ops.Delete(k)
		var none V
		t.remember(s, rows, k, none, false)
	}
}

// Update replaces the value of a key by what fn makes of it; ok says whether there is one. fn runs later, inside the shard,
// perhaps twice: it must be pure. If it fails or panics, so does the record at hand.
func (t *Table[K, V]) Update(ctx Writer, key K, fn func(old V, ok bool) (V, error)) {
	ops, _, k := t.write(ctx.turn(), key)
	if ops != nil && t.def.isFollowed() {
		t.change(ctx.turn(), ops, k, key, func(row *tables.Row[V]) error {
			v, err := fn(row.Get())
			if err == nil {
				row.Set(v)
			}
			return err
		})
	} else if ops != nil {
		ops.Update(k, fn)
	}
}

// write returns the operations that a write joins, and the key, encoded.
func (t *Table[K, V]) write(s *scope, key K) (*tables.OpsOf[V], *plan.Effects, []byte) {
	var err error
	if s.key, err = encode(t.kc, t.validK, s.key[:0], key); err != nil && s.agent.writes[t.def] {
		s.effects().Fail(lasting("table %s: encode the key: %w", t.def.name, redact.Of(err)))
		return nil, nil, nil
	}
	return t.writeTo(s, s.key)
}

// writeTo is write for a key that is encoded.
func (t *Table[K, V]) writeTo(s *scope, key []byte) (*tables.OpsOf[V], *plan.Effects, []byte) {
	if !s.agent.writes[t.def] {
		s.effects().Fail(lasting("%s %s writes table %s without having declared it: add topology.Writes(%s) to it", roleOf(s.agent), s.agent.name, t.def.name, t.def.name))
		return nil, nil, nil
	}
	return t.enterAt(s, key)
}

// enter returns the operations that a function which is to run inside the shard joins, and the key, encoded.
func (t *Table[K, V]) enter(s *scope, key K) (*tables.OpsOf[V], *plan.Effects, []byte) {
	var err error
	if s.key, err = encode(t.kc, t.validK, s.key[:0], key); err != nil {
		s.effects().Fail(lasting("table %s: encode the key: %w", t.def.name, redact.Of(err)))
		return nil, nil, nil
	}
	return t.enterAt(s, s.key)
}

func (t *Table[K, V]) enterAt(s *scope, key []byte) (*tables.OpsOf[V], *plan.Effects, []byte) {
	e := s.effects()
	if err := t.def.here(s, key); err != nil {
		e.Fail(err)
		return nil, nil, nil
	}
	return t.ops(s, e), e, key
}

// ops returns the turn's operations on the table.
func (t *Table[K, V]) ops(s *scope, e *plan.Effects) *tables.OpsOf[V] {
	if int(t.def.id) >= len(e.Ops) { // a turn inside a shard has none
		e.Fail(lasting("write to table %s from a handler of EachRow, which writes its row alone: use the row, or an agent made with Each", t.def.name))
		return nil
	}
	t.tell(s, e)
	s.forget(t.def)
	if ops, ok := e.Ops[t.def.id].(*tables.OpsOf[V]); ok {
		return ops
	}
	ops := tables.NewOps(t.spec)
	e.Ops[t.def.id] = ops
	return ops
}

// here checks that a key belongs to the partition at hand.
func (d *tableDef) here(s *scope, key []byte) error {
	source := s.agent.source
	if source != nil && source.memory { // its records stay in the partition of those that they come from
		source = source.origin.Load()
	}
	if source == nil {
		source = s.agent.spread
	}
	if d.local || source == nil {
		return nil
	}
	if d.part != nil {
		key = d.part(key)
	}
	n, at := s.in.Env().Partitions[source.id], s.in.Partition()
	if n == 0 || source.partitioner.Hash(key, n) == at {
		return nil
	}
	hint := ""
	for _, p := range kafka.Partitioners() {
		if p.Name != source.partitioner.Name && p.Hash(key, n) == at {
			hint = fmt.Sprintf(" (if the keys are those of topic %s, it is written with the partitioner %s: declare it with topology.WithPartitioner)", source.name, p.Name)
			break
		}
	}
	return lasting("table %s: %w belongs to partition %d, not to %d%s; send it through a topic by its key first, or declare the table Local()",
		d.name, redact.Quote("a key", "key %.40q", key), source.partitioner.Hash(key, n), at, hint)
}

// read checks that a handler may read the table.
func (t *Table[K, V]) read(s *scope) (*plan.Table, tables.Ops, bool, error) {
	e := s.effects()
	if !s.agent.reads[t.def] {
		return nil, nil, false, lasting("%s %s reads table %s without having declared it: add topology.Reads(%s) to it", roleOf(s.agent), s.agent.name, t.def.name, t.def.name)
	}
	t.tell(s, e)
	var own tables.Ops
	if int(t.def.id) < len(e.Ops) && e.Ops[t.def.id] != nil && e.Ops[t.def.id].Len() > 0 {
		own = e.Ops[t.def.id]
	}
	return t.def.plan.Load(), own, s.agent.role == plan.Timer || s.agent.role == plan.Task, nil
}

// Get returns the value of a key, with what the turn at hand has written; ok is false if there is none, and the value then the zero
// value, or what Default makes. It waits for the
// table's shard. An error fails the record at hand too, whatever the handler returns. Timers and tasks see committed values.
func (t *Table[K, V]) Get(ctx Reader, key K) (value V, ok bool, err error) {
	s := ctx.turn()
	e := s.effects()
	value, ok, err = t.get(s, key)
	if err != nil {
		e.Fail(err)
		return value, false, err
	}
	if !ok && t.spec.Default != nil {
		return t.spec.Default(), false, nil
	}
	return value, ok, nil
}

func (t *Table[K, V]) get(s *scope, key K) (value V, ok bool, err error) {
	p, own, committed, err := t.read(s)
	if err != nil {
		return value, false, err
	}
	var k []byte
	if !committed { // of an agent, in its one goroutine
		k = s.asked[:0]
	}
	if k, err = t.kc.Append(k, key); err != nil {
		return value, false, lasting("table %s: encode the key: %w", t.def.name, redact.Of(err))
	}
	if err := t.def.here(s, k); err != nil {
		return value, false, err
	}
	if !committed {
		s.asked = k
		if v, ok, done, err := t.getAhead(s, p, own, k); done {
			return v, ok, err
		}
		k = bytes.Clone(k)
	}
	q := &tables.Get[V]{Key: k, Own: own, Committed: committed}
	if err = s.in.Ask(p, q); err == nil {
		err = q.Err
	}
	if err != nil {
		return value, false, err
	}
	return q.Value, q.OK, nil
}

// Len returns how many entries the partition's shard has, with what the turn at hand has written. An error fails the record at
// hand too. Timers and tasks see what is committed.
func (t *Table[K, V]) Len(ctx Reader) (int, error) {
	s := ctx.turn()
	n, err := t.count(s, nil, nil)
	if err != nil {
		s.effects().Fail(err)
	}
	return n, err
}

// count counts the entries of a range; nil, nil is the whole shard.
func (t *Table[K, V]) count(s *scope, from, to []byte) (int, error) {
	p, own, committed, err := t.read(s)
	if err != nil {
		return 0, err
	}
	q := &tables.Count[V]{From: from, To: to, Own: own, Committed: committed}
	err = s.in.Ask(p, q)
	return q.N, firstOf(err, q.Err)
}

// scanChunk is how many entries a scan asks for at a time.
const scanChunk = 512

// ScanOption changes how Range, Prefix and All go over a table.
type ScanOption func(*scanning)

type scanning struct{ reverse bool }

// Reverse goes from the last key to the first: for the newest entries, or the greatest, with a loop that is left early.
func Reverse() ScanOption { return func(x *scanning) { x.reverse = true } }

// Range yields the entries from one key up to another, which is not included, in the order of the keys' encoded bytes. The
// table must be Ordered. Each few hundred entries are read as of one moment. An error ends it and fails the record at hand.
func (t *Table[K, V]) Range(ctx Reader, from, to K, opts ...ScanOption) iter.Seq2[K, V] {
	s := ctx.turn()
	lo, err := t.kc.Append([]byte{}, from)
	hi, err2 := t.kc.Append([]byte{}, to)
	if err != nil || err2 != nil {
		s.effects().Fail(lasting("table %s: encode the keys of a range: %w", t.def.name, redact.Of(firstOf(err, err2))))
		return func(func(K, V) bool) {}
	}
	return t.scan(s, lo, hi, true, opts...)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Prefix yields the entries whose encoded key begins as that of the given key does, in order. The table must be Ordered.
func (t *Table[K, V]) Prefix(ctx Reader, prefix K, opts ...ScanOption) iter.Seq2[K, V] {
	s := ctx.turn()
	lo, err := t.kc.Append([]byte{}, prefix)
	if err != nil {
		s.effects().Fail(lasting("table %s: encode a prefix: %w", t.def.name, redact.Of(err)))
		return func(func(K, V) bool) {}
	}
	return t.scan(s, lo, successor(lo), true, opts...)
}

// successor is the least key above all that begin with a prefix; nil if there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			up := append([]byte{}, prefix[:i+1]...)
			up[i]++
			return up
		}
	}
	return nil
}

// All yields all entries of the partition's shard, sorted by the bytes of their keys. For a table that is not Ordered it
// sorts the shard: for timers and tests.
func (t *Table[K, V]) All(ctx Reader, opts ...ScanOption) iter.Seq2[K, V] {
	return t.scan(ctx.turn(), nil, nil, false, opts...)
}

func (t *Table[K, V]) scan(s *scope, from, to []byte, ordered bool, opts ...ScanOption) iter.Seq2[K, V] {
	var x scanning
	for _, o := range opts {
		o(&x)
	}
	return func(yield func(K, V) bool) {
		from, to := from, to // it may be ranged over again
		e := s.effects()
		_, _, _, err := t.read(s)
		if err == nil && ordered && !t.def.ordered {
			err = lasting("table %s: Range and Prefix need an ordered table: declare it with topology.Ordered()", t.def.name)
		}
		if err != nil {
			e.Fail(err)
			return
		}
		limit := scanChunk
		if !t.def.ordered {
			limit = 0 // sorting again for each chunk would cost more than the memory
		}
		for more := true; more; {
			p, own, committed, _ := t.read(s) // anew for each chunk: the loop's body may write
			q := &tables.Scan[V]{From: from, To: to, Limit: limit, Reverse: x.reverse, Own: own, Committed: committed}
			err := s.in.Ask(p, q)
			if err = firstOf(err, q.Err); err != nil {
				e.Fail(err)
				return
			}
			if !t.each(s, q.Keys, q.Values, yield) {
				return
			}
			if more = q.More; more && x.reverse {
				to = q.Keys[len(q.Keys)-1]
			} else if more {
				from = append(append([]byte{}, q.Keys[len(q.Keys)-1]...), 0)
			}
		}
	}
}

// each yields entries; false: no more are wanted, or a key does not decode.
func (t *Table[K, V]) each(s *scope, keys [][]byte, values []V, yield func(K, V) bool) bool {
	for i, b := range keys {
		k, err := t.kc.Decode(b)
		if err != nil {
			s.effects().Fail(lasting("%w", &tables.EntryError{Table: t.def.name, Part: "key", Key: b, Err: err}))
			return false
		}
		if !yield(k, values[i]) {
			return false
		}
	}
	return true
}

// EncodeKey appends the encoding of a key to dst: for tools.
func (t *Table[K, V]) EncodeKey(dst []byte, key K) ([]byte, error) { return t.kc.Append(dst, key) }

// DecodeKey decodes a key: for tools.
func (t *Table[K, V]) DecodeKey(b []byte) (K, error) { return t.kc.Decode(b) }
