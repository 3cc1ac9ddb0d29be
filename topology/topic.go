package topology

import (
	"fmt"
	"iter"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Event is one record, decoded. Its key and value may share memory with the batch they came in; that never changes.
type Event[K, V any] struct {
	Key       K
	Value     V
	NullKey   bool // the key is null, not empty: Key is the zero value
	NullValue bool // the value is null, a tombstone: Value is the zero value
	rec       plan.Rec
}

// Topic, Partition and Offset say where the record is.
func (e Event[K, V]) Topic() string { return e.rec.B.Topic }

// Partition is the record's partition.
func (e Event[K, V]) Partition() int32 { return e.rec.B.Partition }

// Offset is the record's offset.
func (e Event[K, V]) Offset() int64 { return e.rec.B.Records[e.rec.I].Offset }

// Timestamp is the record's time.
func (e Event[K, V]) Timestamp() time.Time {
	return time.UnixMilli(e.rec.B.Records[e.rec.I].Timestamp)
}

// Headers yields the record's headers in order.
func (e Event[K, V]) Headers() iter.Seq[kafka.Header] { return e.rec.B.Headers(e.rec.I) }

// event decodes a record.
func (t *Topic[K, V]) event(rec plan.Rec) (Event[K, V], error) {
	ev := Event[K, V]{rec: rec}
	var err error
	if b := rec.B.Key(rec.I); b == nil {
		ev.NullKey = true
	} else if ev.Key, err = t.kc.Decode(b); err != nil {
		return ev, t.undecodable(rec, "key", t.def.key.Type, err)
	}
	if b := rec.B.Value(rec.I); b == nil {
		ev.NullValue = true
	} else if ev.Value, err = t.vc.Decode(b); err != nil {
		return ev, t.undecodable(rec, "value", t.def.value.Type, err)
	}
	return ev, nil
}

func (t *Topic[K, V]) undecodable(rec plan.Rec, part, typ string, err error) error {
	return &DecodeError{rec.B.Topic, rec.B.Partition, rec.B.Records[rec.I].Offset, part, typ, err}
}

// SendOption changes one send.
type SendOption func(*sending)

type sending struct {
	headers   []byte
	timestamp int64
	partition int32 // -1: by the key
	nullKey   bool
	nullValue bool
}

// WithHeaders adds headers.
func WithHeaders(h ...kafka.Header) SendOption {
	return func(s *sending) { s.headers = kafka.AppendHeaders(s.headers, h...) }
}

// WithTimestamp sets the record's time. Defaults to that of the record at hand, for timers and tasks to now.
func WithTimestamp(at time.Time) SendOption {
	return func(s *sending) { s.timestamp = at.UnixMilli() }
}

// ToPartition chooses the partition. Defaults to the topic's partitioner.
func ToPartition(p int32) SendOption { return func(s *sending) { s.partition = p } }

// NullKey sends a null key; the given one is ignored. Records without a key are spread over the partitions.
func NullKey() SendOption { return func(s *sending) { s.nullKey = true } }

// NullValue sends a null value; the given one is ignored.
func NullValue() SendOption { return func(s *sending) { s.nullValue = true } }

// recordOverhead is what a record takes beside its key, value and headers, at most.
const recordOverhead = 100

// Send sends a record when the turn at hand is over, in the transaction of its record. Key and value are encoded at once.
// An error (the codec's, a value over the topic's limit, a topic not declared with Sends) fails the record at hand.
func (t *Topic[K, V]) Send(ctx Sender, key K, value V, opts ...SendOption) {
	x := sending{partition: -1}
	for _, o := range opts {
		o(&x)
	}
	s := ctx.turn()
	e := s.effects()
	var k, v []byte
	var err error
	if !x.nullKey {
		if s.key, err = t.kc.Append(s.key[:0], key); err != nil {
			e.Fail(lasting("send to %s: encode the key: %w", t.def.name, err))
			return
		}
		k = s.key
	}
	if !x.nullValue {
		if s.value, err = t.vc.Append(s.value[:0], value); err != nil {
			e.Fail(lasting("send to %s: encode the value: %w", t.def.name, err))
			return
		}
		v = notNil(s.value)
	}
	t.def.send(s, e, notNilIf(k, !x.nullKey), v, &x)
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func notNilIf(b []byte, is bool) []byte {
	if is {
		return notNil(b)
	}
	return nil
}

// Delete sends a tombstone: a record with a null value.
func (t *Topic[K, V]) Delete(ctx Sender, key K, opts ...SendOption) {
	var zero V
	t.Send(ctx, key, zero, append(opts, NullValue())...)
}

// send adds an encoded record to the effects.
func (d *topicDef) send(s *scope, e *plan.Effects, key, value []byte, x *sending) {
	if !s.agent.sends[d] {
		e.Fail(lasting("agent %s sends to topic %s without having declared it: add topology.Sends(%s) to it", s.agent.name, d.name, d.name))
		return
	}
	env := s.in.Env()
	n := env.Partitions[d.id]
	p := x.partition
	switch {
	case p >= n:
		e.Fail(lasting("agent %s sends to partition %d of topic %s, which has %d", s.agent.name, p, d.name, n))
		return
	case p >= 0:
	case key == nil:
		s.spread++
		p = int32(s.spread % uint32(n))
	default:
		p = d.partitioner.Hash(key, n)
	}
	if size, most := len(key)+len(value)+len(x.headers), int(env.MaxBytes[d.id]); most > 0 && size+recordOverhead > most {
		e.Fail(lasting("agent %s sends a record of %d bytes to topic %s, which takes at most %d: raise its max.message.bytes", s.agent.name, size, d.name, most))
		return
	}
	ts := x.timestamp
	if ts == 0 {
		ts = s.timestamp()
	}
	e.Out.Append(d.id, p, ts, key, value, x.headers)
}

// Encode encodes a key and a value: for tools.
func (t *Topic[K, V]) Encode(key K, value V) (k, v []byte, err error) {
	if k, err = t.kc.Append([]byte{}, key); err != nil {
		return nil, nil, fmt.Errorf("topic %s: encode the key: %w", t.def.name, err)
	}
	if v, err = t.vc.Append([]byte{}, value); err != nil {
		return nil, nil, fmt.Errorf("topic %s: encode the value: %w", t.def.name, err)
	}
	return k, v, nil
}

// Decode decodes record i of a batch of the topic: for tools. The error is a *DecodeError.
func (t *Topic[K, V]) Decode(b *kafka.Batch, i int) (Event[K, V], error) {
	return t.event(plan.Rec{B: b, I: i})
}
