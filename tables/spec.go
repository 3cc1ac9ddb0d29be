package tables

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Spec describes the values of a table. It is immutable once in use.
type Spec[V any] struct {
	Name    string
	Codec   codec.Codec[V]
	Valid   func(V) error // refuses values before they are written; nil: none
	Ordered bool          // keys can be scanned in the order of their encoded bytes
	TTL     *TTL          // entries expire; nil: they do not
	Indexes []*Index[V]   // by what else entries are found
	// Version is that of the codec: changelog records tell it, unless it is 0. Migrate makes values of what other versions have written.
	Version uint64
	Migrate map[uint64]func([]byte) (V, error)
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

// EntryError says that the key or value of an entry does not decode.
type EntryError struct {
	Table string
	Part  string // key or value
	Key   []byte
	Err   error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("decode the %s of table %s, key %q: %v", e.Part, e.Table, e.Key, e.Err)
}

// Redacted is the error without the key, and without what the codec says, which may quote the value: for logs.
func (e *EntryError) Redacted() string {
	return fmt.Sprintf("decode the %s of an entry of table %s: its key, and the codec's own error, which may quote it, are logged with --log-values", e.Part, e.Table)
}

func (e *EntryError) Unwrap() error { return e.Err }

// VersionError says that a value was written with a version of the codec that this program cannot read.
type VersionError struct {
	Table   string
	Written uint64
	Here    uint64
}

func (e *VersionError) Error() string {
	if e.Written > e.Here {
		return fmt.Sprintf("table %s holds values of version %d of its codec, and this program declares version %d: run the program that declares topology.Version(%d)", e.Table, e.Written, e.Here, e.Written)
	}
	return fmt.Sprintf("table %s holds values of version %d of its codec, and this program declares version %d: declare topology.Migrate from version %d", e.Table, e.Written, e.Here, e.Written)
}

// Permanent says that trying again does not help.
func (e *VersionError) Permanent() bool { return true }

// Current makes the encoding of this version of what another one has written.
func (s *Spec[V]) Current(version uint64, value []byte) ([]byte, error) {
	if version == s.Version {
		return value, nil
	}
	v, err := s.migrate(version, value)
	if err != nil {
		return nil, err
	}
	if value, err = s.Codec.Append([]byte{}, v); err != nil {
		return nil, fmt.Errorf("table %s: encode a value that was migrated from version %d: %w", s.Name, version, redact.Of(err))
	}
	return value, nil
}

func (s *Spec[V]) migrate(version uint64, value []byte) (v V, err error) {
	fn := s.Migrate[version]
	if fn == nil {
		return v, &VersionError{Table: s.Name, Written: version, Here: s.Version}
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("table %s: migrate a value from version %d: panic: %w", s.Name, version, redact.Of(fmt.Errorf("%v", r)))
		}
	}()
	if v, err = fn(append(make([]byte, 0, len(value)), value...)); err == nil && s.Valid != nil {
		err = s.Valid(v)
	}
	if err != nil {
		err = fmt.Errorf("table %s: migrate a value from version %d: %w", s.Name, version, redact.Of(err))
	}
	return v, err
}

// encoded says whether values are kept as bytes: those of types that hold references are, so that a value mutated by its
// user changes nothing.
func (s *Spec[V]) encoded() bool { return !s.Plain() }

// Plain says that values are kept as they are: nothing of the user's is called to read one.
func (s *Spec[V]) Plain() bool { return !s.Stamped && !HoldsReferences(reflect.TypeFor[V]()) }

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

// Redacted is the error without the key: for logs.
func (e *FuncError) Redacted() string {
	return fmt.Sprintf("table %s: %s", e.Table, redact.Text(e.Err))
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
	return fmt.Sprintf("table %s, key %.40q: %s", e.Table, e.Key, e.what())
}

// Redacted is the error without the key: for logs.
func (e *TooLargeError) Redacted() string { return fmt.Sprintf("table %s: %s", e.Table, e.what()) }

func (e *TooLargeError) what() string {
	return fmt.Sprintf("key and value have %d bytes, the changelog takes records of at most %d (max.message.bytes)", e.Size, e.Limit)
}

// Permanent says that trying again does not help.
func (e *TooLargeError) Permanent() bool { return true }

// recordOverhead is what a record takes in a batch of its own beside its key and value, at most.
const recordOverhead = 100
