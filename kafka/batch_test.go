package kafka_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
)

// model is a record as a test keeps it.
type model struct {
	topic, partition  int32
	offset, timestamp int64
	key, value        []byte
	headers           []kafka.Header
}

// nullable draws bytes that may be null or empty.
func nullable() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return []byte{}
		}
		return rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "bytes")
	})
}

func models() *rapid.Generator[model] {
	return rapid.Custom(func(t *rapid.T) model {
		header := rapid.Custom(func(t *rapid.T) kafka.Header {
			return kafka.Header{Key: rapid.String().Draw(t, "header"), Value: nullable().Draw(t, "value")}
		})
		return model{
			topic: rapid.Int32Range(0, 3).Draw(t, "topic"), partition: rapid.Int32Range(0, 3).Draw(t, "partition"),
			offset: rapid.Int64Range(0, 1<<40).Draw(t, "offset"), timestamp: rapid.Int64().Draw(t, "timestamp"),
			key: nullable().Draw(t, "key"), value: nullable().Draw(t, "value"), headers: rapid.SliceOfN(header, 0, 4).Draw(t, "headers"),
		}
	})
}

// equal compares bytes and tells null from empty.
func equal(t require.TestingT, want, got []byte) {
	require.Equal(t, want == nil, got == nil, "null")
	require.True(t, bytes.Equal(want, got), "%q, not %q", got, want)
}

func equalHeaders(t require.TestingT, want []kafka.Header, got []kafka.Header) {
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].Key, got[i].Key)
		equal(t, want[i].Value, got[i].Value)
	}
}

func TestBatchKeepsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.SliceOfN(models(), 0, 30).Draw(t, "records")
		b := &kafka.Batch{Topic: "t"}
		for _, m := range ms {
			b.Append(m.offset, m.timestamp, m.key, m.value, kafka.AppendHeaders(nil, m.headers...))
			require.Equal(t, m.offset+1, b.Next)
		}
		require.Equal(t, len(ms), b.Len())
		size := 0
		for i, m := range ms {
			require.Equal(t, m.offset, b.Records[i].Offset)
			require.Equal(t, m.timestamp, b.Records[i].Timestamp)
			equal(t, m.key, b.Key(i))
			equal(t, m.value, b.Value(i))
			equalHeaders(t, m.headers, slices.Collect(b.Headers(i)))
			require.Equal(t, len(m.key)+len(m.value)+len(b.RawHeaders(i)), b.Size(i))
			size += b.Size(i)
		}
		require.Len(t, b.Arena, size)
	})
}

func TestBytesOfARecordCannotGrowIntoTheNext(t *testing.T) {
	t.Parallel()
	b := new(kafka.Batch)
	b.Append(0, 0, []byte("key"), []byte("value"), kafka.AppendHeaders(nil, kafka.Header{Key: "h", Value: []byte("x")}))
	_ = append(b.Key(0), "!!!"...)
	_ = append(b.Value(0), "!!!"...)
	for h := range b.Headers(0) {
		_ = append(h.Value, "!!!"...)
	}
	require.Equal(t, "value", string(b.Value(0)))
	require.Equal(t, []kafka.Header{{Key: "h", Value: []byte("x")}}, slices.Collect(b.Headers(0)))
}

func TestHeadersEndWhereTheReaderStops(t *testing.T) {
	t.Parallel()
	b := new(kafka.Batch)
	b.Append(0, 0, nil, nil, kafka.AppendHeaders(nil, kafka.Header{Key: "a"}, kafka.Header{Key: "b"}))
	for h := range b.Headers(0) {
		require.Equal(t, "a", h.Key)
		break
	}
}

// outputs runs a script of appends, joins and truncations on Outputs and on a model.
func TestOutputsInAnyOrderOfCalls(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := new(kafka.Outputs)
		var want []model
		add := func(o *kafka.Outputs, m model) {
			o.Append(m.topic, m.partition, m.timestamp, m.key, m.value, kafka.AppendHeaders(nil, m.headers...))
		}
		type mark struct{ n, arena, want int }
		var marks []mark
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				m := models().Draw(t, "record")
				add(o, m)
				want = append(want, m)
			},
			"append all": func(t *rapid.T) {
				other := new(kafka.Outputs)
				for _, m := range rapid.SliceOfN(models(), 0, 5).Draw(t, "records") {
					add(other, m)
					want = append(want, m)
				}
				o.AppendAll(other)
			},
			"append itself": func(*rapid.T) {
				if len(want) < 100 {
					o.AppendAll(o)
					want = append(want, want...)
				}
			},
			"mark": func(*rapid.T) { marks = append(marks, mark{o.Len(), len(o.Arena), len(want)}) },
			"truncate": func(t *rapid.T) {
				if len(marks) > 0 {
					i := rapid.IntRange(0, len(marks)-1).Draw(t, "mark")
					o.Truncate(marks[i].n, marks[i].arena)
					want, marks = want[:marks[i].want], marks[:i]
				}
			},
			"reset": func(*rapid.T) {
				o.Reset()
				want, marks = nil, nil
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(want), o.Len())
				for i, m := range want {
					r := o.Records[i]
					require.Equal(t, []int64{int64(m.topic), int64(m.partition), m.timestamp}, []int64{int64(r.Topic), int64(r.Partition), r.Timestamp})
					equal(t, m.key, o.Key(i))
					equal(t, m.value, o.Value(i))
					equalHeaders(t, m.headers, slices.Collect(o.Headers(i)))
					require.Equal(t, len(m.key)+len(m.value)+len(o.RawHeaders(i)), o.Size(i))
				}
			},
		})
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte{})
	f.Add(kafka.AppendHeaders(nil, kafka.Header{Key: "a", Value: []byte("b")}, kafka.Header{Key: "", Value: nil}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{1, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := new(kafka.Batch)
		b.Append(0, 0, []byte("k"), []byte("v"), raw)
		b.Append(1, 0, []byte("k"), []byte("v"), nil)
		got := slices.Collect(b.Headers(0))
		again := new(kafka.Batch)
		again.Append(0, 0, nil, nil, kafka.AppendHeaders(nil, got...))
		equalHeaders(t, got, slices.Collect(again.Headers(0)))
	})
}

// Records of other batches are those that they were, and no bytes between them come with them.
func TestBatchesAreAppended(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want, from, got := new(kafka.Batch), new(kafka.Batch), new(kafka.Batch)
		for range rapid.IntRange(0, 4).Draw(t, "runs") {
			begin := from.Len()
			for _, m := range rapid.SliceOfN(models(), 0, 5).Draw(t, "records") {
				raw := kafka.AppendHeaders(nil, m.headers...)
				want.Append(m.offset, m.timestamp, m.key, m.value, raw)
				from.Append(m.offset, m.timestamp, m.key, m.value, raw)
				require.Equal(t, len(m.key)+len(m.value)+len(raw), from.Records[from.Len()-1].Size())
			}
			got.AppendAll(from.Records[begin:], from.Arena)
			from.Append(0, 0, []byte("between"), nil, nil)
		}
		require.Equal(t, want.Arena, got.Arena)
		require.Equal(t, want.Records, got.Records)
		require.Equal(t, want.Next, got.Next)
	})
}
