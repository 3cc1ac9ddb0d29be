package codec_test

import (
	"maps"
	"math"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/topology/codec"
)

type order struct {
	ID    string            `json:"id"`
	Lines []int             `json:"lines,omitempty"`
	Tags  map[string]string `json:"tags,omitempty"`
}

// A value comes back as it was, behind whatever stood in the buffer; and so does its text.
func roundTrip[T any](t *testing.T, c codec.Codec[T], gen *rapid.Generator[T]) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		v := gen.Draw(t, "value")
		before := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "before")
		b, err := c.Append(before, v)
		require.NoError(t, err)
		require.Equal(t, before, b[:len(before):len(before)])
		got, err := c.Decode(b[len(before):])
		require.NoError(t, err)
		require.Equal(t, v, got)

		text := codec.TextOf(c)
		got, err = text.Parse(text.Format(v))
		require.NoError(t, err)
		require.Equal(t, v, got)
	})
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	roundTrip(t, codec.String, rapid.String())
	roundTrip(t, codec.Bytes, rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte("base64:" + s) })))
	roundTrip(t, codec.Int64, rapid.Int64())
	roundTrip(t, codec.Int32, rapid.Int32())
	roundTrip(t, codec.Float64, rapid.Float64())
	roundTrip(t, codec.JSON[order](), rapid.Custom(func(t *rapid.T) order {
		return order{ID: rapid.StringMatching(`[a-z<>&"]*`).Draw(t, "id"), Lines: rapid.SliceOfN(rapid.Int(), 1, 3).Draw(t, "lines")}
	}))
}

// The encodings are those of Kafka's own serializers.
func TestBytesAreKafkas(t *testing.T) {
	t.Parallel()
	b, err := codec.Int64.Append(nil, -2)
	require.NoError(t, err)
	require.Equal(t, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}, b)
	b, err = codec.Int32.Append(nil, 258)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 1, 2}, b)
	b, err = codec.Float64.Append(nil, 1)
	require.NoError(t, err)
	require.Equal(t, []byte{0x3f, 0xf0, 0, 0, 0, 0, 0, 0}, b)
	b, err = codec.Float64.Append(nil, math.Inf(-1))
	require.NoError(t, err)
	require.Equal(t, []byte{0xff, 0xf0, 0, 0, 0, 0, 0, 0}, b)
}

// Equal keys have equal encodings: maps are written in the order of their keys.
func TestJSONIsDeterministic(t *testing.T) {
	t.Parallel()
	c := codec.JSON[map[string]int]()
	require.NoError(t, quick.Check(func(m map[string]int) bool {
		a, err := c.Append(nil, m)
		require.NoError(t, err)
		again := map[string]int{}
		maps.Copy(again, m)
		b, err := c.Append(nil, again)
		return err == nil && string(a) == string(b)
	}, &quick.Config{MaxCount: 50}))
}

func TestWrongLengths(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 3, 5, 7, 9, 16} {
		_, err := codec.Int64.Decode(make([]byte, n))
		require.ErrorContains(t, err, "an int64 has 8 bytes")
		_, err = codec.Float64.Decode(make([]byte, n))
		require.ErrorContains(t, err, "a float64 has 8 bytes")
		_, err = codec.Int32.Decode(make([]byte, n))
		require.ErrorContains(t, err, "an int32 has 4 bytes")
	}
}

// A caller that changes decoded bytes, or appends to them, changes nothing of the batch that they came in.
func TestBytesAreACopy(t *testing.T) {
	t.Parallel()
	b := []byte("abc")
	v, err := codec.Bytes.Decode(b)
	require.NoError(t, err)
	v[0] = 'x'
	require.Equal(t, "abc", string(b))
	v, err = codec.Bytes.Decode(nil)
	require.NoError(t, err)
	require.NotNil(t, v, "empty is not null")
}

func TestBadText(t *testing.T) {
	t.Parallel()
	_, err := codec.TextOf(codec.Int64).Parse("twelve")
	require.EqualError(t, err, `"twelve" is not an int64: invalid syntax`)
	_, err = codec.TextOf(codec.Int32).Parse("3000000000")
	require.EqualError(t, err, `"3000000000" is not an int32: value out of range`)
	_, err = codec.TextOf(codec.Float64).Parse("")
	require.EqualError(t, err, `"" is not a float64: invalid syntax`)
	_, err = codec.TextOf(codec.Bytes).Parse("base64:!")
	require.ErrorContains(t, err, "is not base64")
	_, err = codec.TextOf(codec.JSON[order]()).Parse("{")
	require.Error(t, err)
}

// hex is a user's codec without a text form of its own.
type hex struct{}

func (hex) Append(dst []byte, v uint8) ([]byte, error) { return append(dst, v), nil }
func (hex) Decode(b []byte) (uint8, error)             { return b[0], nil }

func TestTextDefaultsToJSON(t *testing.T) {
	t.Parallel()
	text := codec.TextOf[uint8](hex{})
	require.Equal(t, "7", text.Format(7))
	v, err := text.Parse("8")
	require.NoError(t, err)
	require.EqualValues(t, 8, v)
	require.Contains(t, codec.TextOf(codec.JSON[any]()).Format(func() {}), "0x", "what JSON cannot write is written somehow")
}

// No decoder panics, and what one takes it writes back as the same value.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "null", `{"id":"a","lines":[1]}`, "\x00\x00\x00\x01", "12345678", "base64:", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		same(t, codec.String, b)
		same(t, codec.Bytes, b)
		same(t, codec.Int64, b)
		same(t, codec.Int32, b)
		same(t, codec.JSON[order](), b)
		if v, err := codec.Float64.Decode(b); err == nil {
			again, err := codec.Float64.Append(nil, v)
			require.NoError(t, err)
			require.Equal(t, b, again)
		}
	})
}

func same[T any](t *testing.T, c codec.Codec[T], b []byte) {
	t.Helper()
	v, err := c.Decode(b)
	if err != nil {
		return
	}
	again, err := c.Append(nil, v)
	require.NoError(t, err)
	w, err := c.Decode(again)
	require.NoError(t, err)
	third, err := c.Append(nil, w)
	require.NoError(t, err)
	require.Equal(t, again, third)
}
