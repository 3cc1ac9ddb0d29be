// Package codec turns keys and values into the bytes of Kafka records and back.
//
// Which codec writes what, which may be used for keys and how values look as text: docs/codecs.md.
package codec

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
)

// Codec turns values of one type into bytes and back. Implementations are safe for use by many goroutines at once.
//
// A null key or value never reaches a codec: the engine keeps null and empty apart by itself.
type Codec[T any] interface {
	// Append appends the encoding of v to dst and returns the extended slice. It must not keep dst. Equal keys must have
	// equal encodings.
	Append(dst []byte, v T) ([]byte, error)
	// Decode decodes b. The result may share b's bytes, which never change.
	Decode(b []byte) (T, error)
}

// Text is what a codec may offer besides, for commands that print values and read them from a line of text. Where a
// codec offers none, JSON is used.
type Text[T any] interface {
	Format(v T) string
	Parse(s string) (T, error)
}

// Checker is what a codec may offer besides: Check says what is wrong with how it was made (a schema that does not parse), or returns
// nil. It does no I/O. Plan reports it as a fault of the topology.
type Checker interface{ Check() error }

// KeyChecker is what a codec may offer besides: CheckKey says why equal values may have different encodings, so that it cannot be used
// for keys, or returns nil. A codec without it may be used for keys.
type KeyChecker interface{ CheckKey() error }

// Wrapper is what a codec around another one may offer besides: how values are written as text, and what is wrong with them, is then
// asked of the inner codec wherever it says nothing itself.
type Wrapper[T any] interface{ Unwrap() Codec[T] }

// TextOf returns how values of a codec are written as text: as the codec says, else as the codec inside it does, else as JSON, with ***
// for fields that are tagged `troupe:"secret"`.
func TextOf[T any](c Codec[T]) Text[T] {
	if t, ok := c.(Text[T]); ok {
		return t
	}
	if w, ok := c.(Wrapper[T]); ok {
		return TextOf(w.Unwrap())
	}
	return jsonCodec[T]{}
}

// Check says what is wrong with a codec as it was made, or with the tags of its type; nil if nothing is.
func Check[T any](c Codec[T]) error {
	return errors.Join(append(checks(c), tagFaults(reflect.TypeFor[T]())...)...)
}

func checks[T any](c Codec[T]) []error {
	var errs []error
	if x, ok := c.(Checker); ok {
		if err := x.Check(); err != nil {
			errs = append(errs, err)
		}
	}
	if w, ok := c.(Wrapper[T]); ok {
		errs = append(errs, checks(w.Unwrap())...)
	}
	return errs
}

// CheckKey says why a codec cannot be used for keys; nil if it can.
func CheckKey[T any](c Codec[T]) error {
	if x, ok := c.(KeyChecker); ok {
		return x.CheckKey()
	}
	if w, ok := c.(Wrapper[T]); ok {
		return CheckKey(w.Unwrap())
	}
	return nil
}

// ForKeys vouches that a codec gives equal keys equal bytes, now and in all later versions of the program, though it cannot say so
// itself: for keys that other programs have chosen, such as small Protobuf messages. Where it is not so, a key is in two partitions, and
// in a table twice.
func ForKeys[T any](c Codec[T]) Codec[T] { return vouched[T]{c} }

type vouched[T any] struct{ Codec[T] }

// Unwrap implements Wrapper.
func (c vouched[T]) Unwrap() Codec[T] { return c.Codec }

// Check implements Checker.
func (c vouched[T]) Check() error {
	if c.Codec == nil {
		return errors.New("there is no codec to vouch for: pass one")
	}
	return nil
}

// CheckKey implements KeyChecker.
func (vouched[T]) CheckKey() error { return nil }

// InvalidError says that a value's own Validate refuses it. Trying again does not help.
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return fmt.Sprintf("it is not valid: %v", e.Err) }

// Unwrap returns the error of Validate.
func (e *InvalidError) Unwrap() error { return e.Err }

// Permanent says that trying again does not help.
func (e *InvalidError) Permanent() bool { return true }

type validator interface{ Validate() error }

// Validator returns what calls the method Validate() error of values of type T, declared on T or *T; nil if there is none. Its error is
// an *InvalidError. A nil pointer is valid. The topology calls it after each decode from a topic, before each send, and before each
// write to a table, whatever the codec; what is read back from a table was valid when it was written, and is not asked again.
func Validator[T any]() func(v T) error {
	t, is := reflect.TypeFor[T](), reflect.TypeFor[validator]()
	switch {
	case t.Kind() == reflect.Interface:
		return func(v T) error {
			x, ok := any(v).(validator)
			if !ok {
				return nil
			}
			return valid(x)
		}
	case t.Implements(is):
		return func(v T) error { return valid(any(v).(validator)) } //nolint:forcetypeassert // it does
	case reflect.PointerTo(t).Implements(is):
		return func(v T) error { return valid(any(&v).(validator)) } //nolint:forcetypeassert // it does
	}
	return nil
}

func valid(v validator) (err error) {
	defer func() {
		switch r := recover(); {
		case r == nil:
		case embedsNil(reflect.ValueOf(v)): // the method comes with that pointer, or uses it: there is nothing to say about what is not there
			if _, ok := r.(runtime.Error); !ok {
				panic(r)
			}
			err = nil
		default:
			panic(r)
		}
	}()
	if x := reflect.ValueOf(v); x.Kind() == reflect.Pointer && x.IsNil() {
		return nil
	}
	if err := v.Validate(); err != nil {
		return &InvalidError{err}
	}
	return nil
}

// embedsNil says whether a struct embeds a pointer that is nil and could be asked whether it is valid.
func embedsNil(v reflect.Value) bool {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return false
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Pointer && v.Field(i).IsNil() && f.Type.Implements(reflect.TypeFor[validator]()) {
			return true
		}
	}
	return false
}
