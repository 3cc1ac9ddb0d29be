package tables

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/tidwall/btree"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/kafka"
)

// ShardOf is the state of one partition of a table with values of type V. It implements Shard.
type ShardOf[V any] struct {
	spec    *Spec[V]
	cfg     Config
	encoded bool

	finder   finder
	keys     keys
	entries  column[entry]
	vals     column[V]      // of entries, unless values are kept encoded
	encs     column[string] // of entries, if they are
	free     []int32
	tidied   int32 // where tidy goes on
	order    *btree.Map[string, int32]
	due      *btree.BTreeG[pending] // of a table of timers; nil otherwise
	logs     []epochLog[V]          // oldest first
	spare    []epochLog[V]          // empty lists that were used before
	lastList int32                  // the greatest number of one
	failed   bool
	bytes    int64
	live     int
	undos    int
	ttl      *expiry         // nil: entries do not expire
	indexes  []*side[string] // as Spec.Indexes
	group    *Group          // of shards that functions may go on to; nil: it is alone
	buckets  buckets
	loading  bool   // pages are being loaded: their number is given
	header   []byte // of changelog records
	marked   []byte // the same with more
	scratch  []byte
	sealed   int // bytes that the last epoch had to journal, and some more
}

// New makes an empty shard.
func New[V any](s *Spec[V], cfg Config) *ShardOf[V] {
	x := &ShardOf[V]{spec: s, cfg: cfg, encoded: s.encoded(), lastList: math.MaxInt32}
	if s.Version > 0 {
		x.header = kafka.AppendHeaders(nil, kafka.Header{Key: versionHeader, Value: binary.AppendUvarint(nil, s.Version)})
	}
	x.Clear()
	return x
}

// Clear implements Shard.
func (s *ShardOf[V]) Clear() {
	s.finder, s.keys, s.entries, s.vals, s.encs = newFinder(), newKeys(), column[entry]{}, column[V]{}, column[string]{}
	s.free, s.tidied, s.logs, s.spare = nil, 0, nil, nil
	s.failed, s.bytes, s.live, s.undos = false, 0, 0, 0
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

// Calls implements Shard. Values that are set have been encoded before.
func (s *ShardOf[V]) Calls(ops Ops) bool {
	o, ok := ops.(*OpsOf[V])
	return !ok || len(s.indexes) > 0 || slices.ContainsFunc(o.ops, func(x op[V]) bool { return x.kind == opUpdate || x.kind == opRow })
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
		if i%lookAhead == 0 && s.finder.n >= farEntries {
			s.warm(o, o.ops[i:min(i+lookAhead, len(o.ops))])
		}
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
	i, found := s.find(key)
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
	i, found := s.find(key)
	return s.valueAt(key, i, found)
}

// valueAt is get of a key that was looked for.
func (s *ShardOf[V]) valueAt(key []byte, i int32, found bool) (v V, ok bool, err error) {
	if !found || !s.entries.at(i).live || s.ttl != nil && s.ttl.gone(s.key(i), false) {
		return s.spec.missing(), false, nil
	}
	if !s.encoded {
		return *s.vals.at(i), true, nil
	}
	v, err = s.decode(key, s.enc(i))
	return v, err == nil, err
}

func (s *ShardOf[V]) decode(key, enc []byte) (V, error) {
	enc = s.plain(enc)
	if s.encoded {
		enc = append(make([]byte, 0, len(enc)), enc...) // what a codec decodes may share its bytes, and the user may change it
	}
	v, err := s.spec.Codec.Decode(enc)
	if err != nil {
		err = &EntryError{s.spec.Name, "value", bytes.Clone(key), err}
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
			return nil, redact.Of(err)
		}
	}
	if s.encoded {
		if enc, err = s.spec.Codec.Append(s.spec.stamp(s.scratch[:0], at), v); err != nil {
			return nil, fmt.Errorf("encode the value: %w", redact.Of(err))
		}
		s.scratch = enc
	}
	return enc, nil
}

// written notes beside an entry that was written what follows from that.
func (s *ShardOf[V]) written(epoch int64, i int32) error {
	if s.ttl != nil {
		s.ttl.written(epoch, s.key(i), s.ttl.after)
	}
	if len(s.indexes) > 0 {
		return s.reindex(epoch, i)
	}
	return nil
}

// lives says that an entry that was written expires after so many milliseconds.
func (s *ShardOf[V]) lives(epoch int64, key []byte, ms int64) {
	if i, ok := s.find(key); ok && s.entries.at(i).live {
		s.ttl.written(epoch, s.key(i), ms)
	}
}

// store puts a value into an entry; encoded bytes are copied.
func (s *ShardOf[V]) store(i int32, v V, enc []byte) {
	s.disarm(i)
	if e := s.entries.at(i); !e.live {
		e.live = true
		s.live++
	}
	if s.encoded {
		old := s.encs.at(i)
		s.bytes += int64(len(enc) - len(*old))
		*old = string(enc) // the old one may be in an undo list
		return
	}
	*s.vals.at(i) = v
	s.arm(i)
}

func (s *ShardOf[V]) delete(epoch int64, key []byte) {
	i, ok := s.find(key)
	if !ok || !s.entries.at(i).live {
		return
	}
	s.note(epoch, i)
	s.empty(i)
	if s.ttl != nil {
		s.ttl.deleted(epoch, s.key(i))
	}
	if len(s.indexes) > 0 {
		s.unindex(epoch, s.key(i))
	}
}

// deletePrefix deletes all keys that begin with a prefix.
func (s *ShardOf[V]) deletePrefix(epoch int64, prefix []byte) {
	var keys []string
	s.each(prefix, nil, false, func(i int32) bool {
		key := s.key(i)
		if !strings.HasPrefix(key, string(prefix)) {
			return false
		}
		if s.entries.at(i).live {
			keys = append(keys, key)
		}
		return true
	})
	for _, k := range keys {
		s.delete(epoch, keyBytes(k))
	}
}

// touch returns the entry of a key, made if need be, with its value noted for undo if the epoch has not touched it yet.
func (s *ShardOf[V]) touch(epoch int64, key []byte) int32 {
	i, ok := s.find(key)
	if !ok {
		i = s.insert(key)
	}
	s.note(epoch, i)
	return i
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
	out.Journal = true
	out.Grow(len(log.undos), s.sealed)
	before := len(out.Arena)
	for j := range log.undos {
		u := &log.undos[j]
		e := s.entries.at(u.entry)
		if !e.live && !u.live {
			continue // made and deleted again
		}
		key, enc := s.keys.at(e.key), s.enc(u.entry)
		value, at := s.plain(enc), s.stampOf(enc)
		if e.live && !s.encoded {
			var err error
			if s.scratch, err = s.spec.Codec.Append(s.scratch[:0], *s.vals.at(u.entry)); err != nil {
				return &FuncError{s.spec.Name, []byte(key), fmt.Errorf("encode the value: %w", redact.Of(err))}
			}
			value = s.scratch
		}
		if !e.live {
			value = nil
		} else if value == nil {
			value = []byte{}
		}
		if size := len(key) + len(value); s.cfg.MaxBytes > 0 && size+recordOverhead > s.cfg.MaxBytes {
			return &TooLargeError{s.spec.Name, []byte(key), size, s.cfg.MaxBytes}
		}
		out.Append(s.cfg.Changelog, s.cfg.Partition, at, keyBytes(key), value, s.headerOf(key, e.live))
	}
	s.sealed = len(out.Arena) - before + len(out.Arena)/8
	s.failed = false
	return nil
}

// headerOf is the header of an entry's changelog record.
func (s *ShardOf[V]) headerOf(key string, live bool) []byte {
	if s.ttl == nil || !live {
		return s.header
	}
	at, ok := s.ttl.of[key]
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

// Stats implements Shard.
func (s *ShardOf[V]) Stats() Stats {
	return Stats{Entries: s.live, Bytes: s.bytes, Undo: s.undos, Dirty: s.buckets.dirtyCount}
}
