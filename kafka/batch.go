package kafka

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/troupe-stream/troupe/internal/poison"
)

// Header is one header of a record. A nil Value is a null header value.
type Header struct {
	Key   string
	Value []byte
}

// Record is the fixed-size part of one record of a Batch: where it is, when it is, and where its bytes are.
type Record struct {
	Offset    int64
	Timestamp int64 // milliseconds since the Unix epoch
	span
}

// Size is the number of bytes of key, value and headers.
func (r *Record) Size() int { return r.size() }

// Layout says where the bytes are in the arena: key, value and headers follow each other from pos on. A length of -1 is null.
func (r *Record) Layout() (pos uint32, key, value, headers int32) {
	return r.pos, r.keyLen, r.valueLen, r.headersLen
}

// span is where the bytes of a record are in an arena: key, value and headers, one after the other from pos.
type span struct {
	pos        uint32
	keyLen     int32 // -1: null
	valueLen   int32 // -1: null
	headersLen int32 // 0: none
}

// size is the number of bytes that the span covers.
func (s span) size() int { return max(int(s.keyLen), 0) + max(int(s.valueLen), 0) + int(s.headersLen) }

// Batch is a run of records of one topic-partition, in the order of their offsets: one arena of bytes and one array of
// fixed-size metadata. Offsets may have gaps (compaction, control records).
//
// A batch is immutable once handed on. Its bytes are never reused, so whoever keeps a string or a slice of them keeps
// what it saw; what is kept holds the whole arena alive.
type Batch struct {
	Topic     string
	Partition int32
	Records   []Record
	Arena     []byte
	// Next is the offset at which reading goes on after this batch. It may lie past the last record by more than one:
	// control records of transactions and aborted records take offsets too. A batch without records only moves Next.
	Next int64
	// Values is what the records of a channel in memory hold, in place of bytes; nil in all other batches.
	Values any
	// Times are the event times of the records, in milliseconds since the Unix epoch, where they are not their timestamps: of a topic with
	// an extractor. Negative: it has found none. Nil: they are the timestamps.
	Times    []int64
	redriven []redriven // those that have a RedriveHeader, in order
}

// Len is the number of records.
func (b *Batch) Len() int { return len(b.Records) }

// Key returns the key of record i: nil if it is null, and an empty slice that is not nil if it is empty. The bytes
// belong to the batch and must not be changed.
func (b *Batch) Key(i int) []byte { return b.Records[i].key(b.Arena) }

// Value returns the value of record i, with the same rules as Key.
func (b *Batch) Value(i int) []byte { return b.Records[i].value(b.Arena) }

// Headers yields the headers of record i in order; their bytes belong to the batch.
func (b *Batch) Headers(i int) iter.Seq[Header] { return b.Records[i].headers(b.Arena) }

// RawHeaders returns the headers of record i as AppendHeaders encodes them; empty if there are none.
func (b *Batch) RawHeaders(i int) []byte { return b.Records[i].rawHeaders(b.Arena) }

// Time is the event time of record i, in milliseconds since the Unix epoch: its timestamp, unless there is another one.
func (b *Batch) Time(i int) int64 {
	if b.Times != nil && b.Times[i] >= 0 {
		return b.Times[i]
	}
	return b.Records[i].Timestamp
}

// Size is the number of bytes of key, value and headers of record i.
func (b *Batch) Size(i int) int { return b.Records[i].size() }

// Append adds a record, copying its bytes into the arena, and moves Next behind it. rawHeaders is as AppendHeaders
// makes it.
func (b *Batch) Append(offset, timestamp int64, key, value, rawHeaders []byte) {
	var s span
	b.Arena, s = appendSpan(b.Arena, key, value, rawHeaders)
	b.Records = append(b.Records, Record{Offset: offset, Timestamp: timestamp, span: s})
	b.Next = offset + 1
	if len(rawHeaders) > 0 {
		b.noteRedriven(offset, rawHeaders)
	}
}

// AppendAll adds records of another batch's, or of a client's that lays them out alike: their bytes follow each other in an arena, and are copied. It
// moves Next behind the last one.
func (b *Batch) AppendAll(records []Record, arena []byte) {
	if len(records) == 0 {
		return
	}
	last := &records[len(records)-1]
	from, to := records[0].pos, last.pos+uint32(last.Size())
	checkArena(len(b.Arena) + int(to-from))
	moved := uint32(len(b.Arena)) - from // may wrap around, and back
	n := len(b.Records)
	b.Arena, b.Records, b.Next = append(b.Arena, arena[from:to]...), append(b.Records, records...), last.Offset+1
	for i := n; i < len(b.Records); i++ {
		r := &b.Records[i]
		r.pos += moved
		if r.headersLen > 0 {
			b.noteRedriven(r.Offset, r.rawHeaders(b.Arena))
		}
	}
}

// Output is the fixed-size part of one record of Outputs.
type Output struct {
	Topic     int32 // index into the topics of the plan
	Partition int32
	Timestamp int64 // milliseconds since the Unix epoch; 0: the producer's clock
	span
}

// Outputs is a run of records to be produced, for any topics and partitions: one arena and one array of metadata. It
// has one owner at a time and is handed on whole.
type Outputs struct {
	Records []Output
	Arena   []byte
	Journal bool // they are records of a changelog: in a transaction with the offsets whatever the guarantee is
}

// Len is the number of records.
func (o *Outputs) Len() int { return len(o.Records) }

// Key returns the key of record i: nil if null. The bytes belong to o.
func (o *Outputs) Key(i int) []byte { return o.Records[i].key(o.Arena) }

// Value returns the value of record i: nil if null. The bytes belong to o.
func (o *Outputs) Value(i int) []byte { return o.Records[i].value(o.Arena) }

// Headers yields the headers of record i in order; their bytes belong to o.
func (o *Outputs) Headers(i int) iter.Seq[Header] { return o.Records[i].headers(o.Arena) }

// RawHeaders returns the headers of record i as AppendHeaders encodes them; empty if there are none.
func (o *Outputs) RawHeaders(i int) []byte { return o.Records[i].rawHeaders(o.Arena) }

// Size is the number of bytes of key, value and headers of record i.
func (o *Outputs) Size(i int) int { return o.Records[i].size() }

// Grow makes room for so many more records and bytes, so that they are added without growing step by step.
func (o *Outputs) Grow(records, size int) {
	o.Records, o.Arena = slices.Grow(o.Records, records), slices.Grow(o.Arena, size)
}

// Layout says where the bytes of record i are in the arena: key, value and headers follow each other from pos on. A length of
// -1 is null.
func (o *Outputs) Layout(i int) (pos uint32, key, value, headers int32) {
	r := &o.Records[i]
	return r.pos, r.keyLen, r.valueLen, r.headersLen
}

// Append adds a record, copying its bytes into the arena.
func (o *Outputs) Append(topic, partition int32, timestamp int64, key, value, rawHeaders []byte) {
	var s span
	o.Arena, s = appendSpan(o.Arena, key, value, rawHeaders)
	o.Records = append(o.Records, Output{Topic: topic, Partition: partition, Timestamp: timestamp, span: s})
}

// AppendAll adds all records of other, copying their bytes. other may be o itself.
func (o *Outputs) AppendAll(other *Outputs) {
	checkArena(len(o.Arena) + len(other.Arena))
	base := uint32(len(o.Arena))
	o.Arena = append(o.Arena, other.Arena...)
	for _, r := range other.Records {
		r.pos += base
		o.Records = append(o.Records, r)
	}
}

// Truncate drops all records from record n on, and the bytes from arena on.
func (o *Outputs) Truncate(n, arena int) { o.Records, o.Arena = o.Records[:n], o.Arena[:arena] }

// Reset empties o and keeps its memory. Only for an o whose bytes nobody else has seen.
func (o *Outputs) Reset() {
	if poison.On {
		for i := range o.Records {
			o.Records[i] = Output{Topic: -1, Partition: -1, span: span{pos: math.MaxUint32 / 2, keyLen: 1, valueLen: 1}}
		}
	}
	o.Truncate(0, 0)
}

func (s span) key(arena []byte) []byte { return cut(arena, s.pos, s.keyLen) }

func (s span) value(arena []byte) []byte {
	return cut(arena, s.pos+uint32(max(s.keyLen, 0)), s.valueLen)
}

func (s span) rawHeaders(arena []byte) []byte {
	return cut(arena, s.pos+uint32(max(s.keyLen, 0))+uint32(max(s.valueLen, 0)), s.headersLen)
}

func (s span) headers(arena []byte) iter.Seq[Header] {
	return func(yield func(Header) bool) {
		for raw := s.rawHeaders(arena); len(raw) > 0; {
			var h Header
			var ok bool
			if h, raw, ok = nextHeader(raw); !ok || !yield(h) {
				return
			}
		}
	}
}

// empty is what an empty key or value is: not nil.
var empty = []byte{}

func cut(arena []byte, pos uint32, n int32) []byte {
	switch {
	case n < 0:
		return nil
	case n == 0:
		return empty
	}
	return arena[pos : pos+uint32(n) : pos+uint32(n)]
}

// checkArena panics where positions of 32 bits would wrap around and records turn into one another's bytes. Epochs are
// sealed, and batches end, long before: who gets here has a bug.
func checkArena(size int) {
	if uint64(size) > math.MaxUint32 {
		panic(fmt.Sprintf("kafka: an arena of %d bytes; 4 GiB are the limit", size))
	}
}

func appendSpan(arena, key, value, rawHeaders []byte) ([]byte, span) {
	checkArena(len(arena) + len(key) + len(value) + len(rawHeaders))
	s := span{pos: uint32(len(arena)), keyLen: length(key), valueLen: length(value), headersLen: int32(len(rawHeaders))}
	arena = append(arena, key...)
	arena = append(arena, value...)
	return append(arena, rawHeaders...), s
}

func length(b []byte) int32 {
	if b == nil {
		return -1
	}
	return int32(len(b))
}

// AppendHeaders appends headers to dst in the form that batches keep them: for each, the length of its key and the key,
// the length of its value plus one (0 for null) and the value, lengths as unsigned varints.
func AppendHeaders(dst []byte, headers ...Header) []byte {
	for _, h := range headers {
		dst = binary.AppendUvarint(dst, uint64(len(h.Key)))
		dst = append(dst, h.Key...)
		if h.Value == nil {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(h.Value))+1)
		dst = append(dst, h.Value...)
	}
	return dst
}

// nextHeader cuts the first header off raw; ok is false if raw is not what AppendHeaders makes.
func nextHeader(raw []byte) (h Header, rest []byte, ok bool) {
	key, raw, ok := cutField(raw, 0)
	if !ok || key == nil {
		return h, nil, false
	}
	value, raw, ok := cutField(raw, 1)
	return Header{Key: string(key), Value: value}, raw, ok
}

// cutField cuts a length, less bias, and that many bytes off raw; a length below the bias is null.
func cutField(raw []byte, bias uint64) (field, rest []byte, ok bool) {
	n, k := binary.Uvarint(raw)
	if k <= 0 {
		return nil, nil, false
	}
	raw = raw[k:]
	if n < bias {
		return nil, raw, true
	}
	if n -= bias; n > uint64(len(raw)) {
		return nil, nil, false
	}
	return raw[:n:n], raw[n:], true
}
