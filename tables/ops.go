package tables

// OpsOf is a batch of operations on one shard of a table with values of type V. Nothing is allocated per operation but
// the growth of a few slices.
//
// One goroutine at a time may add operations; keys are copied. Once handed to a shard a batch must not be changed.
type OpsOf[V any] struct {
	// MaxBytes is max.message.bytes of the changelog topic: Set refuses a value that would not fit. Defaults to 0, no limit.
	MaxBytes int

	spec    *Spec[V]
	layout  layout
	ops     []op
	arena   []byte // keys and encoded values
	values  []V    // of sets, where values are kept typed
	updates []func(old V, ok bool) (V, error)
	rows    []func(row *Row[V], arg int32) error
	scratch []byte
}

type opKind uint8

const (
	opSet opKind = iota
	opDelete
	opUpdate
	opRow
)

// op is one operation: where its key is in the arena, the encoded value behind it, and where its value or function is in
// the slice of its kind.
type op struct {
	pos      int
	keyLen   int32
	valueLen int32
	at       int32
	arg      int32
	kind     opKind
}

// NewOps returns an empty batch of operations on a table.
func NewOps[V any](spec *Spec[V]) *OpsOf[V] { return &OpsOf[V]{spec: spec, layout: layoutOf[V]()} }

// Set sets the value of a key. Where the value's type holds references it is encoded before Set returns, so the caller may
// change it afterwards. Errors are a [*FuncError] with the codec's error, and a [*TooLargeError]; nothing is added then.
func (o *OpsOf[V]) Set(key []byte, v V) error {
	next := op{pos: len(o.arena), keyLen: int32(len(key)), kind: opSet}
	switch {
	case !o.layout.typed:
		arena, err := o.spec.Codec.Append(append(o.arena, key...), v)
		if err != nil {
			return failed(o.spec.Name, key, err)
		}
		n := len(arena) - len(o.arena) - len(key)
		if err := tooLarge(o.spec.Name, key, n, o.MaxBytes); err != nil {
			return err
		}
		next.valueLen = int32(n)
		o.arena = arena
	default:
		if o.layout.strings && o.MaxBytes > 0 {
			b, err := o.spec.Codec.Append(o.scratch[:0], v)
			if err != nil {
				return failed(o.spec.Name, key, err)
			}
			o.scratch = b
			if err := tooLarge(o.spec.Name, key, len(b), o.MaxBytes); err != nil {
				return err
			}
		}
		next.at = int32(len(o.values))
		o.values = append(o.values, v)
		o.arena = append(o.arena, key...)
	}
	o.ops = append(o.ops, next)
	return nil
}

// Delete deletes a key; nothing happens if it is not there.
func (o *OpsOf[V]) Delete(key []byte) { o.add(key, opDelete, 0, 0) }

// Update sets a key to what fn returns for its old value; ok is false and old the zero value if it has none. fn runs
// later, in the shard, perhaps more than once: it must depend on nothing but its arguments, and may change old and keep
// it. An error or panic changes nothing and fails the record.
func (o *OpsOf[V]) Update(key []byte, fn func(old V, ok bool) (V, error)) {
	o.add(key, opUpdate, len(o.updates), 0)
	o.updates = append(o.updates, fn)
}

// Row runs fn with the row of a key, and with arg, by which a function shared by many operations tells them apart. What
// is said of the function of Update holds for it too.
func (o *OpsOf[V]) Row(key []byte, arg int32, fn func(row *Row[V], arg int32) error) {
	o.add(key, opRow, len(o.rows), arg)
	o.rows = append(o.rows, fn)
}

func (o *OpsOf[V]) add(key []byte, kind opKind, at int, arg int32) {
	o.ops = append(o.ops, op{pos: len(o.arena), keyLen: int32(len(key)), at: int32(at), arg: arg, kind: kind})
	o.arena = append(o.arena, key...)
}

// Len is the number of operations.
func (o *OpsOf[V]) Len() int { return len(o.ops) }

// AppendAll adds all operations of other, which must be of the same table and is left as it is.
func (o *OpsOf[V]) AppendAll(other Ops) {
	from := other.(*OpsOf[V])
	pos, values, updates, rows := len(o.arena), int32(len(o.values)), int32(len(o.updates)), int32(len(o.rows))
	for _, p := range from.ops {
		p.pos += pos
		switch p.kind {
		case opSet:
			p.at += values
		case opUpdate:
			p.at += updates
		case opRow:
			p.at += rows
		case opDelete:
		}
		o.ops = append(o.ops, p)
	}
	o.arena = append(o.arena, from.arena...)
	o.values = append(o.values, from.values...)
	o.updates = append(o.updates, from.updates...)
	o.rows = append(o.rows, from.rows...)
}

// Fresh returns a new empty batch for the same table, with the same limit.
func (o *OpsOf[V]) Fresh() Ops {
	return &OpsOf[V]{MaxBytes: o.MaxBytes, spec: o.spec, layout: o.layout}
}

// Reset empties the batch and keeps its memory: only for one that nobody else has seen.
func (o *OpsOf[V]) Reset() {
	clear(o.values)
	clear(o.updates)
	clear(o.rows)
	o.ops, o.arena, o.values, o.updates, o.rows = o.ops[:0], o.arena[:0], o.values[:0], o.updates[:0], o.rows[:0]
}

func (o *OpsOf[V]) key(p *op) []byte {
	end := p.pos + int(p.keyLen)
	return o.arena[p.pos:end:end]
}

func (o *OpsOf[V]) encoded(p *op) []byte {
	from := p.pos + int(p.keyLen)
	return o.arena[from : from+int(p.valueLen)]
}
