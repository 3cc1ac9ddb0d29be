package tables

import (
	"hash/crc32"
	"iter"
	"unsafe"
)

// entry is one key, whose value is in a column beside it. It has no pointers.
type entry struct {
	key  keyRef
	hash uint32
	last ref // its newest undo value
	live bool
}

// entrySize is what an entry takes in memory beside its key and value, with its place in the finder and on its page.
const entrySize = int64(unsafe.Sizeof(entry{})+2*unsafe.Sizeof(place{})) + 4

// find returns the entry of a key.
func (s *ShardOf[V]) find(key []byte) (int32, bool) {
	hash := s.finder.hash(key)
	places, at, ok := s.finder.begin(hash)
	if !ok {
		return 0, false
	}
	for {
		x := places[at]
		if x.entry == 0 {
			return 0, false
		}
		if i := x.entry - 1; x.hash == uint32(hash) && s.keys.at(s.entries.at(i).key) == string(key) {
			return i, true
		}
		at = (at + 1) & uint32(len(places)-1)
	}
}

const (
	// lookAhead is how many keys are looked for at a time.
	lookAhead = 16
	// farEntries is how many entries are more than caches hold, in a table of small ones.
	farEntries = 1 << 15
)

// warm looks for the keys of operations before any of them is carried out. To find one takes three reads of memory that is far, each of which says where the
// next is; those of several keys wait for it side by side.
func (s *ShardOf[V]) warm(o *OpsOf[V], ops []op[V]) {
	for i := range ops {
		places, at, ok := s.finder.begin(s.finder.hash(o.key(&ops[i])))
		if !ok {
			continue
		}
		if x := places[at]; x.entry != 0 {
			if k := s.keys.at(s.entries.at(x.entry - 1).key); k != "" {
				s.finder.warmth += k[0]
			}
		}
	}
}

// key is an entry's key. It may be kept.
func (s *ShardOf[V]) key(i int32) string { return s.keys.at(s.entries.at(i).key) }

// val is an entry's value where values are not kept encoded, else the zero value.
func (s *ShardOf[V]) val(i int32) (v V) {
	if s.encoded {
		return v
	}
	return *s.vals.at(i)
}

// enc is an entry's value where values are kept encoded, else nil. It must not be changed.
func (s *ShardOf[V]) enc(i int32) []byte {
	if !s.encoded {
		return nil
	}
	return keyBytes(*s.encs.at(i))
}

// empty takes an entry's value away.
func (s *ShardOf[V]) empty(i int32) {
	s.disarm(i)
	e := s.entries.at(i)
	e.live = false
	s.live--
	s.clearValue(i)
}

// clearValue lets go of what an entry's value holds.
func (s *ShardOf[V]) clearValue(i int32) {
	if s.encoded {
		old := s.encs.at(i)
		s.bytes -= int64(len(*old))
		*old = ""
		return
	}
	var zero V
	*s.vals.at(i) = zero
}

// insert makes an entry without a value.
func (s *ShardOf[V]) insert(key []byte) int32 {
	i := s.entries.n
	if m := len(s.free); m > 0 {
		i, s.free = s.free[m-1], s.free[:m-1]
	} else {
		s.entries.add()
		if s.encoded {
			s.encs.add()
		} else {
			s.vals.add()
		}
	}
	e := s.entries.at(i)
	*e = entry{key: s.keys.add(key), hash: crc32.Checksum(key, castagnoli)}
	s.finder.add(s.finder.hash(key), i)
	if s.order != nil {
		s.order.Set(s.keys.at(e.key), i)
	}
	s.bytes += int64(len(key)) + s.fixedSize()
	s.buckets.add(i, e.hash)
	if s.buckets.full(s.finder.n) && !s.loading {
		s.buckets.grow(func(yield func(int32, uint32)) {
			for i := range s.taken() {
				yield(i, s.entries.at(i).hash)
			}
		})
	}
	return i
}

// fixedSize is what an entry takes beside its key and what its value holds.
func (s *ShardOf[V]) fixedSize() int64 {
	if s.encoded {
		return entrySize + int64(unsafe.Sizeof(""))
	}
	var v V
	return entrySize + int64(unsafe.Sizeof(v))
}

// taken yields all entries.
func (s *ShardOf[V]) taken() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for p := range s.finder.parts {
			for _, x := range s.finder.parts[p].places {
				if x.entry != 0 && !yield(x.entry-1) {
					return
				}
			}
		}
	}
}

// remove forgets an entry that is not live and has no undo values.
func (s *ShardOf[V]) remove(i int32) {
	e := s.entries.at(i)
	key := s.keys.at(e.key)
	s.buckets.remove(i, e.hash)
	s.finder.remove(s.finder.hash(keyBytes(key)), i)
	if s.order != nil {
		s.order.Delete(key)
	}
	s.bytes -= int64(len(key)) + s.fixedSize()
	s.keys.remove(e.key)
	s.clearValue(i)
	*e = entry{}
	s.free = append(s.free, i)
	s.tidy()
}
