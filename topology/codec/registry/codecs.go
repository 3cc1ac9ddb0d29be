package registry

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/codec/avro"
)

// JSON returns a codec that writes values as JSON in the registry's wire format, with the id of a JSON Schema. It reads what any id
// says is JSON, by the options, without looking at its schema: T is what it is checked against, and its Validate.
func JSON[T any](r *Registry, subject, schema string, o codec.JSONOptions) codec.Codec[T] {
	return newCodec(r, subject, sr.Schema{Schema: schema, Type: sr.TypeJSON}, codec.JSONWith[T](o))
}

// Avro returns a codec that writes values by an Avro schema in the registry's wire format. A value is read by the schema that it was
// written with, which is asked for once by its id, and resolved to that of this program: fields that the writer did not have get their
// defaults. Schemas with references to others are not supported. Tags of fields are those of package avro.
func Avro[T any](r *Registry, subject, schema string) codec.Codec[T] {
	c := newCodec(r, subject, sr.Schema{Schema: schema, Type: sr.TypeAvro}, avro.New[T](schema))
	var readers sync.Map // of codec.Codec[T], by id
	c.decode = func(id int, b []byte) (v T, err error) {
		if x, ok := readers.Load(id); ok {
			return x.(codec.Codec[T]).Decode(b) //nolint:forcetypeassert // nothing else is in it
		}
		from, err := r.writer(id)
		if err != nil {
			return v, err
		}
		x := avro.NewReader[T](schema, from)
		readers.Store(id, x)
		return x.Decode(b)
	}
	return c
}

// Proto returns a codec that writes Protobuf messages in the registry's wire format. The schema is the text of the .proto file that T is
// generated from; empty, the file's descriptor is registered in its place, which Confluent's registry takes, in base64. A file may
// import those that come with Protobuf; references to others are not supported. Any id is read as T, whose place in its file must be
// what the record says.
func Proto[T proto.Message](r *Registry, subject, schema string) codec.Codec[T] {
	var zero T
	inner := codec.Proto[T]()
	s := sr.Schema{Schema: schema, Type: sr.TypeProtobuf}
	if codec.Check(inner) != nil {
		return newCodec(r, subject, s, inner)
	}
	d := zero.ProtoReflect().Descriptor()
	var fault error
	if schema == "" {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(protodesc.ToFileDescriptorProto(d.ParentFile()))
		s.Schema, fault = base64.StdEncoding.EncodeToString(b), err
	}
	c := newCodec(r, subject, s, inner)
	c.index, c.fault = indexOf(d), errors.Join(c.fault, fault)
	return c
}

// indexOf is the place of a message in its file: its number, behind those of the messages around it.
func indexOf(d protoreflect.Descriptor) (index []int) {
	for ; d != nil; d = d.Parent() {
		if _, ok := d.(protoreflect.MessageDescriptor); !ok {
			break
		}
		index = append(index, d.Index())
	}
	slices.Reverse(index)
	return index
}

// wireCodec writes the header that the registry's clients agree on before what another codec writes.
type wireCodec[T any] struct {
	entry  *entry
	inner  codec.Codec[T]
	index  []int                             // of a Protobuf message
	decode func(id int, b []byte) (T, error) // nil: the inner codec's
	fault  error
}

func newCodec[T any](r *Registry, subject string, schema sr.Schema, inner codec.Codec[T]) *wireCodec[T] {
	c := &wireCodec[T]{inner: inner}
	switch {
	case r == nil:
		c.fault = errors.New("there is no schema registry: make one with registry.New")
		return c
	case subject == "":
		c.fault = errors.New("there is no subject in the schema registry: use registry.Value(topic) or registry.Key(topic)")
	case schema.Schema == "" && schema.Type != sr.TypeProtobuf:
		c.fault = fmt.Errorf("there is no schema for subject %s: pass its text", subject)
	}
	if c.fault == nil && codec.Check(inner) != nil { // Plan reports it; what does not parse is not registered
		return c
	}
	c.entry = r.entry(subject, schema)
	return c
}

// Unwrap implements codec.Wrapper.
func (c *wireCodec[T]) Unwrap() codec.Codec[T] { return c.inner }

// Check implements codec.Checker.
func (c *wireCodec[T]) Check() error { return c.fault }

// CheckKey implements codec.KeyChecker.
func (c *wireCodec[T]) CheckKey() error {
	return errors.New("the id of its schema is part of the bytes, which change with it")
}

func (c *wireCodec[T]) usable() error {
	if c.fault != nil {
		return c.fault
	}
	return codec.Check(c.inner)
}

var header sr.ConfluentHeader

// maxIndex is how deep a Protobuf message may be inside others.
const maxIndex = 64

func (c *wireCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	if c.entry == nil {
		return dst, c.usable()
	}
	id, err := c.entry.id()
	if err != nil {
		return dst, err
	}
	n := len(dst)
	b, err := header.AppendEncode(dst, id, c.index)
	if err == nil {
		b, err = c.inner.Append(b, v)
	}
	if err != nil {
		return dst[:n], err
	}
	return b, nil
}

func (c *wireCodec[T]) Decode(b []byte) (v T, err error) {
	if c.entry == nil {
		return v, c.usable()
	}
	id, rest, err := header.DecodeID(b)
	if err != nil {
		return v, fmt.Errorf("its %d bytes do not begin with a zero and the id of a schema: was it written without a schema registry?", len(b))
	}
	if c.index != nil {
		index, body, err := header.DecodeIndex(rest, maxIndex)
		if err != nil {
			return v, fmt.Errorf("the place of the message in schema %d cannot be read: %w", id, err)
		}
		if !slices.Equal(index, c.index) {
			return v, fmt.Errorf("it is message %v of schema %d, and %T is message %v of its own: it is of another type", index, id, v, c.index)
		}
		rest = body
	}
	if c.decode != nil {
		return c.decode(id, rest)
	}
	return c.inner.Decode(rest)
}
