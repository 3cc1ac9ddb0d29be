package tables

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/internal/poison"
	"github.com/troupe-stream/troupe/kafka"
)

// kind is what an operation does.
type kind uint8

const (
	opSet kind = iota
	opDelete
	opUpdate
	opRow
	opClear
	opTime   // the time of what follows is in the arena
	opExpire // so is after how long the entry expires
)

// op is one operation. Its key, and its value where values are kept encoded, are in the arena.
type op[V any] struct {
	keyPos, keyLen uint32
	valPos, valLen uint32
	kind           kind
	arg            int32
	val            V
	update         func(V, bool) (V, error)
	row            func(*Row[V], int32) error
}

// OpsOf is a flat batch of operations on a shard with values of type V. It has one owner at a time.
type OpsOf[V any] struct {
	spec    *Spec[V]
	encoded bool
	arena   []byte
	ops     []op[V]
	clock   int64      // what Tick said
	time    int64      // what the last Time said
	spare   *sync.Pool // of *opList[V]: arrays that were used before, for those that Fresh makes
	list    *opList[V] // that ops began in; nil: an array of its own
}

// opList is an array of operations that is used again.
type opList[V any] struct{ ops []op[V] }

// spareOps is how long an array of operations may be that is kept.
const spareOps = 1 << 14

// NewOps makes an empty batch of operations on a table.
func NewOps[V any](s *Spec[V]) *OpsOf[V] {
	return &OpsOf[V]{spec: s, encoded: s.encoded(), spare: new(sync.Pool)}
}

func (o *OpsOf[V]) add(key []byte, x op[V]) {
	x.keyPos, x.keyLen = uint32(len(o.arena)), uint32(len(key))
	o.arena = append(o.arena, key...)
	o.ops = append(o.ops, x)
}

// Set sets the value of a key. A value of a type with references is encoded at once: the caller may change it afterwards.
// The error is the codec's, or says that the value is not valid.
func (o *OpsOf[V]) Set(key []byte, v V) error {
	if o.spec.Valid != nil {
		if err := o.spec.Valid(v); err != nil {
			return err
		}
	}
	x := op[V]{kind: opSet, keyPos: uint32(len(o.arena)), keyLen: uint32(len(key))}
	before := len(o.arena)
	o.arena = append(o.arena, key...)
	if o.encoded {
		x.valPos = uint32(len(o.arena))
		arena, err := o.spec.Codec.Append(o.spec.stamp(o.arena, 0), v)
		if err != nil {
			o.arena = o.arena[:before]
			return err
		}
		o.arena, x.valLen = arena, uint32(len(arena))-x.valPos
	} else {
		x.val = v
	}
	o.ops = append(o.ops, x)
	return nil
}

// Delete deletes a key.
func (o *OpsOf[V]) Delete(key []byte) { o.add(key, op[V]{kind: opDelete}) }

// Clear deletes all keys that begin with a prefix. The table should be Ordered: else the whole shard is looked through.
func (o *OpsOf[V]) Clear(prefix []byte) { o.add(prefix, op[V]{kind: opClear}) }

// Update replaces the value of a key by what fn makes of it, in the shard, later, perhaps twice: fn must be pure.
func (o *OpsOf[V]) Update(key []byte, fn func(old V, ok bool) (V, error)) {
	o.add(key, op[V]{kind: opUpdate, update: fn})
}

// Row lets fn read and write the row of a key, in the shard, later, perhaps twice. arg is passed on to it: one function
// serves a whole run of records.
func (o *OpsOf[V]) Row(key []byte, arg int32, fn func(row *Row[V], arg int32) error) {
	o.add(key, op[V]{kind: opRow, arg: arg, row: fn})
}

// Time says what the time of the record is whose turn asks for what follows, in milliseconds, 0 for one that has none. It is for tables
// whose entries expire; others ignore it.
func (o *OpsOf[V]) Time(ms int64) {
	if o.spec.TTL == nil || o.time == ms+1 {
		return
	}
	o.time = ms + 1 // 0 is nothing
	o.add(binary.BigEndian.AppendUint64(nil, uint64(ms)), op[V]{kind: opTime})
}

// SetTTL is Set of an entry that expires so long after its write, whatever the table says.
func (o *OpsOf[V]) SetTTL(key []byte, v V, after time.Duration) error {
	ms, err := o.spec.expires(after)
	if err != nil {
		return err
	}
	if err := o.Set(key, v); err != nil {
		return err
	}
	o.add(key, op[V]{kind: opExpire, valPos: uint32(len(o.arena) + len(key)), valLen: 8})
	o.arena = binary.BigEndian.AppendUint64(o.arena, uint64(ms))
	return nil
}

// expires checks what SetTTL is given, and makes milliseconds of it.
func (s *Spec[V]) expires(after time.Duration) (int64, error) {
	if s.TTL == nil {
		return 0, fmt.Errorf("table %s does not let entries expire: declare it with topology.TTL", s.Name)
	}
	if after < time.Millisecond {
		return 0, fmt.Errorf("table %s: an entry that expires after %v: it must be a millisecond at least", s.Name, after)
	}
	return after.Milliseconds(), nil
}

// Tick implements Ops.
func (o *OpsOf[V]) Tick(ms int64) { o.clock = max(o.clock, ms) }

// Len implements Ops.
func (o *OpsOf[V]) Len() int { return len(o.ops) }

// AppendAll implements Ops.
func (o *OpsOf[V]) AppendAll(other Ops) {
	from := other.(*OpsOf[V]) //nolint:forcetypeassert // a table has one type of operations
	base := uint32(len(o.arena))
	o.arena = append(o.arena, from.arena...)
	o.clock, o.time = max(o.clock, from.clock), from.time
	if len(from.ops) == 1 { // most turns ask for one thing: without calls into the runtime
		x := from.ops[0]
		x.keyPos, x.valPos = x.keyPos+base, x.valPos+base
		o.ops = append(o.ops, x)
		return
	}
	n := len(o.ops)
	o.ops = append(o.ops, from.ops...)
	for i := n; i < len(o.ops); i++ {
		o.ops[i].keyPos += base
		o.ops[i].valPos += base
	}
}

// Fresh implements Ops. Keys are in an arena of their own, which functions may have seen, and which is not used again.
func (o *OpsOf[V]) Fresh(n, size int) Ops {
	list, ok := o.spare.Get().(*opList[V])
	if !ok {
		list = &opList[V]{make([]op[V], 0, n)}
	}
	return &OpsOf[V]{spec: o.spec, encoded: o.encoded, spare: o.spare, list: list, ops: list.ops, arena: make([]byte, 0, size)}
}

// Free implements Ops.
func (o *OpsOf[V]) Free() {
	list, ops := o.list, o.ops
	o.list, o.ops, o.arena = nil, nil, nil
	if list == nil || cap(ops) > spareOps {
		return
	}
	o.forget(ops)
	list.ops = ops[:0]
	o.spare.Put(list)
}

// forget lets go of what operations hold.
func (o *OpsOf[V]) forget(ops []op[V]) {
	if len(ops) == 1 { // as in AppendAll
		ops[0] = op[V]{}
	} else {
		clear(ops) // their functions and values are garbage now
	}
	if poison.On {
		for i := range ops {
			ops[i] = op[V]{kind: opUpdate, keyPos: math.MaxUint32 / 2, keyLen: 1} // no arena has that, and no function is there
		}
	}
}

// Size implements Ops.
func (o *OpsOf[V]) Size() int { return len(o.arena) }

// Reset implements Ops.
func (o *OpsOf[V]) Reset() {
	o.forget(o.ops)
	o.arena, o.ops, o.clock, o.time = o.arena[:0], o.ops[:0], 0, 0
}

func (o *OpsOf[V]) key(x *op[V]) []byte {
	return o.arena[x.keyPos : x.keyPos+x.keyLen : x.keyPos+x.keyLen]
}

func (o *OpsOf[V]) value(x *op[V]) []byte {
	return o.arena[x.valPos : x.valPos+x.valLen : x.valPos+x.valLen]
}

// Row is the row of one key while a function runs inside the shard. It must not be kept.
type Row[V any] struct {
	// Out takes what the function sends.
	Out *kafka.Outputs
	// At is the time that Set gives the row, in a Stamped table: Unix milliseconds.
	At int64
	// Touched says that the row has been set or deleted.
	Touched bool

	shard *ShardOf[V]
	key   []byte
	epoch int64
	err   error
}

// Key returns the row's key, encoded. It must not be changed or kept.
func (r *Row[V]) Key() []byte { return r.key }

// Get returns the row's value; for a type with references, a copy of its own.
func (r *Row[V]) Get() (v V, ok bool) {
	v, ok, err := r.shard.get(r.key)
	r.fail(err)
	return v, ok
}

// Set sets the row's value.
func (r *Row[V]) Set(v V) {
	r.Touched = true
	r.fail(r.shard.set(r.epoch, r.key, v, r.At))
}

// SetTTL sets the row's value, and that it expires so long after this write.
func (r *Row[V]) SetTTL(v V, after time.Duration) {
	r.Touched = true
	ms, err := r.shard.spec.expires(after)
	if err == nil {
		err = r.shard.set(r.epoch, r.key, v, r.At)
	}
	if err == nil {
		r.shard.lives(r.epoch, r.key, ms)
	}
	r.fail(err)
}

// Delete deletes the row.
func (r *Row[V]) Delete() {
	r.Touched = true
	r.shard.delete(r.epoch, r.key)
}

func (r *Row[V]) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
