package codec

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// CBOR returns a codec that writes values as CBOR (RFC 8949) in its core deterministic encoding: equal values have equal bytes, maps
// too, so it may be used for keys. Of floats as keys: 0 and -0 are equal, and have two encodings.
//
// Fields are named by the tag cbor, else by json, else as in Go; all that the package github.com/fxamacker/cbor knows of tags holds.
// Times are written in UTC, to the nanosecond. Names that stand twice in a map, bytes behind the value and text that is not UTF-8 are
// refused when it is read. As text values are JSON.
func CBOR[T any]() Codec[T] { return cborCodec[T]{modes: sync.OnceValues(cborModes)} }

type cborCodec[T any] struct {
	jsonCodec[T] // its text
	modes        func() (cborMode, error)
}

type cborMode struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

// maxCBORDepth is how deep values may lie in each other: as deep as the library allows.
const maxCBORDepth = 65535

func cborModes() (m cborMode, err error) {
	o := cbor.CoreDetEncOptions()
	o.Time = cbor.TimeRFC3339NanoUTC
	if m.enc, err = o.UserBufferEncMode(); err != nil {
		return m, err
	}
	// What is written must be readable: a table's row is. The limits on elements bound no memory, since each takes a byte of input at least.
	m.dec, err = cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, DefaultMapType: reflect.TypeFor[map[string]any](), UTF8: cbor.UTF8DecodeInvalid,
		MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32, MaxNestedLevels: maxCBORDepth,
	}.DecMode()
	return m, err
}

// Check implements Checker.
func (c cborCodec[T]) Check() error {
	_, err := c.modes()
	return err
}

func (c cborCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	m, err := c.modes()
	if err != nil {
		return dst, err
	}
	b := bytes.NewBuffer(dst)
	if err := m.enc.MarshalToBuffer(v, b); err != nil {
		return dst, err
	}
	return b.Bytes(), nil
}

func (c cborCodec[T]) Decode(b []byte) (v T, err error) {
	m, err := c.modes()
	if err != nil {
		return v, err
	}
	if err = m.dec.Unmarshal(b, &v); err == nil || !holdsSecrets(reflect.TypeFor[T]()) {
		return v, err
	}
	// The error may have the value, which is not shown.
	if x, ok := errors.AsType[*cbor.UnmarshalTypeError](err); ok {
		return v, fmt.Errorf("cbor: cannot unmarshal %s into field %s of type %s", x.CBORType, x.StructFieldName, x.GoType)
	}
	return v, fmt.Errorf("cbor: cannot unmarshal into %T (%T, which is not shown: the type has secret fields)", v, err)
}
