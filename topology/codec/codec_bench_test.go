package codec_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/troupe-stream/troupe/topology/codec"
)

// What a value costs by its codec.
func BenchmarkCodecs(b *testing.B) {
	home := address{City: strings.Repeat("Ouagadougou ", 20), Tags: map[string]string{"a": "b"}}
	v := invoice{base: base{ID: "a-1", Note: "note"}, Home: &home, Ways: []address{home, home}, Cents: 17}
	benchCodec(b, "json", codec.JSON[invoice](), v)
	benchCodec(b, "json-strict", codec.JSONWith[invoice](codec.JSONOptions{Strict: true}), v)
	benchCodec(b, "json-exact", codec.JSONWith[invoice](codec.JSONOptions{ExactNumbers: true}), v)
	benchCodec(b, "cbor", codec.CBOR[invoice](), v)
	benchCodec(b, "json-zstd", codec.Compressed(codec.JSON[invoice](), codec.Zstd), v)
	benchCodec(b, "json-s2", codec.Compressed(codec.JSON[invoice](), codec.S2), v)
	benchCodec(b, "proto", codec.Proto[*structpb.Struct](), &structpb.Struct{Fields: map[string]*structpb.Value{
		"id": structpb.NewStringValue("a-1"), "city": structpb.NewStringValue(home.City), "cents": structpb.NewNumberValue(17),
	}})
}

func benchCodec[T any](b *testing.B, name string, c codec.Codec[T], v T) {
	b.Helper()
	enc, err := c.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run(name+"/append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(enc)))
		var buf []byte
		for b.Loop() {
			if buf, err = c.Append(buf[:0], v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(name+"/decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(enc)))
		for b.Loop() {
			if _, err := c.Decode(enc); err != nil {
				b.Fatal(err)
			}
		}
	})
}
