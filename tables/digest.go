package tables

import (
	"github.com/cespare/xxhash/v2"
)

// Digest tells shards apart by what is committed in them: two that hold the same keys with the same values have the same.
type Digest struct {
	Entries int
	Sum     uint64 // over keys and encoded values, in any order
}

// Digest implements Shard.
func (s *ShardOf[V]) Digest() (Digest, error) {
	var d Digest
	var h xxhash.Digest
	for i := range s.taken() {
		v, enc, live := s.committedOf(i)
		if !live {
			continue
		}
		if !s.encoded {
			var err error
			if s.scratch, err = s.spec.Codec.Append(s.scratch[:0], v); err != nil {
				return Digest{}, s.unencodable(s.key(i), err)
			}
			enc = s.scratch
		}
		h.Reset()
		_, _ = h.Write(keyBytes(s.key(i))) // never fails
		key := h.Sum64()
		h.ResetWithSeed(key)
		_, _ = h.Write(s.plain(enc))
		d.Entries++
		d.Sum += h.Sum64()
	}
	return d, nil
}
