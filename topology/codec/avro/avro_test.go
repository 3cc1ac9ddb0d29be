package avro_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/codec/avro"
)

const schema = `{"type": "record", "name": "Order", "fields": [
	{"name": "id", "type": "string"},
	{"name": "cents", "type": "long"},
	{"name": "note", "type": ["null", "string"], "default": null},
	{"name": "lines", "type": {"type": "array", "items": "int"}, "default": []}
]}`

type order struct {
	ID    string  `avro:"id" json:"id"`
	Cents int64   `avro:"cents" json:"cents"`
	Note  *string `avro:"note" json:"note,omitempty"`
	Lines []int32 `avro:"lines" json:"lines"`
}

func orders() *rapid.Generator[order] {
	return rapid.Custom(func(t *rapid.T) order {
		return order{
			ID: rapid.StringMatching(`[a-zé]*`).Draw(t, "id"), Cents: rapid.Int64().Draw(t, "cents"), Note: rapid.Ptr(rapid.StringMatching(`\w*`), true).Draw(t, "note"),
			Lines: rapid.SliceOfN(rapid.Int32(), 1, 3).Draw(t, "lines"),
		}
	})
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	c := avro.New[order](schema)
	text := codec.TextOf(c)
	require.NoError(t, codec.Check(c))
	require.NoError(t, codec.CheckKey(c))
	rapid.Check(t, func(t *rapid.T) {
		v := orders().Draw(t, "value")
		b, err := c.Append([]byte("before"), v)
		require.NoError(t, err)
		require.Equal(t, "before", string(b[:6]))
		got, err := c.Decode(b[6:])
		require.NoError(t, err)
		require.Equal(t, v, got)
		got, err = text.Parse(text.Format(v))
		require.NoError(t, err)
		require.Equal(t, v, got)
		_, err = c.Decode(append(b[6:], 0))
		require.ErrorContains(t, err, "1 bytes are left behind the value")
	})
}

func TestSchemasThatDoNotFit(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, codec.Check(avro.New[order]("{")), "it is no Avro schema")
	_, err := avro.New[order]("{").Decode(nil)
	require.Error(t, err)
	_, err = avro.New[order]("{").Append(nil, order{})
	require.Error(t, err)
	require.ErrorContains(t, codec.CheckKey(avro.New[map[string]int32](`{"type":"map","values":"int"}`)), "has a map")
	require.ErrorContains(t, codec.CheckKey(avro.New[any](`{"type":"record","name":"r","fields":[{"name":"a","type":["null",{"type":"array","items":{"type":"map","values":"int"}}]}]}`)), "has a map")
	_, err = avro.New[order](schema).Append(nil, order{ID: "a"})
	require.NoError(t, err)
	_, err = avro.New[string](schema).Append(nil, "a")
	require.Error(t, err)
}

func TestAnotherWritersSchema(t *testing.T) {
	t.Parallel()
	const old = `{"type": "record", "name": "Order", "fields": [{"name": "cents", "type": "int"}, {"name": "gone", "type": "string"}, {"name": "id", "type": "string"}]}`
	type before struct {
		ID    string `avro:"id"`
		Cents int32  `avro:"cents"`
		Gone  string `avro:"gone"`
	}
	b, err := avro.New[before](old).Append(nil, before{"a", 5, "x"})
	require.NoError(t, err)
	v, err := avro.NewReader[order](schema, old).Decode(b)
	require.NoError(t, err)
	require.Equal(t, "a", v.ID)
	require.EqualValues(t, 5, v.Cents)
	require.Empty(t, v.Lines)
	require.ErrorContains(t, codec.Check(avro.NewReader[order](schema, `"string"`)), "the writer's schema")
	require.ErrorContains(t, codec.Check(avro.NewReader[order](schema, `{`)), "the writer's schema: it is no Avro schema")
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "\x02a\x0a\x00\x00", "\x02a\x0a\x02\x02x\x02\x04\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		f.Add([]byte(s))
	}
	c := avro.New[order](schema)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := c.Decode(b)
		if err != nil {
			return
		}
		again, err := c.Append(nil, v)
		require.NoError(t, err)
		w, err := c.Decode(again)
		require.NoError(t, err)
		require.Equal(t, v.Cents, w.Cents)
	})
}

func ExampleNew() {
	type order struct {
		ID    string `avro:"id" json:"id"`
		Cents int64  `avro:"cents" json:"cents"`
	}
	orders := avro.New[order](`{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}, {"name": "cents", "type": "long"}]}`)
	b, err := orders.Append(nil, order{"a1", 250})
	fmt.Printf("%x %v\n", b, err)
	// Output: 046131f403 <nil>
}

func ExampleNewReader() {
	type order struct {
		ID    string `avro:"id" json:"id"`
		Cents int64  `avro:"cents" json:"cents"`
	}
	const (
		now    = `{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}, {"name": "cents", "type": "long", "default": 100}]}`
		before = `{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}`
	)
	v, err := avro.NewReader[order](now, before).Decode([]byte("\x04a1"))
	fmt.Println(v, err)
	// Output: {a1 100} <nil>
}
