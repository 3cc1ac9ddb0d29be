package tables

import (
	"encoding/binary"
	"fmt"

	"github.com/troupe-stream/troupe/kafka"
)

// The headers of changelog records: the version of the codec, and when the entry expires, each only where there is such a thing.
const (
	versionHeader = "v"
	expiryHeader  = "x"
)

// Replay implements Shard.
func (s *ShardOf[V]) Replay(b *kafka.Batch) error {
	for i := range b.Records {
		key, value := b.Key(i), b.Value(i)
		h := stampOf(b, i)
		var err error
		if value != nil && h.version != s.spec.Version {
			if value, err = s.spec.Current(h.version, value); err != nil {
				return fmt.Errorf("record at offset %d: %w", b.Records[i].Offset, err)
			}
		}
		if err = s.load(key, s.stamped(value, b.Records[i].Timestamp), h.expires); err != nil {
			return fmt.Errorf("record at offset %d: %w", b.Records[i].Offset, err)
		}
	}
	return nil
}

// stamp is what the headers of a changelog record say; 0 where there is none.
type stamp struct {
	version uint64
	expires int64
}

func stampOf(b *kafka.Batch, i int) (x stamp) {
	for h := range b.Headers(i) {
		switch h.Key {
		case versionHeader:
			x.version, _ = binary.Uvarint(h.Value)
		case expiryHeader:
			x.expires, _ = binary.Varint(h.Value)
		}
	}
	return x
}

// VersionOf is the version of the codec that a record of a changelog was written with.
func VersionOf(b *kafka.Batch, i int) uint64 { return stampOf(b, i).version }

// load sets or, with a null value, deletes a key while restoring: there is nothing to undo.
func (s *ShardOf[V]) load(key, value []byte, expires int64) (err error) {
	i, ok := s.find(key)
	if value == nil {
		if ok {
			s.buckets.touch(s.entries.at(i).hash)
			s.empty(i)
			if s.ttl != nil {
				s.ttl.drop(s.key(i))
			}
			s.unindex(0, s.key(i))
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
	s.buckets.touch(s.entries.at(i).hash)
	s.store(i, v, value)
	if s.ttl != nil {
		if s.ttl.drop(s.key(i)); expires != 0 {
			s.ttl.put(s.key(i), expires)
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
	return s.reindex(0, i)
}
