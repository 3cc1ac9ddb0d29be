// Package avro writes keys and values in Avro's binary encoding, by a schema that writers and readers have agreed on beforehand:
//
//	const schema = `{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}, {"name": "cents", "type": "long"}]}`
//
//	orders := topology.NewTopic(t, "orders", codec.String, avro.New[Order](schema))
//
// The bytes do not tell their schema: those of another one are read as something else, or not at all. Where schemas change, use
// a schema registry (package registry), or NewReader. It is a package of its own so that who does not use it does not link it.
package avro

import (
	"errors"
	"fmt"

	"github.com/twmb/avro"

	"github.com/troupe-stream/troupe/topology/codec"
)

// New returns a codec for values of type T by a schema in JSON. Fields of structs are named by the tag avro, else as in Go; what else
// fits what is said in github.com/twmb/avro. Plan reports a schema that does not parse. As text values are JSON, by the tag json.
//
// It may be used for keys unless the schema has a map: its entries are written in no order.
func New[T any](schema string) codec.Codec[T] { return NewReader[T](schema, schema) }

// NewReader returns a codec as New does, that reads values which were written with another schema, by Avro's rules of resolution: fields
// that the writer did not have get their defaults, those that T does not have are skipped. It writes with the first schema, so it
// cannot read what it writes, unless they are the same: it is for topics that are read only. Plan reports schemas that do not fit.
func NewReader[T any](schema, writer string) codec.Codec[T] {
	c := avroCodec[T]{}
	if c.schema, c.fault = parse(schema); c.fault != nil {
		return c
	}
	c.read = c.schema
	if writer == schema {
		return c
	}
	from, err := parse(writer)
	if err == nil {
		c.read, err = avro.Resolve(from, c.schema)
	}
	if err != nil {
		c.fault = fmt.Errorf("the writer's schema: %w", err)
	}
	return c
}

func parse(schema string) (*avro.Schema, error) {
	s, err := avro.Parse(schema)
	if err != nil {
		return nil, fmt.Errorf("it is no Avro schema: %w", err)
	}
	return s, nil
}

type avroCodec[T any] struct {
	schema, read *avro.Schema
	fault        error
}

// Check implements codec.Checker.
func (c avroCodec[T]) Check() error { return c.fault }

// CheckKey implements codec.KeyChecker.
func (c avroCodec[T]) CheckKey() error {
	if c.fault == nil && hasMap(c.schema.Root()) {
		return errors.New("its Avro schema has a map, whose entries are written in no order")
	}
	return nil
}

func hasMap(n *avro.SchemaNode) bool {
	if n == nil {
		return false
	}
	if n.Type == "map" || hasMap(n.Items) || hasMap(n.Values) {
		return true
	}
	for i := range n.Fields {
		if hasMap(&n.Fields[i].Type) {
			return true
		}
	}
	for i := range n.Branches {
		if hasMap(&n.Branches[i]) {
			return true
		}
	}
	return false
}

func (c avroCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	if c.fault != nil {
		return dst, c.fault
	}
	b, err := c.schema.AppendEncode(dst, &v)
	if err != nil {
		return dst, err
	}
	return b, nil
}

func (c avroCodec[T]) Decode(b []byte) (v T, err error) {
	if c.fault != nil {
		return v, c.fault
	}
	rest, err := c.read.Decode(b, &v)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes are left behind the value: was it written with another schema?", len(rest))
	}
	return v, err
}
