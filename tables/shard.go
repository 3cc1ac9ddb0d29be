package tables

import (
	"sync/atomic"

	"github.com/troupe-stream/troupe/kafka"
)

// Shard is the state of one partition of a table: a pure state machine, without clock, I/O or goroutines. It has one
// owner, which alone may call it. [ShardOf] is its only implementation; this interface hides the type of the values.
//
// Its life: New, Load of checkpoint pages and Replay of the changelog, then Ready; from then on Apply, Seal, Undo and
// Committed. Epochs are numbered upwards by the partition. Epoch e's life: Apply(e)*, Seal(e), then Committed(e) or Undo
// to an epoch before it.
type Shard interface {
	// Apply runs operations in order as part of an epoch, which must not be below any seen. What row functions send goes
	// to out. On an error (a function of the user's failed, panicked or its value cannot be encoded) the shard refuses
	// everything but Undo: a prefix of ops has been applied.
	Apply(epoch int64, ops Ops, out *kafka.Outputs) error
	// Seal appends to out one changelog record for each key touched in this epoch: its value, or a tombstone. A record
	// over the topic's limit is an error (*TooLargeError); then the shard refuses everything but Undo.
	Seal(epoch int64, out *kafka.Outputs) error
	// Undo restores exactly the state at the end of epoch `to`, newest first, and forgets the epochs above it.
	Undo(to int64)
	// Committed says that all epochs up to this one are committed: their undo lists are dropped, their keys become due for
	// the next checkpoint.
	Committed(epoch int64)
	// Answer runs a query. With Committed set in it, it sees committed values only: the oldest undo value where a key has
	// one. Otherwise it sees all that was applied, and the query's own operations, which are undone afterwards.
	Answer(q Query)
	// Calls says whether Apply with these operations may call something of the user's, which may hang or end its goroutine; CallsFor says so of Answer.
	Calls(ops Ops) bool
	CallsFor(q Query) bool
	// Replay applies a batch of the shard's changelog while restoring: the last record of a key wins, a null value deletes.
	Replay(b *kafka.Batch) error
	// NextDue is when the first timer of a table of timers is due, NeverDue if none is pending. As applied, committed or not.
	NextDue() int64
	// CollectDue returns the first n timers that are due up to a moment, in the order of moments and keys: each as a record, with the moment
	// as its offset and timestamp, the key and the payload. It takes none away.
	CollectDue(upTo int64, n int) *kafka.Batch
	// Clear empties the shard: for a restore that starts over.
	Clear()
	// Clock is the time as of which entries have expired, in milliseconds; NextExpiry is when the next one expires by the wall clock. 0: there is
	// none.
	Clock() int64
	NextExpiry() int64
	// Digest goes over all that is committed. It takes some 0.2 s for a million entries.
	Digest() (Digest, error)
	// Stats returns sizes, cheaply.
	Stats() Stats
	// pages is for checkpoints, see checkpoint.go.
	pages() pager
	// link puts it into a group; last is the newest epoch that has touched it and is not settled.
	link(g *Group)
	last() int64
}

// Stats are the sizes of a shard.
type Stats struct {
	Entries int
	Bytes   int64 // of keys and values as encoded, or for typed values their size in memory; an estimate
	Undo    int   // values kept for undo: keys touched and not yet committed
	Dirty   int   // pages due for the next checkpoint
}

// Ops is a flat batch of operations on one shard: an arena of key bytes and an array of operations. [OpsOf] is its only
// implementation.
type Ops interface {
	Len() int
	// Delete deletes a key, encoded.
	Delete(key []byte)
	// AppendAll adds all operations of another batch of the same table.
	AppendAll(other Ops)
	// Size is the number of bytes of keys and values.
	Size() int
	// Fresh returns a new empty batch of the same type, with room for so many operations and bytes.
	Fresh(n, size int) Ops
	// Free gives the batch's arrays to batches to come. It is called once, by its last owner, and nobody may use the batch after that.
	Free()
	// Tick says what time it is when the batch is applied, in milliseconds: for tables whose entries expire by the wall clock.
	Tick(ms int64)
	// Reset empties the batch and keeps its memory: only for one that nobody else has seen.
	Reset()
}

// Query is a question to a shard; it carries its own answer, which may be read once the shard has replied.
type Query interface {
	// answer is called by the shard.
	answer(s Shard)
}

// Config is what a shard needs to know of its surroundings.
type Config struct {
	Table     string
	Partition int32
	Changelog int32 // index of the changelog topic in the plan
	MaxBytes  int   // the changelog topic's max.message.bytes; 0: no limit
	// Clock is what Clock was when the shard was sealed last, of a table whose entries expire.
	Clock int64
	// Calls is counted up before each call of a user's function, so that another goroutine can tell a slow batch from one that
	// hangs. Nil: nobody looks.
	Calls *atomic.Int64
}
