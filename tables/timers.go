package tables

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/tidwall/btree"

	"github.com/troupe-stream/troupe/kafka"
)

// Timer is the value of a table of timers: when that of the key is due, in milliseconds since the Unix epoch, and what it brings along.
type Timer struct {
	Due     int64
	Payload string
}

// TimerCodec writes timers: eight bytes for the time, then the payload.
type TimerCodec struct{}

const dueBytes = 8

// Append implements codec.Codec.
func (TimerCodec) Append(dst []byte, t Timer) ([]byte, error) {
	return append(binary.BigEndian.AppendUint64(dst, uint64(t.Due)), t.Payload...), nil
}

// Decode implements codec.Codec.
func (TimerCodec) Decode(b []byte) (Timer, error) {
	if len(b) < dueBytes {
		return Timer{}, errors.New("a timer has at least eight bytes")
	}
	return Timer{int64(binary.BigEndian.Uint64(b)), string(b[dueBytes:])}, nil
}

// NeverDue is the answer of NextDue where nothing is.
const NeverDue = math.MaxInt64

// pending is a timer in the order in which they are due.
type pending struct {
	due int64
	key string
}

func sooner(a, b pending) bool { return a.due < b.due || a.due == b.due && a.key < b.key }

// newPending makes an empty order.
func newPending() *btree.BTreeG[pending] {
	return btree.NewBTreeGOptions(sooner, btree.Options{NoLocks: true})
}

// arm puts an entry that is live into the order of what is due.
func (s *ShardOf[V]) arm(i int32) {
	if s.due != nil && s.entries.at(i).live {
		s.due.Set(pending{s.spec.Timer(s.val(i)).Due, s.key(i)})
	}
}

// disarm takes an entry out of it, before it is changed.
func (s *ShardOf[V]) disarm(i int32) {
	if s.due != nil && s.entries.at(i).live {
		s.due.Delete(pending{s.spec.Timer(s.val(i)).Due, s.key(i)})
	}
}

// NextDue implements Shard.
func (s *ShardOf[V]) NextDue() int64 {
	if s.due == nil {
		return NeverDue
	}
	if first, ok := s.due.Min(); ok {
		return first.due
	}
	return NeverDue
}

// CollectDue implements Shard.
func (s *ShardOf[V]) CollectDue(upTo int64, n int) *kafka.Batch {
	b := &kafka.Batch{Topic: s.cfg.Table, Partition: s.cfg.Partition}
	if s.due == nil {
		return b
	}
	s.due.Scan(func(p pending) bool {
		if p.due > upTo || b.Len() == n {
			return false
		}
		i, _ := s.find(keyBytes(p.key))
		t := s.spec.Timer(s.val(i))
		b.Append(t.Due, t.Due, keyBytes(p.key), []byte(t.Payload), nil)
		return true
	})
	return b
}
