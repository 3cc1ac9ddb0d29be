package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/topology/codec"
)

// SetTable is a table with a set of elements of type E for each key of type K (Faust's SetTable). Each element is a record of its own
// in the changelog, so adding one to a large set costs no more than to a small one. It is a handle: any goroutine may use it.
//
// Reads see what the handler's own turn has written. Writes return nothing: their errors fail the record at hand.
type SetTable[K, E any] struct {
	rows *Table[member[K, E], struct{}]
	keys codec.Codec[K]
	// distinct says that a Distinct remembers by it.
	distinct bool
}

// member is an element of a key's set: the key of a row.
type member[K, E any] struct {
	Key     K `json:"key"`
	Element E `json:"element"`
}

// NewSetTable defines a set table with codecs for its keys and elements. Equal elements must have equal encodings. Of the options,
// Ordered is implied; Default and Version are not for sets, whose rows have no values.
func NewSetTable[K, E any](t *Topology, name string, keys codec.Codec[K], elements codec.Codec[E], opts ...TableOption) *SetTable[K, E] {
	d := &tableDef{t: t, id: int32(len(t.tables)), name: name, part: setKey}
	for _, o := range opts {
		o(d)
	}
	if d.initial != nil {
		t.fault("table %s is a set table: topology.Default is for values, and its elements have none; a key without elements is an empty set", name)
		d.initial = nil
	}
	if d.version > 0 || len(d.migrations) > 0 {
		t.fault("table %s is a set table: topology.Version and Migrate are for values, and its elements have none", name)
		d.version, d.migrations = 0, nil
	}
	d.ordered = true
	var members codec.Codec[member[K, E]]
	if keys != nil && elements != nil {
		members = memberCodec[K, E]{keys, elements}
	}
	x := &SetTable[K, E]{rows: makeTable(d, members, codec.Codec[struct{}](noValues[struct{}]{})), keys: keys}
	x.rows.validK = validMember[K, E]()
	d.make.Key, d.make.Value, d.make.Rows = textOf(keys), textOf(elements), textOf(members)
	d.make.Split = splitMember
	t.typed[d] = x
	return x
}

// SetTableOf is TableOf for a set table.
func SetTableOf[K, E any](t *Topology, name string) *SetTable[K, E] {
	return handleOf[*SetTable[K, E]](t, "table", name, t.tables, func(d *tableDef) string { return d.name })
}

// table returns nil for a nil handle, which the options turn into a fault.
func (t *SetTable[K, E]) table() *tableDef {
	if t == nil {
		return nil
	}
	return t.rows.def
}

// declareRead implements AnyReadable.
func (t *SetTable[K, E]) declareRead(a *agentDef) { a.touch("Reads", []AnyTable{t}, a.reads) }

// Name returns the table's name.
func (t *SetTable[K, E]) Name() string { return t.rows.def.name }

// Add adds an element to the set of a key; one that is there already stays.
func (t *SetTable[K, E]) Add(ctx Writer, key K, element E) {
	t.rows.Set(ctx, member[K, E]{key, element}, struct{}{})
}

// Remove takes an element out of the set of a key.
func (t *SetTable[K, E]) Remove(ctx Writer, key K, element E) {
	t.rows.Delete(ctx, member[K, E]{key, element})
}

// Clear empties the set of a key.
func (t *SetTable[K, E]) Clear(ctx Writer, key K) {
	s := ctx.turn()
	prefix, err := t.prefix(key)
	if err != nil {
		s.effects().Fail(err)
		return
	}
	if ops, _, k := t.rows.writeTo(s, prefix); ops != nil {
		ops.Clear(k)
	}
}

// Has says whether the set of a key has an element. It waits for the table's shard; an error fails the record at hand too.
func (t *SetTable[K, E]) Has(ctx Reader, key K, element E) (bool, error) {
	_, ok, err := t.rows.Get(ctx, member[K, E]{key, element})
	return ok, err
}

// Len returns how many elements the set of a key has. They are counted in the shard.
func (t *SetTable[K, E]) Len(ctx Reader, key K) (int, error) {
	s := ctx.turn()
	prefix, err := t.prefix(key)
	if err == nil {
		err = t.rows.def.here(s, prefix)
	}
	n := 0
	if err == nil {
		n, err = t.rows.count(s, prefix, successor(prefix))
	}
	if err != nil {
		s.effects().Fail(err)
	}
	return n, err
}

// Elements yields the elements of the set of a key, in the order of their encoded bytes. Each few hundred are read as of one moment.
// An error ends it and fails the record at hand.
func (t *SetTable[K, E]) Elements(ctx Reader, key K, opts ...ScanOption) iter.Seq[E] {
	s := ctx.turn()
	prefix, err := t.prefix(key)
	if err == nil {
		err = t.rows.def.here(s, prefix)
	}
	if err != nil {
		s.effects().Fail(err)
		return func(func(E) bool) {}
	}
	return func(yield func(E) bool) {
		for m := range t.rows.scan(s, prefix, successor(prefix), true, opts...) {
			if !yield(m.Element) {
				return
			}
		}
	}
}

// All yields all elements of the partition's shard with their keys; those of a key come together.
func (t *SetTable[K, E]) All(ctx Reader, opts ...ScanOption) iter.Seq2[K, E] {
	return func(yield func(K, E) bool) {
		for m := range t.rows.All(ctx, opts...) {
			if !yield(m.Key, m.Element) {
				return
			}
		}
	}
}

// DecodeMember decodes a row's key: for tools.
func (t *SetTable[K, E]) DecodeMember(b []byte) (K, E, error) {
	m, err := t.rows.kc.Decode(b)
	return m.Key, m.Element, err
}

// prefix is what the encodings of a key's elements begin with, and of no other key's: the key, framed by its length.
func (t *SetTable[K, E]) prefix(key K) ([]byte, error) {
	b, err := appendFramed(nil, t.keys, key)
	if err != nil {
		return nil, lasting("table %s: encode the key: %w", t.rows.def.name, redact.Of(err))
	}
	return b, nil
}

// memberCodec writes the length of the key, the key, and the element behind it.
type memberCodec[K, E any] struct {
	keys     codec.Codec[K]
	elements codec.Codec[E]
}

func appendFramed[K any](dst []byte, keys codec.Codec[K], key K) ([]byte, error) {
	k, err := keys.Append(nil, key)
	if err != nil {
		return dst, err
	}
	return append(binary.AppendUvarint(dst, uint64(len(k))), k...), nil
}

// Append implements codec.Codec.
func (c memberCodec[K, E]) Append(dst []byte, m member[K, E]) ([]byte, error) {
	dst, err := appendFramed(dst, c.keys, m.Key)
	if err != nil {
		return dst, err
	}
	return c.elements.Append(dst, m.Element)
}

var errMember = errors.New("not a key and an element of a set table")

// Decode implements codec.Codec.
func (c memberCodec[K, E]) Decode(b []byte) (m member[K, E], err error) {
	k, e, ok := splitMember(b)
	if !ok {
		return m, errMember
	}
	if m.Key, err = c.keys.Decode(k); err != nil {
		return m, err
	}
	m.Element, err = c.elements.Decode(e)
	return m, err
}

// Check implements codec.Checker.
func (c memberCodec[K, E]) Check() error {
	return errors.Join(codec.Check(c.keys), codec.Check(c.elements))
}

// CheckKey implements codec.KeyChecker.
func (c memberCodec[K, E]) CheckKey() error {
	if err := codec.CheckKey(c.keys); err != nil {
		return err
	}
	if err := codec.CheckKey(c.elements); err != nil {
		return fmt.Errorf("its elements: %w", err)
	}
	return nil
}

// splitMember takes the key of a row apart.
func splitMember(b []byte) (key, element []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	b = b[size:]
	return b[:n:n], b[n:], true
}

// setKey is the part of a row's key that says where it belongs.
func setKey(b []byte) []byte {
	if k, _, ok := splitMember(b); ok {
		return k
	}
	return b
}

// validMember asks keys and elements that have a Validate.
func validMember[K, E any]() func(member[K, E]) error {
	k, e := codec.Validator[K](), codec.Validator[E]()
	if k == nil && e == nil {
		return nil
	}
	return func(m member[K, E]) error {
		if k != nil {
			if err := k(m.Key); err != nil {
				return err
			}
		}
		if e != nil {
			return e(m.Element)
		}
		return nil
	}
}
