package troupe

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka/protocol"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
)

// View is a read-only copy of a table or topic in any program, kept up to date until it is closed: for each key the value that was
// committed last. It holds all entries in memory, belongs to no group, and disturbs nobody. Any goroutine may use it.
type View[K, V any] struct {
	follower *actors.Follower
	copy     *tables.ReplicaOf[V]
	of       topology.Copy[K, V]
	cluster  *host.Cluster

	mu      sync.Mutex // of changed
	changed map[string]chan struct{}
}

// OpenView begins to copy a table (from its changelog), a global table or a topic. Of cfg it takes Brokers, DataDir, Kafka and Logger; where there are no
// Brokers it finds the embedded broker of a node that runs in DataDir, and starts none. The topology need not run, but must have run
// once: its topics must exist. It blocks until a broker has answered, or ctx ends; ctx bounds the opening alone. Wait for the view before believing what it has
// not: until then it has a part.
//
// A record of a topic without a key is passed over. One that does not decode ends the view: see Err.
func OpenView[K, V any](ctx context.Context, cfg Config, of topology.Viewed[K, V]) (_ *View[K, V], err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("troupe.Config: %w", err)
	}
	how, err := topology.CopyOf(of)
	if err != nil {
		return nil, fmt.Errorf("troupe.OpenView: %w", err)
	}
	v := &View[K, V]{of: how, changed: map[string]chan struct{}{}}
	if cfg.DataDir == "" {
		if cfg.DataDir, err = host.DefaultDir(how.Topology); err != nil {
			return nil, err
		}
	}
	v.cluster, err = host.Connect(ctx, host.ClusterConfig{
		Brokers: cfg.Brokers, Settings: cfg.Kafka, ClientID: how.Topology + "-view", Topologies: []string{how.Topology}, DataDir: cfg.DataDir, Find: true, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("troupe.OpenView: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.cluster.Close())
		}
	}()
	how.Replica.Changed = v.tell
	v.copy = tables.NewReplica(&how.Replica)
	v.follower, err = actors.Follow(ctx, protocol.Real{}, v.cluster.Driver, v.cluster.Admin, how.Topic, v.copy)
	if err != nil {
		return nil, fmt.Errorf("troupe.OpenView: %w", err)
	}
	return v, nil
}

// Wait blocks until the view has all that was committed when it was opened, ctx ends, or it cannot go on: the error says why.
func (v *View[K, V]) Wait(ctx context.Context) error { return v.follower.Wait(ctx) }

// Err says why the view is not kept up to date; nil while it is. A broker that is away is waited for, and the view is old meanwhile.
func (v *View[K, V]) Err() error { return v.follower.Err() }

// Len is the number of entries.
func (v *View[K, V]) Len() int { return int(v.copy.Stats().Entries) }

// Get returns the value of a key; ok is false if there is none. It waits for nothing. The error is that of a codec.
func (v *View[K, V]) Get(key K) (value V, ok bool, err error) {
	k, err := v.of.EncodeKey(nil, key)
	if err != nil {
		return value, false, fmt.Errorf("%s: encode the key: %w", v.of.Replica.Name, err)
	}
	return v.copy.Get(k)
}

// Range yields the entries from one key up to another, which is not included, in the order of the keys' encoded bytes, as of one moment. Keys that cannot
// be encoded yield nothing.
func (v *View[K, V]) Range(from, to K) iter.Seq2[K, V] {
	lo, err := v.of.EncodeKey([]byte{}, from)
	hi, err2 := v.of.EncodeKey([]byte{}, to)
	if err != nil || err2 != nil {
		return func(func(K, V) bool) {}
	}
	return v.scan(lo, hi)
}

// All yields all entries, in the order of the keys' encoded bytes, as of one moment.
func (v *View[K, V]) All() iter.Seq2[K, V] { return v.scan(nil, nil) }

func (v *View[K, V]) scan(from, to []byte) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for b, x := range v.copy.Scan(from, to) {
			k, err := v.of.DecodeKey(b)
			if err != nil || x.Err != nil { // they were decoded when they came
				continue
			}
			if !yield(k, x.Value) {
				return
			}
		}
	}
}

// Watch yields the value of a key, and then each value that follows; ok is false where there is none. Values that follow each other faster than the
// loop goes round may be left out, but never the last. It ends when ctx does, or the view cannot go on or is closed.
func (v *View[K, V]) Watch(ctx context.Context, key K) iter.Seq2[V, bool] {
	return func(yield func(V, bool) bool) {
		k, err := v.of.EncodeKey(nil, key)
		if err != nil {
			return
		}
		for {
			changed := v.watch(string(k)) // before the look: no change is missed
			value, ok, err := v.copy.Get(k)
			if err != nil || !yield(value, ok) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-v.follower.Ended():
				return
			}
		}
	}
}

// watch returns what is closed when a key changes.
func (v *View[K, V]) watch(key string) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.changed[key]
	if c == nil {
		c = make(chan struct{})
		v.changed[strings.Clone(key)] = c
	}
	return c
}

// tell wakes those who watch a key.
func (v *View[K, V]) tell(key []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.changed[string(key)]; c != nil {
		close(c)
		delete(v.changed, string(key))
	}
}

// Close ends the view and all that watch it. What it holds may still be read. Twice is no harm.
func (v *View[K, V]) Close() error { return errors.Join(v.follower.Close(), v.cluster.Close()) }
