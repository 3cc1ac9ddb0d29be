package topology

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
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

// Topic returns the name of the topic that the record is in; empty for an event that was made by hand, in a test.
func (e Event[K, V]) Topic() string {
	if e.rec.B == nil {
		return ""
	}
	return e.rec.B.Topic
}

// Partition returns the record's partition; 0 for an event that was made by hand.
func (e Event[K, V]) Partition() int32 {
	if e.rec.B == nil {
		return 0
	}
	return e.rec.B.Partition
}

// Offset returns the record's offset; 0 for an event that was made by hand.
func (e Event[K, V]) Offset() int64 {
	if e.rec.B == nil {
		return 0
	}
	return e.rec.B.Records[e.rec.I].Offset
}

// Timestamp returns the record's time, of milliseconds: what its topic's TimestampExtractor makes of it, if there is one, else what Kafka has; the Unix epoch for an
// event that was made by hand.
func (e Event[K, V]) Timestamp() time.Time { return time.UnixMilli(e.rec.Millis()) }

// Headers yields the record's headers in order. Their bytes must not be changed.
func (e Event[K, V]) Headers() iter.Seq[kafka.Header] {
	if e.rec.B == nil {
		return func(func(kafka.Header) bool) {}
	}
	return e.rec.B.Headers(e.rec.I)
}

// event implements Source.
func (t *Topic[K, V]) event(rec plan.Rec, ev *Event[K, V]) error {
	*ev = Event[K, V]{rec: rec}
	var err error
	if b := rec.B.Key(rec.I); b == nil {
		ev.NullKey = true
	} else if ev.Key, err = decode(t.kc, t.validK, b); err != nil {
		return t.undecodable(rec, "key", t.def.key.Type, err)
	}
	if b := rec.B.Value(rec.I); b == nil {
		ev.NullValue = true
	} else if ev.Value, err = decode(t.vc, t.validV, b); err != nil {
		return t.undecodable(rec, "value", t.def.value.Type, err)
	}
	if rec.B.Times != nil && rec.B.Times[rec.I] < 0 { // the function has failed when the record came: here it is the record's failure
		return t.timeless(*ev)
	}
	return nil
}

// decode decodes what a topic holds, and asks the value whether it is valid.
func decode[T any](c codec.Codec[T], valid func(T) error, b []byte) (T, error) {
	v, err := c.Decode(b)
	if err == nil && valid != nil {
		err = valid(v)
	}
	return v, err
}

// encode appends a value that is valid to what a topic is sent.
func encode[T any](c codec.Codec[T], valid func(T) error, dst []byte, v T) ([]byte, error) {
	if valid != nil {
		if err := valid(v); err != nil {
			return dst, err
		}
	}
	return c.Append(dst, v)
}

func (t *Topic[K, V]) undecodable(rec plan.Rec, part, typ string, err error) error {
	return &DecodeError{rec.B.Topic, rec.B.Partition, rec.B.Records[rec.I].Offset, part, typ, err}
}

// SendOption changes one send.
type SendOption func(*sending)

// sending is what options say of one send.
type sending struct {
	headers   []byte
	timestamp int64
	partition int32
	timed     bool
	placed    bool
	nullKey   bool
	nullValue bool
}

// applied is apart from Send so that a send without options allocates nothing.
func applied(opts []SendOption) sending {
	var x sending
	for _, o := range opts {
		o(&x)
	}
	return x
}

// WithHeaders adds headers. The engine's own marks of a record that was redriven from the dead letters (kafka.RedriveHeader), of a request
// and of its answer (kafka.AskHeader, kafka.ReplyHeader) are left out: they belong to that record alone.
func WithHeaders(h ...kafka.Header) SendOption {
	return func(s *sending) {
		for _, x := range h {
			if x.Key != kafka.RedriveHeader && x.Key != kafka.AskHeader && x.Key != kafka.ReplyHeader {
				s.headers = kafka.AppendHeaders(s.headers, x)
			}
		}
	}
}

// WithTimestamp sets the record's time, of milliseconds; it must be after the Unix epoch. Defaults to that of the record at
// hand, for timers to when they were due, for tasks to when they were started.
func WithTimestamp(at time.Time) SendOption {
	return func(s *sending) { s.timestamp, s.timed = at.UnixMilli(), true }
}

// ToPartition chooses the partition. Defaults to the topic's partitioner.
func ToPartition(p int32) SendOption {
	return func(s *sending) { s.partition, s.placed = p, true }
}

// NullKey sends a null key; the given one is ignored. Records without a key are spread over the partitions.
func NullKey() SendOption { return func(s *sending) { s.nullKey = true } }

// NullValue sends a null value; the given one is ignored.
func NullValue() SendOption { return func(s *sending) { s.nullValue = true } }

// engineHeader is how the engine's own headers begin.
var engineHeader = []byte("troupe.")

// onward is how flows and sinks send what they make of the record at hand: with its headers.
func (s *scope) onward(nullKey, nullValue bool) sending {
	x := sending{nullKey: nullKey, nullValue: nullValue}
	if s.rec.B == nil {
		return x
	}
	if raw := s.rec.B.RawHeaders(s.rec.I); !bytes.Contains(raw, engineHeader) {
		x.headers = raw
	} else {
		WithHeaders(slices.Collect(s.rec.B.Headers(s.rec.I))...)(&x)
	}
	return x
}

// recordOverhead is what a record takes beside its key, value and headers, at most.
const recordOverhead = 100

// Send sends a record when the turn at hand is over, in the transaction of its record. Key and value are encoded at once:
// they may be changed afterwards. An error (the codec's, a value over the topic's limit, a topic not declared with Sends)
// fails the record at hand, as does a key or value whose Validate refuses it.
func (t *Topic[K, V]) Send(ctx Sender, key K, value V, opts ...SendOption) {
	if len(opts) == 0 {
		t.put(ctx.turn(), key, value, sending{})
		return
	}
	t.put(ctx.turn(), key, value, applied(opts))
}

// Delete sends a tombstone: a record with a null value.
func (t *Topic[K, V]) Delete(ctx Sender, key K, opts ...SendOption) {
	x := applied(opts)
	x.nullValue = true
	var zero V
	t.put(ctx.turn(), key, zero, x)
}

// put encodes a record and adds it to the effects.
func (t *Topic[K, V]) put(s *scope, key K, value V, x sending) {
	e := s.effects()
	var k, v []byte // null
	var err error
	if !x.nullKey {
		if s.key, err = encode(t.kc, t.validK, s.key[:0], key); err != nil {
			e.Fail(lasting("send to topic %s: encode the key as %s: %w", t.def.name, t.def.key.Type, redact.Of(err)))
			return
		}
		k = notNil(s.key)
	}
	if !x.nullValue {
		if s.value, err = encode(t.vc, t.validV, s.value[:0], value); err != nil {
			e.Fail(lasting("send to topic %s: encode the value as %s: %w", t.def.name, t.def.value.Type, redact.Of(err)))
			return
		}
		v = notNil(s.value)
	}
	if err := t.def.send(s, e, k, v, x); err != nil {
		e.Fail(err)
	}
}

// notNil tells an empty key or value from null.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// send adds an encoded record to the effects; nil is null.
func (d *topicDef) send(s *scope, e *plan.Effects, key, value []byte, x sending) error {
	who := s.agent
	if !who.sends[d] {
		return lasting("%s %s sends to topic %s without having declared it: add topology.Sends(%s) to it", roleOf(who), who.name, d.name, d.name)
	}
	env := s.in.Env()
	n := env.Partitions[d.id]
	p := x.partition
	switch {
	case n <= 0:
		return fmt.Errorf("%s %s sends to topic %s, whose number of partitions is not known: does it exist?", roleOf(who), who.name, d.name)
	case x.placed && (p < 0 || p >= n):
		return lasting("%s %s sends to partition %d of topic %s, which has the partitions 0 to %d", roleOf(who), who.name, p, d.name, n-1)
	case x.placed:
	case key == nil:
		p = int32(s.spread % uint32(n))
		s.spread++
	default:
		p = d.partitioner.Hash(key, n)
	}
	if size, most := len(key)+len(value)+len(x.headers), int(env.MaxBytes[d.id]); most > 0 && size+recordOverhead > most {
		return lasting("%s %s sends a record of %d bytes to topic %s, which takes records of at most %d: raise its max.message.bytes, or send less",
			roleOf(who), who.name, size, d.name, most-recordOverhead)
	}
	ts := s.timestamp()
	if x.timed {
		if ts = x.timestamp; ts <= 0 {
			return lasting("%s %s sends to topic %s with the time %s: it must be after the Unix epoch", roleOf(who), who.name, d.name,
				time.UnixMilli(ts).UTC().Format(time.RFC3339))
		}
	}
	e.Out.Append(d.id, p, ts, key, value, x.headers)
	return nil
}

// Encode encodes a key and a value: for tools.
func (t *Topic[K, V]) Encode(key K, value V) (k, v []byte, err error) {
	if k, err = encode(t.kc, t.validK, []byte{}, key); err != nil {
		return nil, nil, fmt.Errorf("topic %s: encode the key: %w", t.def.name, err)
	}
	if v, err = encode(t.vc, t.validV, []byte{}, value); err != nil {
		return nil, nil, fmt.Errorf("topic %s: encode the value: %w", t.def.name, err)
	}
	return k, v, nil
}

// Decode decodes record i of a batch of the topic: for tools. The error is a *DecodeError.
func (t *Topic[K, V]) Decode(b *kafka.Batch, i int) (Event[K, V], error) {
	var ev Event[K, V]
	err := t.event(plan.Rec{B: b, I: i}, &ev)
	return ev, err
}
