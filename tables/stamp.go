package tables

import "encoding/binary"

// stampSize is what a row's time takes in front of its value, in the memory of a Stamped table and in its checkpoints.
const stampSize = 8

// stamp appends a row's time to dst, if the table keeps it.
func (s *Spec[V]) stamp(dst []byte, at int64) []byte {
	if !s.Stamped {
		return dst
	}
	return binary.LittleEndian.AppendUint64(dst, uint64(max(at, 0)))
}

// stamped is a value of the changelog as the shard keeps it; nil stays nil.
func (s *ShardOf[V]) stamped(value []byte, at int64) []byte {
	if !s.spec.Stamped || value == nil {
		return value
	}
	return append(s.spec.stamp(make([]byte, 0, stampSize+len(value)), at), value...)
}

// plain is what the shard keeps of a value without its time.
func (s *ShardOf[V]) plain(enc []byte) []byte {
	if s.spec.Stamped && len(enc) >= stampSize {
		return enc[stampSize:]
	}
	return enc
}

// stampOf is the time in what the shard keeps of a value; 0 if there is none.
func (s *ShardOf[V]) stampOf(enc []byte) int64 {
	if s.spec.Stamped && len(enc) >= stampSize {
		return int64(binary.LittleEndian.Uint64(enc))
	}
	return 0
}

// Encoded returns the row's value as its codec has written it, in a Stamped table: it stays the same through restores. ok is false if there is
// no row. The bytes must not be changed.
func (r *Row[V]) Encoded() (b []byte, ok bool) {
	i, ok := r.shard.find(r.key)
	if !ok || !r.shard.entries.at(i).live {
		return nil, false
	}
	return r.shard.plain(r.shard.enc(i)), true
}

// Time returns the time of the row's last change, in a Stamped table; 0 if there is no row.
func (r *Row[V]) Time() int64 {
	i, ok := r.shard.find(r.key)
	if !ok || !r.shard.entries.at(i).live {
		return 0
	}
	return r.shard.stampOf(r.shard.enc(i))
}
