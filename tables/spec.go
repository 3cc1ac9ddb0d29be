package tables

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/troupe-stream/troupe/topology/codec"
)

// Spec describes the values of a table. It is immutable once in use.
type Spec[V any] struct {
	Name    string
	Codec   codec.Codec[V]
	Valid   func(V) error // refuses values before they are written; nil: none
	Ordered bool          // keys can be scanned in the order of their encoded bytes
	// Timer makes a table one of timers, whose values know when they are due. They hold no references. Nil: it is none.
	Timer func(V) Timer
	// Stamped keeps the time of each row's last change with it: see Row.Time. In the changelog it is the record's timestamp, so that
	// values look there as those of any table.
	Stamped bool
	Default func() V // what readers are given where there is no value, anew each time; nil: the zero value
}

// missing is what a reader is given where there is no value.
func (s *Spec[V]) missing() (v V) {
	if s.Default != nil {
		return s.Default()
	}
	return v
}

// encoded says whether values are kept as bytes: those of types that hold references are, so that a value mutated by its
// user changes nothing.
func (s *Spec[V]) encoded() bool { return s.Stamped || HoldsReferences(reflect.TypeFor[V]()) }

// HoldsReferences says whether values of a type can share memory that may change. Strings cannot.
func HoldsReferences(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	case reflect.Array:
		return HoldsReferences(t.Elem())
	case reflect.Struct:
		for field := range t.Fields() {
			if HoldsReferences(field.Type) {
				return true
			}
		}
	default:
	}
	return false
}

// ErrFailed is what a shard answers between a failure and the undo that follows it.
var ErrFailed = errors.New("the shard waits for an undo")

// FuncError is the failure of a function of the user's inside a shard.
type FuncError struct {
	Table string
	Key   []byte
	Err   error
}

func (e *FuncError) Error() string {
	return fmt.Sprintf("table %s, key %q: %v", e.Table, e.Key, e.Err)
}

func (e *FuncError) Unwrap() error { return e.Err }

// TooLargeError says that a value does not fit its changelog topic.
type TooLargeError struct {
	Table string
	Key   []byte
	Size  int // bytes of key and value
	Limit int // the topic's max.message.bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("table %s, key %.40q: key and value have %d bytes, the changelog takes records of at most %d (max.message.bytes)", e.Table, e.Key, e.Size, e.Limit)
}

// Permanent says that trying again does not help.
func (e *TooLargeError) Permanent() bool { return true }

// recordOverhead is what a record takes in a batch of its own beside its key and value, at most.
const recordOverhead = 100
