package tables

import (
	"bytes"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"github.com/troupe-stream/troupe/kafka"
)

// Replica is a full copy of a topic, or of a changelog: for each key the value that was written last. One goroutine at a time
// may write it (Apply, Clear); any may read it meanwhile. [ReplicaOf] is its only implementation; this interface hides the type of the
// values.
type Replica interface {
	// Apply applies a batch; those of a topic-partition must come in order. A null value deletes, a record without a key is passed
	// over. On an error, an *UndecodableError, the records before it have been applied.
	Apply(b *kafka.Batch) error
	// Clear empties the replica.
	Clear()
	// Stats returns sizes, cheaply.
	Stats() ReplicaStats
}

// ReplicaStats are the sizes of a replica.
type ReplicaStats struct {
	Entries int64
	Bytes   int64 // of keys and values as encoded
	Skipped int64 // records that did not decode
}

// ReplicaSpec describes a replica. It is immutable once in use.
type ReplicaSpec[V any] struct {
	Name   string // for messages
	Decode func(b []byte) (V, error)
	Key    func(b []byte) error // refuses keys that do not decode; nil: none
	// Current makes the value of a changelog's record one of the table's codec version, as Spec.Current does; nil: the records of a topic
	// have no version.
	Current func(version uint64, value []byte) ([]byte, error)
	// Encoded: values are kept as bytes and decoded for each reader, since they hold references.
	Encoded bool
	// Skip passes over records that do not decode, instead of refusing them.
	Skip bool
	// Changed is called behind each batch with a key that it has changed; nil: nobody wants to know. It must not block.
	Changed func(key []byte)
}

// UndecodableError says that a record of a topic cannot be taken into a replica.
type UndecodableError struct {
	Replica   string
	Topic     string
	Partition int32
	Offset    int64
	Part      string // key or value
	Err       error
}

func (e *UndecodableError) Error() string {
	return fmt.Sprintf("%s: decode the %s of %s/%d@%d: %v", e.Replica, e.Part, e.Topic, e.Partition, e.Offset, e.Err)
}

// Redacted is the error without what the codec says, which may quote the key or value: for logs.
func (e *UndecodableError) Redacted() string {
	return fmt.Sprintf("%s: decode the %s of %s/%d@%d: the codec's own error, which may quote it, is logged with --log-values", e.Replica, e.Part, e.Topic, e.Partition, e.Offset)
}

func (e *UndecodableError) Unwrap() error { return e.Err }

// held is an entry of a replica: val or enc, by the spec, and how many bytes key and value have.
type held[V any] struct {
	val  V
	enc  []byte
	size int32
}

// ReplicaOf is a Replica with values of type V. A scan sees it as it was when the scan began, and holds nobody up.
type ReplicaOf[V any] struct {
	spec *ReplicaSpec[V]

	mu   sync.RWMutex
	rows *btree.Map[string, held[V]]

	entries, bytes, skipped atomic.Int64
}

// NewReplica makes an empty replica.
func NewReplica[V any](s *ReplicaSpec[V]) *ReplicaOf[V] {
	r := &ReplicaOf[V]{spec: s}
	r.Clear()
	return r
}

// Clear implements Replica.
func (r *ReplicaOf[V]) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = new(btree.Map[string, held[V]])
	r.count()
	r.bytes.Store(0)
	r.skipped.Store(0)
}

// write is a record that is to be applied.
type write[V any] struct {
	key  []byte
	gone bool
	held held[V]
}

// Apply implements Replica. Values are decoded before any reader has to wait.
func (r *ReplicaOf[V]) Apply(b *kafka.Batch) error {
	writes, err := r.decode(b)
	if len(writes) == 0 {
		return err
	}
	r.mu.Lock()
	size := int64(0)
	for _, w := range writes {
		var old held[V]
		if w.gone {
			old, _ = r.rows.Delete(string(w.key))
		} else {
			old, _ = r.rows.Set(string(w.key), w.held)
		}
		size += int64(w.held.size - old.size)
	}
	r.bytes.Add(size)
	r.count()
	r.mu.Unlock()
	if r.spec.Changed != nil {
		for _, w := range writes {
			r.spec.Changed(w.key)
		}
	}
	return err
}

func (r *ReplicaOf[V]) count() { r.entries.Store(int64(r.rows.Len())) }

// decode returns the writes of a batch, up to the first record that is refused.
func (r *ReplicaOf[V]) decode(b *kafka.Batch) (writes []write[V], err error) {
	for i := range b.Records {
		w := write[V]{key: b.Key(i)}
		if w.key == nil {
			continue
		}
		if err := r.decodeRecord(b, i, &w); err != nil {
			if !r.spec.Skip {
				return writes, err
			}
			r.skipped.Add(1)
			continue
		}
		writes = append(writes, w)
	}
	return writes, nil
}

func (r *ReplicaOf[V]) decodeRecord(b *kafka.Batch, i int, w *write[V]) error {
	refuse := func(part string, err error) error {
		return &UndecodableError{r.spec.Name, b.Topic, b.Partition, b.Records[i].Offset, part, err}
	}
	if r.spec.Key != nil {
		if err := r.spec.Key(w.key); err != nil {
			return refuse("key", err)
		}
	}
	value := b.Value(i)
	if w.gone = value == nil; w.gone {
		return nil
	}
	if r.spec.Current != nil {
		var err error
		if value, err = r.spec.Current(VersionOf(b, i), value); err != nil {
			return refuse("value", err)
		}
	}
	value = bytes.Clone(value) // else each value that is kept would keep its whole batch
	val, err := r.spec.Decode(value)
	if err != nil {
		return refuse("value", err)
	}
	if w.held.size = int32(len(w.key) + len(value)); r.spec.Encoded {
		w.held.enc = value
	} else {
		w.held.val = val
	}
	return nil
}

// Stats implements Replica.
func (r *ReplicaOf[V]) Stats() ReplicaStats {
	return ReplicaStats{r.entries.Load(), r.bytes.Load(), r.skipped.Load()}
}

// Get returns the value of an encoded key: a copy of the reader's own where values hold references.
func (r *ReplicaOf[V]) Get(key []byte) (v V, ok bool, err error) {
	r.mu.RLock()
	x, ok := r.rows.Get(string(key))
	r.mu.RUnlock()
	if !ok {
		return v, false, nil
	}
	v, err = r.read(x)
	return v, err == nil, err
}

func (r *ReplicaOf[V]) read(x held[V]) (V, error) {
	if r.spec.Encoded {
		return r.spec.Decode(bytes.Clone(x.enc)) // a codec of bytes may return what it is given
	}
	return x.val, nil
}

// Scan yields the entries from one encoded key up to another, which is not included (nil: open), in the order of the keys, as they
// are now. Keys must not be changed. An error ends it.
func (r *ReplicaOf[V]) Scan(from, to []byte) iter.Seq2[[]byte, Scanned[V]] {
	return func(yield func([]byte, Scanned[V]) bool) {
		r.mu.Lock() // a copy shares all until something is written
		rows := r.rows.Copy()
		r.mu.Unlock()
		rows.Ascend(string(from), func(key string, x held[V]) bool {
			if to != nil && key >= string(to) {
				return false
			}
			v, err := r.read(x)
			return yield([]byte(key), Scanned[V]{v, err}) && err == nil
		})
	}
}

// Scanned is a value that a scan has come by, or why it could not be read.
type Scanned[V any] struct {
	Value V
	Err   error
}
