package codec_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/topology/codec"
)

func TestProto(t *testing.T) {
	t.Parallel()
	c := codec.Proto[*structpb.Struct]()
	text := codec.TextOf(c)
	rapid.Check(t, func(t *rapid.T) {
		v := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for k, n := range rapid.MapOf(rapid.String(), rapid.Float64Range(-1e9, 1e9)).Draw(t, "fields") {
			v.Fields[k] = structpb.NewNumberValue(n)
		}
		b, err := c.Append([]byte("before"), v)
		require.NoError(t, err)
		again, err := c.Append([]byte("before"), &structpb.Struct{Fields: maps.Clone(v.Fields)})
		require.NoError(t, err)
		require.Equal(t, b, again)
		got, err := c.Decode(b[len("before"):])
		require.NoError(t, err)
		require.True(t, proto.Equal(v, got))
		got, err = text.Parse(text.Format(v))
		require.NoError(t, err)
		require.True(t, proto.Equal(v, got))
	})
	require.Equal(t, `{"a":1,"b":2}`, text.Format(&structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewNumberValue(1), "b": structpb.NewNumberValue(2)}}))
	_, err := c.Decode([]byte("\xff\xff"))
	require.Error(t, err)
	_, err = text.Parse("{")
	require.Error(t, err)

	require.NoError(t, codec.Check(c))
	require.ErrorContains(t, codec.CheckKey(c), "other bytes in another build")
	require.NoError(t, codec.CheckKey(codec.ForKeys(c)))
	require.ErrorContains(t, codec.Check(codec.ForKeys[string](nil)), "no codec to vouch for")
	require.ErrorContains(t, codec.Check(codec.Proto[proto.Message]()), "is not a generated Protobuf message")
	_, err = codec.Proto[proto.Message]().Decode(nil)
	require.ErrorContains(t, err, "is not a generated Protobuf message")
	_, err = codec.Proto[proto.Message]().Append(nil, nil)
	require.ErrorContains(t, err, "is not a generated Protobuf message")
}

// secretMessage makes a message with fields that are not shown: there is none among those that come with Protobuf.
func secretMessage(t *testing.T) protoreflect.MessageDescriptor {
	t.Helper()
	field := func(name string, n int32, typ descriptorpb.FieldDescriptorProto_Type, label descriptorpb.FieldDescriptorProto_Label, secret bool) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, JsonName: &name, Number: &n, Type: &typ, Label: &label}
		if typ == descriptorpb.FieldDescriptorProto_TYPE_MESSAGE {
			f.TypeName = new(".M")
		}
		if secret {
			f.Options = &descriptorpb.FieldOptions{DebugRedact: new(true)}
		}
		return f
	}
	const one, many = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	f, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("m.proto"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("M"), Field: []*descriptorpb.FieldDescriptorProto{
			field("name", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING, one, false),
			field("token", 2, descriptorpb.FieldDescriptorProto_TYPE_STRING, one, true),
			field("pin", 3, descriptorpb.FieldDescriptorProto_TYPE_INT32, one, true),
			field("many", 4, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, many, false),
			field("one", 5, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, one, false),
		}}},
	}, nil)
	require.NoError(t, err)
	return f.Messages().Get(0)
}

func TestProtoSecrets(t *testing.T) {
	t.Parallel()
	d := secretMessage(t)
	set := func(m *dynamicpb.Message, name string, v any) {
		m.Set(d.Fields().ByName(protoreflect.Name(name)), protoreflect.ValueOf(v))
	}
	in, out := dynamicpb.NewMessage(d), dynamicpb.NewMessage(d)
	set(in, "name", "inner")
	set(in, "token", "tok1")
	set(out, "token", "tok2")
	set(out, "pin", int32(7))
	set(out, "one", in)
	out.Mutable(d.Fields().ByName("many")).List().Append(protoreflect.ValueOfMessage(in))
	c := codec.Proto[*dynamicpb.Message]()
	text := codec.TextOf(c).Format(out)
	require.JSONEq(t, `{"token":"***","many":[{"name":"inner","token":"***"}],"one":{"name":"inner","token":"***"}}`, text)
	require.Equal(t, "tok2", out.Get(d.Fields().ByName("token")).String(), "what is shown is a copy")
	require.False(t, codec.HoldsSecrets(codec.Proto[*timestamppb.Timestamp]()))
	require.Error(t, codec.Check(c), "a dynamic message has no type of its own")
}

type reading struct {
	Sensor string             `cbor:"s"`
	Values map[string]float64 `cbor:"v,omitempty"`
	At     time.Time          `cbor:"t"`
	Raw    []byte             `cbor:"r,omitempty"`
	N      int64              `cbor:"n"`
}

func readings() *rapid.Generator[reading] {
	return rapid.Custom(func(t *rapid.T) reading {
		return reading{
			Sensor: rapid.String().Draw(t, "sensor"), Values: rapid.MapOfN(rapid.String(), rapid.Float64(), 1, 5).Draw(t, "values"),
			At: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC(), N: rapid.Int64().Draw(t, "n"),
			Raw: rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "raw"),
		}
	})
}

func TestCBOR(t *testing.T) {
	t.Parallel()
	c := codec.CBOR[reading]()
	roundTrip(t, c, readings())
	rapid.Check(t, func(t *rapid.T) {
		v := readings().Draw(t, "value")
		a, err := c.Append(nil, v)
		require.NoError(t, err)
		v.Values, v.At = maps.Clone(v.Values), v.At.In(time.FixedZone("elsewhere", 3600))
		b, err := c.Append(nil, v)
		require.NoError(t, err)
		require.Equal(t, a, b, "equal values have equal bytes")
	})
	require.NoError(t, codec.CheckKey(c))
	_, err := c.Decode([]byte("\xa2\x61n\x01\x61n\x02"))
	require.ErrorContains(t, err, "duplicate")
	_, err = c.Decode([]byte("\xa0\xa0"))
	require.ErrorContains(t, err, "extraneous")
	_, err = codec.CBOR[func()]().Append(nil, func() {})
	require.Error(t, err)
	v, err := codec.CBOR[any]().Decode([]byte("\xa1\x61a\x81\x01"))
	require.NoError(t, err)
	require.Equal(t, `{"a":[1]}`, codec.TextOf(codec.CBOR[any]()).Format(v))
}

func TestCompressed(t *testing.T) {
	t.Parallel()
	for _, with := range []codec.Compression{codec.Zstd, codec.S2} {
		roundTrip(t, codec.Compressed(codec.CBOR[reading](), with), readings())
		roundTrip(t, codec.Compressed(codec.String, with), rapid.String())
		c := codec.Compressed(codec.Bytes, with)
		long := []byte(strings.Repeat("much the same ", 1000))
		b, err := c.Append(nil, long)
		require.NoError(t, err)
		require.Less(t, len(b), len(long)/10)
		again, err := c.Append(nil, long)
		require.NoError(t, err)
		require.Equal(t, b, again)
		for i := range b {
			if v, err := c.Decode(b[:i]); err == nil {
				require.NotEqual(t, long, v)
			}
		}
		require.ErrorContains(t, codec.CheckKey(c), "compressed to other bytes")
		require.NoError(t, codec.Check(c))
		require.Equal(t, "plain", codec.TextOf(codec.Compressed(codec.String, with)).Format("plain"))
		_, err = c.Append(nil, make([]byte, 64<<20+1))
		require.ErrorContains(t, err, "at most")
	}
	for _, bomb := range []string{"\xff\xff\xff\xff\x0f\x00", "\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"} {
		_, err := codec.Compressed(codec.Bytes, codec.S2).Decode([]byte(bomb))
		require.Error(t, err)
		_, err = codec.Compressed(codec.Bytes, codec.Zstd).Decode([]byte(bomb))
		require.Error(t, err)
	}
	require.ErrorContains(t, codec.Check(codec.Compressed(codec.String, 9)), "there is no compression 9")
	require.ErrorContains(t, codec.Check(codec.Compressed[string](nil, codec.S2)), "no codec to compress")
	require.ErrorContains(t, codec.Check(codec.Compressed(codec.Proto[proto.Message](), codec.S2)), "not a generated", "what is inside is checked too")
}

var errNegative = errors.New("amount is negative")

type payment struct{ Amount int }

func (p payment) Validate() error {
	if p.Amount < 0 {
		return errNegative
	}
	return nil
}

type refund struct{ Amount int }

func (r *refund) Validate() error { return payment(*r).Validate() }

func TestValidator(t *testing.T) {
	t.Parallel()
	require.Nil(t, codec.Validator[string]())
	require.Nil(t, codec.Validator[*string]())
	for _, err := range []error{
		codec.Validator[payment]()(payment{-1}), codec.Validator[*payment]()(&payment{-1}), codec.Validator[refund]()(refund{-1}),
		codec.Validator[*refund]()(&refund{-1}), codec.Validator[any]()(payment{-1}),
	} {
		require.ErrorIs(t, err, errNegative)
		require.EqualError(t, err, "it is not valid: amount is negative")
		var invalid *codec.InvalidError
		require.ErrorAs(t, err, &invalid)
		require.True(t, invalid.Permanent())
	}
	for _, err := range []error{
		codec.Validator[payment]()(payment{1}), codec.Validator[*payment]()(nil), codec.Validator[refund]()(refund{1}),
		codec.Validator[*refund]()(nil), codec.Validator[any]()("x"), codec.Validator[any]()(nil),
	} {
		require.NoError(t, err)
	}
}

// No decoder panics, whatever it is given, and what it takes it writes again.
func FuzzMoreDecoders(f *testing.F) {
	for _, s := range []string{
		"", "{}", `{"id":"a","home":{"city":"x"}}`, `{"any":[1e400]}`, "\xa1\x61s\x61x", "\xa1\x61t\xc0\x74" + "2026-01-02T03:04:05Z", "\x0a\x07\x0a\x01a\x12\x02\x08\x00", "\x28\xb5\x2f\xfd\x04\x00\x09\x00\x00a",
		"\x02\x04ab", "\xff\xff\xff\xff\x0f",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		same(t, codec.JSONWith[invoice](codec.JSONOptions{Strict: true, ExactNumbers: true}), b)
		same(t, codec.CBOR[reading](), b)
		same(t, codec.Proto[*structpb.Struct](), b)
		same(t, codec.Proto[*wrapperspb.StringValue](), b)
		same(t, codec.Compressed(codec.String, codec.S2), b)
		same(t, codec.Compressed(codec.String, codec.Zstd), b)
		for _, format := range []func(){
			func() { _, _ = codec.TextOf(codec.JSONWith[wallet](codec.JSONOptions{Strict: true})).Parse(string(b)) },
			func() { _, _ = codec.TextOf(codec.Proto[*structpb.Struct]()).Parse(string(b)) },
			func() {
				if v, err := codec.CBOR[any]().Decode(b); err == nil {
					_ = codec.TextOf(codec.CBOR[any]()).Format(v)
				}
			},
		} {
			format()
		}
	})
}
