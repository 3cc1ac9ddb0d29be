package tables

import (
	"reflect"

	"github.com/troupe-stream/troupe/topology/codec"
)

// Spec is what all shards of a table and all batches of operations on it have in common. It is immutable once used.
type Spec[V any] struct {
	Name  string         // of the table, for messages
	Codec codec.Codec[V] // of the values
	// Ordered says that scans by ranges of keys are wanted. It costs some memory and time for each new key.
	Ordered bool
}

// HoldsReferences says whether values of a type can share memory that may change: pointers, slices, maps, channels,
// functions, interfaces, and arrays and structs that hold any. Strings cannot be changed and count as none.
func HoldsReferences(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && HoldsReferences(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if HoldsReferences(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
		return true
	default:
		return false
	}
}

// holdsStrings says whether values of a type without references hold strings: then their size varies, and what a codec
// decodes may share the bytes it was given.
func holdsStrings(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String:
		return true
	case reflect.Array:
		return t.Len() > 0 && holdsStrings(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsStrings(t.Field(i).Type) {
				return true
			}
		}
	default:
	}
	return false
}

// layout says how values of a type are kept.
type layout struct {
	typed   bool // as they are; else encoded
	strings bool // typed, and they hold strings
}

func layoutOf[V any]() layout {
	t := reflect.TypeFor[V]()
	if HoldsReferences(t) {
		return layout{}
	}
	return layout{typed: true, strings: holdsStrings(t)}
}
