package tables

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrFailed is the answer of a shard in which an operation or a seal has failed: it does nothing more until it is undone.
var ErrFailed = errors.New("an earlier operation on this shard failed: it must be undone first")

// FuncError says that code of the user's (the function of an update or row, or a codec) failed on a key.
type FuncError struct {
	Table string
	Key   []byte // as encoded; a copy
	Err   error  // what the code returned, or its panic
	Stack string // of a panic; empty for an error
}

// Error implements error.
func (e *FuncError) Error() string {
	return fmt.Sprintf("table %s, key %s: %v", e.Table, quote(e.Key), e.Err)
}

// Unwrap returns what the code returned.
func (e *FuncError) Unwrap() error { return e.Err }

// TooLargeError says that the changelog record of an entry would be over the limit of the changelog topic.
type TooLargeError struct {
	Table string
	Key   []byte // as encoded; a copy
	Size  int    // in bytes, of the record with what Kafka adds to it
	Limit int    // max.message.bytes of the topic
}

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("table %s, key %s: its changelog record of %d bytes is over the topic's limit of %d: keep less in one value, or raise max.message.bytes of the changelog topic",
		e.Table, quote(e.Key), e.Size, e.Limit)
}

// recordOverhead is the most that Kafka adds to a record that is alone in its batch: 61 bytes of batch header, the
// record's own lengths and deltas, and the header of its generation.
const recordOverhead = 61 + 1 + 5 + 10 + 5 + 5 + 5 + 1 + 3 + 10

// tooLarge returns an error if a record is over the limit; 0 is no limit.
func tooLarge(table string, key []byte, value, limit int) error {
	size := len(key) + value + recordOverhead
	if limit <= 0 || size <= limit {
		return nil
	}
	return &TooLargeError{Table: table, Key: clone(key), Size: size, Limit: limit}
}

// panicked makes an error of what recover returned. It must be called by the deferred function itself, for the stack.
func panicked(table string, key []byte, p any) error {
	err, ok := p.(error)
	if ok {
		err = fmt.Errorf("panic: %w", err)
	} else {
		err = fmt.Errorf("panic: %v", p)
	}
	return &FuncError{Table: table, Key: clone(key), Err: err, Stack: string(debug.Stack())}
}

// failed makes a FuncError of an error of the user's code.
func failed(table string, key []byte, err error) error {
	return &FuncError{Table: table, Key: clone(key), Err: err}
}

func quote(key []byte) string {
	const most = 100
	if len(key) > most {
		return fmt.Sprintf("%q... (%d bytes)", key[:most], len(key))
	}
	return fmt.Sprintf("%q", key)
}

// clone copies b; the copy is never nil.
func clone(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }
