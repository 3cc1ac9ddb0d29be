package actors

import (
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

// What a shard receives:
//
//	message   | sent by   | reply                       | legal in state
//	----------|-----------|-----------------------------|--------------------
//	Replay    | restorer  | -                           | restoring
//	Restored  | restorer  | ShardReady to the partition | restoring
//	Apply     | partition | Applied, or ShardFailed     | running; failed: dropped
//	Seal      | partition | Sealed, or ShardFailed      | running; failed: dropped
//	Collect   | partition | Collected                   | running; failed: dropped
//	Undo      | partition | Undone                      | running, failed
//	Settle    | partition | -                           | running, failed
//	Answer    | partition | by its Reply                | any
//	end       | consumer  | -                           | any: the changelog's end for the next checkpoint
//	Finish    | partition | finished to the partition   | any: a last checkpoint, then nothing more
//
//sumtype:decl
type shardMessage interface{ isShardMessage() }

// Replay brings a batch of the changelog while restoring.
type Replay struct{ Batch *kafka.Batch }

// Restored ends a restore: the shard holds all that is committed. Err says why it could not be restored.
type Restored struct {
	End int64 // the changelog's end that was reached
	Err error
}

// Apply brings operations of an epoch. They belong to the shard.
type Apply struct {
	Undo  int64
	Count int64
	Epoch int64
	Ops   tables.Ops
}

// Seal ends an epoch.
type Seal struct {
	Undo  int64
	Epoch int64
}

// Collect asks a table of timers for the first ones, Limit of them at most, that are due up to a moment in milliseconds. They stay pending.
type Collect struct {
	Undo   int64
	Number int64
	UpTo   int64
	Limit  int
}

// Undo asks for the state at the end of an epoch. Number is this undo's: what was sent under an older one is stale.
type Undo struct {
	Number int64
	Epoch  int64
}

// Settle says that all epochs up to this one are committed.
type Settle struct{ Epoch int64 }

// Answer brings a query.
type Answer struct {
	Query tables.Query
	Reply func(error)
}

func (Replay) isShardMessage()   {}
func (Restored) isShardMessage() {}
func (Apply) isShardMessage()    {}
func (Seal) isShardMessage()     {}
func (Undo) isShardMessage()     {}
func (Collect) isShardMessage()  {}
func (Settle) isShardMessage()   {}
func (Answer) isShardMessage()   {}
