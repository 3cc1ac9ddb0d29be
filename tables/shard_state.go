package tables

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/tidwall/btree"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// The headers of changelog records: their owner's generation of the slot, the version of the codec, and when the entry expires, each
// only where there is such a thing.
const (
	generationHeader = "g"
	versionHeader    = "v"
	expiryHeader     = "x"
)

// entry is one key and its value.
type entry[V any] struct {
	key   string
	val   V
	enc   []byte // instead of val, where values are kept encoded
	live  bool
	hash  uint32
	epoch int64 // in which it was touched last
	pins  int32 // undo values of it
	first ref   // the oldest undo value, if pins > 0
	last  ref   // the newest
}

// ref is a place in the undo lists.
type ref struct {
	epoch int64
	at    int32
}

// undo is what an entry was before an epoch touched it.
type undo[V any] struct {
	entry     int32
	live      bool
	had, more bool
	val       V
	enc       []byte
	epoch     int64 // the entry's epoch before
	prev      ref   // the undo value before, if had
	next      ref   // the undo value after this one, if more
}

// epochLog is the undo list of one epoch: what it touched, and so what is to be journaled for it.
type epochLog[V any] struct {
	epoch int64
	undos []undo[V]
}

// ShardOf is the state of one partition of a table with values of type V. It implements Shard.
type ShardOf[V any] struct {
	spec    *Spec[V]
	cfg     Config
	encoded bool

	index   map[string]int32
	entries []entry[V]
	free    []int32
	slab    []byte // keys are cut from it
	order   *btree.Map[string, int32]
	due     *btree.BTreeG[pending] // of a table of timers; nil otherwise
	logs    []epochLog[V]          // oldest first
	spare   [][]undo[V]            // empty lists that were used before
	failed  bool
	newest  uint64 // generation seen while restoring
	bytes   int64
	live    int
	undos   int
	ttl     *expiry         // nil: entries do not expire
	indexes []*side[string] // as Spec.Indexes
	group   *Group          // of shards that functions may go on to; nil: it is alone
	buckets buckets
	loading bool   // pages are being loaded: their number is given
	header  []byte // of changelog records
	marked  []byte // the same with more
	scratch []byte
	sealed  int // bytes that the last epoch had to journal, and some more
}

// New makes an empty shard.
func New[V any](s *Spec[V], cfg Config) *ShardOf[V] {
	x := &ShardOf[V]{spec: s, cfg: cfg, encoded: s.encoded()}
	if cfg.Generation > 0 {
		x.header = kafka.AppendHeaders(nil, kafka.Header{Key: generationHeader, Value: binary.AppendUvarint(nil, cfg.Generation)})
	}
	if s.Version > 0 {
		x.header = append(x.header, kafka.AppendHeaders(nil, kafka.Header{Key: versionHeader, Value: binary.AppendUvarint(nil, s.Version)})...)
	}
	x.Clear()
	return x
}

// Clear implements Shard.
func (s *ShardOf[V]) Clear() {
	s.index, s.entries, s.free, s.logs, s.spare = map[string]int32{}, nil, nil, nil, nil
	s.failed, s.newest, s.bytes, s.live, s.undos = false, 0, 0, 0, 0
	s.order = nil
	if s.spec.Ordered {
		s.order = new(btree.Map[string, int32])
	}
	s.ttl = newExpiry(s.spec.TTL, s.cfg.Clock)
	s.indexes = nil
	for range s.spec.Indexes {
		s.indexes = append(s.indexes, newSide[string]())
	}
	if s.due = nil; s.spec.Timer != nil {
		s.due = newPending()
	}
	s.buckets.reset(minBuckets)
}

// Apply implements Shard.
func (s *ShardOf[V]) Apply(epoch int64, ops Ops, out *kafka.Outputs) error {
	if s.failed {
		return ErrFailed
	}
	o, ok := ops.(*OpsOf[V])
	if !ok {
		return fmt.Errorf("table %s: operations of type %T on values of type %s", s.spec.Name, ops, reflect.TypeFor[V]())
	}
	s.failed = true // a panic leaves it so
	if err := s.apply(epoch, o, out); err != nil {
		return err
	}
	s.expire(epoch, o.Len())
	s.failed = false
	return nil
}

func (s *ShardOf[V]) apply(epoch int64, o *OpsOf[V], out *kafka.Outputs) error {
	row := Row[V]{shard: s, epoch: epoch, Out: out}
	if s.ttl != nil {
		s.ttl.tick(epoch, o.clock)
		s.ttl.begin(epoch, 0)
	}
	if s.group != nil {
		s.group.epoch, s.group.out = epoch, out
	}
	for i := range o.ops {
		x := &o.ops[i]
		key := o.key(x)
		var err error
		switch x.kind {
		case opSet:
			i := s.touch(epoch, key)
			s.store(i, x.val, o.value(x))
			err = s.written(epoch, i)
		case opDelete:
			s.delete(epoch, key)
		case opClear:
			s.deletePrefix(epoch, key)
		case opTime:
			s.ttl.begin(epoch, int64(binary.BigEndian.Uint64(key)))
		case opExpire:
			s.lives(epoch, key, int64(binary.BigEndian.Uint64(o.value(x))))
		case opUpdate:
			s.calls()
			err = s.update(epoch, key, x.update)
		case opRow:
			row.key, row.err, row.At, row.Touched = key, nil, 0, false
			s.calls()
			if err = x.row(&row, x.arg); err == nil {
				err = row.err
			}
		}
		if err != nil {
			return &FuncError{s.spec.Name, append([]byte(nil), key...), err}
		}
	}
	return nil
}

func (s *ShardOf[V]) calls() {
	if s.cfg.Calls != nil {
		s.cfg.Calls.Add(1)
	}
}

func (s *ShardOf[V]) update(epoch int64, key []byte, fn func(V, bool) (V, error)) error {
	i, found := s.index[string(key)]
	old, ok, err := s.valueAt(key, i, found)
	if err != nil {
		return err
	}
	v, err := fn(old, ok)
	if err != nil {
		return err
	}
	enc, err := s.encode(v, 0)
	if err != nil {
		return err
	}
	if !found {
		i = s.insert(key)
	}
	s.note(epoch, i)
	s.store(i, v, enc)
	return s.written(epoch, i)
}

// get returns the value of a key as applied.
func (s *ShardOf[V]) get(key []byte) (v V, ok bool, err error) {
	i, found := s.index[string(key)]
	return s.valueAt(key, i, found)
}

// valueAt is get of a key that was looked for.
func (s *ShardOf[V]) valueAt(key []byte, i int32, found bool) (v V, ok bool, err error) {
	if !found || !s.entries[i].live || s.ttl.gone(s.entries[i].key, false) {
		return s.spec.missing(), false, nil
	}
	e := &s.entries[i]
	if !s.encoded {
		return e.val, true, nil
	}
	v, err = s.decode(key, e.enc)
	return v, err == nil, err
}

func (s *ShardOf[V]) decode(key, enc []byte) (V, error) {
	enc = s.plain(enc)
	if s.encoded {
		enc = append(make([]byte, 0, len(enc)), enc...) // what a codec decodes may share its bytes, and the user may change it
	}
	v, err := s.spec.Codec.Decode(enc)
	if err != nil {
		err = fmt.Errorf("decode the value of table %s, key %q: %w", s.spec.Name, key, err)
	}
	return v, err
}

// set encodes before it touches anything: a codec's error, or a value that is not valid, changes nothing.
func (s *ShardOf[V]) set(epoch int64, key []byte, v V, at int64) error {
	enc, err := s.encode(v, at)
	if err != nil {
		return err
	}
	i := s.touch(epoch, key)
	s.store(i, v, enc)
	return s.written(epoch, i)
}

// encode checks a value, and encodes it where values are kept so. The bytes hold until the next call.
func (s *ShardOf[V]) encode(v V, at int64) (enc []byte, err error) {
	if s.spec.Valid != nil {
		if err := s.spec.Valid(v); err != nil {
			return nil, err
		}
	}
	if s.encoded {
		if enc, err = s.spec.Codec.Append(s.spec.stamp(s.scratch[:0], at), v); err != nil {
			return nil, fmt.Errorf("encode the value: %w", err)
		}
		s.scratch = enc
	}
	return enc, nil
}

// written notes beside an entry that was written what follows from that.
func (s *ShardOf[V]) written(epoch int64, i int32) error {
	if s.ttl != nil {
		s.ttl.written(epoch, s.entries[i].key, s.ttl.after)
	}
	if len(s.indexes) > 0 {
		return s.reindex(epoch, &s.entries[i])
	}
	return nil
}

// lives says that an entry that was written expires after so many milliseconds.
func (s *ShardOf[V]) lives(epoch int64, key []byte, ms int64) {
	if i, ok := s.index[string(key)]; ok && s.entries[i].live {
		s.ttl.written(epoch, s.entries[i].key, ms)
	}
}

// store puts a value into an entry; encoded bytes are copied.
func (s *ShardOf[V]) store(i int32, v V, enc []byte) {
	e := &s.entries[i]
	s.disarm(e)
	if !e.live {
		e.live = true
		s.live++
	}
	if s.encoded {
		s.bytes += int64(len(enc) - len(e.enc))
		e.enc = append(make([]byte, 0, len(enc)), enc...) // the old one may be in an undo list
		return
	}
	e.val = v
	s.arm(e)
}

func (s *ShardOf[V]) delete(epoch int64, key []byte) {
	i, ok := s.index[string(key)]
	if !ok || !s.entries[i].live {
		return
	}
	s.touch(epoch, key)
	e := &s.entries[i]
	s.disarm(e)
	s.bytes -= int64(len(e.enc))
	e.live, e.enc = false, nil
	var zero V
	e.val = zero
	s.live--
	s.ttl.deleted(epoch, e.key)
	s.unindex(epoch, e.key)
}

// deletePrefix deletes all keys that begin with a prefix.
func (s *ShardOf[V]) deletePrefix(epoch int64, prefix []byte) {
	var keys []string
	s.each(prefix, nil, false, func(e *entry[V]) bool {
		if !strings.HasPrefix(e.key, string(prefix)) {
			return false
		}
		if e.live {
			keys = append(keys, e.key)
		}
		return true
	})
	for _, k := range keys {
		s.delete(epoch, keyBytes(k))
	}
}

// touch returns the entry of a key, made if need be, with its value noted for undo if the epoch has not touched it yet.
func (s *ShardOf[V]) touch(epoch int64, key []byte) int32 {
	i, ok := s.index[string(key)]
	if !ok {
		i = s.insert(key)
	}
	s.note(epoch, i)
	return i
}

// note notes the value of an entry for undo if the epoch has not touched it yet.
func (s *ShardOf[V]) note(epoch int64, i int32) {
	e := &s.entries[i]
	if e.pins > 0 && e.epoch == epoch {
		return
	}
	log := s.log(epoch)
	u := undo[V]{entry: i, live: e.live, val: e.val, enc: e.enc, epoch: e.epoch}
	here := ref{epoch, int32(len(log.undos))}
	if e.pins > 0 {
		u.prev, u.had = e.last, true
		p := s.at(e.last)
		p.next, p.more = here, true
	} else {
		e.first = here
	}
	log.undos = append(log.undos, u)
	e.last, e.epoch = here, epoch
	e.pins++
	s.undos++
}

// log returns the undo list of an epoch, which is the newest or newer.
func (s *ShardOf[V]) log(epoch int64) *epochLog[V] {
	if n := len(s.logs); n == 0 || s.logs[n-1].epoch < epoch {
		log := epochLog[V]{epoch: epoch}
		if n := len(s.spare); n > 0 {
			log.undos, s.spare = s.spare[n-1], s.spare[:n-1]
		}
		s.logs = append(s.logs, log)
	}
	return &s.logs[len(s.logs)-1]
}

// Undo lists are used again: so many of them, and none that is much larger than what it was used for.
const (
	spareLists = 4
	spareExtra = 8
)

// reuse keeps the memory of an undo list that is done with. Nobody outside the shard has ever seen it.
func (s *ShardOf[V]) reuse(undos []undo[V]) {
	if len(s.spare) < spareLists && cap(undos) <= spareExtra*len(undos) {
		clear(undos) // what it holds is garbage now
		s.spare = append(s.spare, undos[:0])
	}
}

func (s *ShardOf[V]) at(r ref) *undo[V] {
	for _, v := range slices.Backward(s.logs) {
		if v.epoch == r.epoch {
			return &v.undos[r.at]
		}
	}
	panic(fmt.Sprintf("tables: no undo list of epoch %d", r.epoch)) // a bug here
}

// insert makes an entry without a value.
func (s *ShardOf[V]) insert(key []byte) int32 {
	if len(s.slab)+len(key) > cap(s.slab) {
		s.slab = make([]byte, 0, max(64<<10, len(key)))
	}
	n := len(s.slab)
	s.slab = append(s.slab, key...)
	k := ""
	if len(key) > 0 {
		k = unsafe.String(&s.slab[n], len(key)) // the slab is only ever appended to
	}
	e := entry[V]{key: k, hash: crc32.Checksum(key, castagnoli)}
	i := int32(len(s.entries))
	if m := len(s.free); m > 0 {
		i, s.free = s.free[m-1], s.free[:m-1]
		s.entries[i] = e
	} else {
		s.entries = append(s.entries, e)
	}
	s.index[k] = i
	if s.order != nil {
		s.order.Set(k, i)
	}
	s.bytes += int64(len(key)) + int64(unsafe.Sizeof(e))
	s.buckets.add(i, e.hash)
	if s.buckets.full(len(s.index)) && !s.loading {
		s.buckets.grow(func(yield func(int32, uint32)) {
			for _, i := range s.index {
				yield(i, s.entries[i].hash)
			}
		})
	}
	return i
}

// remove forgets an entry that is not live and has no undo values.
func (s *ShardOf[V]) remove(i int32) {
	e := &s.entries[i]
	s.buckets.remove(i, e.hash)
	delete(s.index, e.key)
	if s.order != nil {
		s.order.Delete(e.key)
	}
	s.bytes -= int64(len(e.key)) + int64(unsafe.Sizeof(*e))
	*e = entry[V]{}
	s.free = append(s.free, i)
}

// Seal implements Shard.
func (s *ShardOf[V]) Seal(epoch int64, out *kafka.Outputs) error {
	if s.failed {
		return ErrFailed
	}
	if n := len(s.logs); n == 0 || s.logs[n-1].epoch != epoch {
		return nil
	}
	s.failed = true
	log := &s.logs[len(s.logs)-1]
	out.Grow(len(log.undos), s.sealed)
	before := len(out.Arena)
	for j := range log.undos {
		u := &log.undos[j]
		e := &s.entries[u.entry]
		if !e.live && !u.live {
			continue // made and deleted again
		}
		value, at := s.plain(e.enc), s.stampOf(e.enc)
		if e.live && !s.encoded {
			var err error
			if s.scratch, err = s.spec.Codec.Append(s.scratch[:0], e.val); err != nil {
				return &FuncError{s.spec.Name, []byte(e.key), fmt.Errorf("encode the value: %w", err)}
			}
			value = s.scratch
		}
		if !e.live {
			value = nil
		} else if value == nil {
			value = []byte{}
		}
		if size := len(e.key) + len(value); s.cfg.MaxBytes > 0 && size+recordOverhead > s.cfg.MaxBytes {
			return &TooLargeError{s.spec.Name, []byte(e.key), size, s.cfg.MaxBytes}
		}
		out.Append(s.cfg.Changelog, s.cfg.Partition, at, keyBytes(e.key), value, s.headerOf(e))
	}
	s.sealed = len(out.Arena) - before + len(out.Arena)/8
	s.failed = false
	return nil
}

// headerOf is the header of an entry's changelog record.
func (s *ShardOf[V]) headerOf(e *entry[V]) []byte {
	if s.ttl == nil || !e.live {
		return s.header
	}
	at, ok := s.ttl.of[e.key]
	if !ok {
		return s.header
	}
	s.marked = append(s.marked[:0], s.header...)
	s.marked = kafka.AppendHeaders(s.marked, kafka.Header{Key: expiryHeader, Value: binary.AppendVarint(nil, at)})
	return s.marked
}

// keyBytes is a key as bytes, which must not be changed; an empty key is not null.
func keyBytes(k string) []byte {
	if k == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(k), len(k))
}

// Undo implements Shard.
func (s *ShardOf[V]) Undo(to int64) {
	s.failed = false
	if s.ttl != nil {
		s.ttl.undo(to)
	}
	for _, x := range s.indexes {
		x.undo(to)
	}
	for n := len(s.logs); n > 0 && s.logs[n-1].epoch > to; n = len(s.logs) {
		log := &s.logs[n-1]
		for j := len(log.undos) - 1; j >= 0; j-- {
			if j == 0 && len(log.undos) > 1 && plant.Is("undo skips a key") {
				break
			}
			s.revert(&log.undos[j])
		}
		s.reuse(log.undos)
		s.logs[n-1] = epochLog[V]{}
		s.logs = s.logs[:n-1]
	}
}

func (s *ShardOf[V]) revert(u *undo[V]) {
	e := &s.entries[u.entry]
	s.disarm(e)
	if e.live != u.live {
		if u.live {
			s.live++
		} else {
			s.live--
		}
	}
	s.bytes += int64(len(u.enc) - len(e.enc))
	e.live, e.val, e.enc, e.epoch = u.live, u.val, u.enc, u.epoch
	s.arm(e)
	e.pins--
	s.undos--
	if u.had {
		e.last = u.prev
		s.at(u.prev).more = false
	}
	if e.pins == 0 && !e.live {
		s.remove(u.entry)
	}
}

// Committed implements Shard.
func (s *ShardOf[V]) Committed(epoch int64) {
	if s.ttl != nil {
		s.ttl.committed(epoch)
	}
	for _, x := range s.indexes {
		x.committed(epoch)
	}
	n := 0
	for n < len(s.logs) && s.logs[n].epoch <= epoch {
		for j := range s.logs[n].undos {
			u := &s.logs[n].undos[j]
			e := &s.entries[u.entry]
			e.pins--
			s.undos--
			s.buckets.touch(e.hash)
			if u.more {
				e.first = u.next
				s.at(u.next).had = false
			}
			if e.pins == 0 && !e.live {
				s.remove(u.entry)
			}
		}
		s.reuse(s.logs[n].undos)
		n++
	}
	if n > 0 {
		m := copy(s.logs, s.logs[n:])
		clear(s.logs[m:])
		s.logs = s.logs[:m]
	}
}

// committedOf is an entry's committed value: the oldest undo value where there is one.
func (s *ShardOf[V]) committedOf(e *entry[V]) (v V, enc []byte, live bool) {
	if e.pins > 0 {
		u := s.at(e.first)
		if plant.Is("blind-5") {
			u = s.at(e.last)
		}
		return u.val, u.enc, u.live
	}
	return e.val, e.enc, e.live
}

// Replay implements Shard.
func (s *ShardOf[V]) Replay(b *kafka.Batch) (applied int, err error) {
	for i := range b.Records {
		key, value := b.Key(i), b.Value(i)
		h := stampOf(b, i)
		if h.generation > 0 {
			if h.generation < s.newest {
				continue // a zombie's queue
			}
			s.newest = h.generation
		}
		applied++
		if value != nil && h.version != s.spec.Version {
			if value, err = s.spec.Current(h.version, value); err != nil {
				return applied, fmt.Errorf("record at offset %d: %w", b.Records[i].Offset, err)
			}
		}
		if err := s.load(key, s.stamped(value, b.Records[i].Timestamp), h.expires); err != nil {
			return applied, fmt.Errorf("record at offset %d: %w", b.Records[i].Offset, err)
		}
	}
	return applied, nil
}

// stamp is what the headers of a changelog record say; 0 where there is none.
type stamp struct {
	generation, version uint64
	expires             int64
}

func stampOf(b *kafka.Batch, i int) (x stamp) {
	for h := range b.Headers(i) {
		switch h.Key {
		case generationHeader:
			x.generation, _ = binary.Uvarint(h.Value)
		case versionHeader:
			x.version, _ = binary.Uvarint(h.Value)
		case expiryHeader:
			x.expires, _ = binary.Varint(h.Value)
		}
	}
	return x
}

func generationOf(b *kafka.Batch, i int) (uint64, bool) {
	g := stampOf(b, i).generation
	return g, g > 0
}

// VersionOf is the version of the codec that a record of a changelog was written with.
func VersionOf(b *kafka.Batch, i int) uint64 { return stampOf(b, i).version }

// load sets or, with a null value, deletes a key while restoring: there is nothing to undo.
func (s *ShardOf[V]) load(key, value []byte, expires int64) (err error) {
	i, ok := s.index[string(key)]
	if value == nil {
		if ok {
			e := &s.entries[i]
			s.disarm(e)
			s.buckets.touch(e.hash)
			s.live--
			s.bytes -= int64(len(e.enc))
			e.live, e.enc = false, nil
			if s.ttl != nil {
				s.ttl.drop(e.key)
			}
			s.unindex(0, e.key)
			s.remove(i)
		}
		return nil
	}
	var v V
	if !s.encoded {
		if v, err = s.decode(key, value); err != nil {
			return err
		}
	}
	if !ok {
		i = s.insert(key)
	}
	e := &s.entries[i]
	s.buckets.touch(e.hash)
	s.store(i, v, value)
	if s.ttl != nil {
		if s.ttl.drop(e.key); expires != 0 {
			s.ttl.put(e.key, expires)
		}
	}
	if len(s.indexes) == 0 {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("table %s: a function of an index: panic: %v", s.spec.Name, r)
		}
	}()
	return s.reindex(0, e)
}

// Stats implements Shard.
func (s *ShardOf[V]) Stats() Stats {
	return Stats{Entries: s.live, Bytes: s.bytes, Undo: s.undos, Dirty: s.buckets.dirtyCount}
}
