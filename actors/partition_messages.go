package actors

import (
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// What a partition receives:
//
//	message       | sent by          | reply                                  | legal in state
//	--------------|------------------|----------------------------------------|------------------------
//	ShardReady    | shard            | -                                      | restoring
//	Arrived       | consumer         | -                                      | running; else dropped
//	Worked        | agent            | -                                      | any; stale: dropped
//	AgentFailed   | agent            | Begin to the agent, after a backoff    | any; stale: dropped
//	Ask           | agent            | by its Reply                           | any
//	Waits         | agent            | by its Reply                           | any; stale: refused
//	Applied       | shard            | -                                      | any; stale: dropped
//	Sealed        | shard            | -                                      | any; stale: dropped
//	ShardFailed   | shard            | Undo to all shards                     | any; stale: dropped
//	ShardLate     | shard            | Expire to the agents that write there  | any
//	Undone        | shard            | -                                      | undoing
//	Collected     | shard            | Work to the agent                      | any; stale: dropped
//	SealRound     | committer        | Offer, or Nothing                      | any
//	Delivered     | early            | -                                      | any; stale: dropped
//	Decided       | committer        | Committed to all shards                | a bundle is offered
//	Wake          | its own timer    | -                                      | any
//	Resume        | node             | -                                      | any; not stopped: ignored
//	Announced     | node             | -                                      | after announce
//	Turn          | node             | endTurn to the node, when it is over   | after askTurn; stale: ignored
//	Leave         | node             | Left to the node, when it is committed | any
//
//sumtype:decl
type partitionMessage interface{ isPartitionMessage() }

// ShardReady says that a shard has been restored. Records is how many it replayed from its changelog.
type ShardReady struct {
	Table   int
	Records int64
	Entries int
	Expires int64 // when the next of its entries expires by the wall clock, in milliseconds; 0: none does
	Due     int64 // when the first of its timers is due, in milliseconds; tables.NeverDue: none is pending
}

// Arrived brings records of one of the partition's sources.
type Arrived struct {
	Source int // index in the stage
	Batch  *kafka.Batch
}

// Applied says that a shard has applied the operations of that number. Out is what functions inside the shard sent.
type Applied struct {
	Table   int
	Undo    int64 // the undo number they were sent under
	Count   int64
	Out     outputs
	Expires int64 // as in ShardReady
	Due     int64
}

// Sealed brings what a shard has to journal for an epoch.
type Sealed struct {
	Table int
	Undo  int64
	Epoch int64
	Out   outputs
	Clock int64 // as of which entries have expired, in milliseconds; 0: they do not
}

// ShardFailed says that a function inside a shard failed, or something of an epoch cannot be journaled. The shard does
// nothing more until Undo.
type ShardFailed struct {
	Table int
	Undo  int64
	Err   error
	Stack string
	Lost  bool // the function hangs: the shard cannot even undo, and must be made anew
}

// ShardLate says that a function inside a shard has passed its deadline: contexts of the agents that may have sent it must end.
type ShardLate struct{ Table int }

// Undone says that a shard is back at the epoch it was asked for.
type Undone struct {
	Table   int
	Undo    int64
	Expires int64 // as in ShardReady
	Due     int64
}

// Collected brings timers that are due. Next is when the first one is that is pending, those included.
type Collected struct {
	Table  int
	Undo   int64
	Number int64
	Batch  *kafka.Batch
	Next   int64
}

// SealRound asks for a bundle of what has been done.
type SealRound struct{ Round int64 }

// Decided says what became of the partition's bundle. Err is nil if it is committed; otherwise the broker will never take
// it, and the partition goes back to what is committed.
type Decided struct {
	Seq int64
	Err error
}

// Delivered says how the sending of outputs has ended that a partition has asked for.
type Delivered struct{ Err error }

// Wake is the time that a partition asked to be woken at.
type Wake struct{ Now time.Time }

// Resume makes a partition go on that a policy has stopped.
type Resume struct{}

// Announced says that the slot's mark says what was to be announced.
type Announced struct{}

// Turn is the node's exclusive turn, that of the number it was asked for with.
type Turn struct{ Number int64 }

// Leave asks the partition to stop: what has been done is committed, nothing more is begun.
type Leave struct {
	Now   time.Time
	Grace time.Duration // for the handlers that are running
}

func (ShardReady) isPartitionMessage()  {}
func (Arrived) isPartitionMessage()     {}
func (Applied) isPartitionMessage()     {}
func (Sealed) isPartitionMessage()      {}
func (ShardFailed) isPartitionMessage() {}
func (ShardLate) isPartitionMessage()   {}
func (Undone) isPartitionMessage()      {}
func (Collected) isPartitionMessage()   {}
func (SealRound) isPartitionMessage()   {}
func (Decided) isPartitionMessage()     {}
func (Delivered) isPartitionMessage()   {}
func (Wake) isPartitionMessage()        {}
func (Resume) isPartitionMessage()      {}
func (Announced) isPartitionMessage()   {}
func (Turn) isPartitionMessage()        {}
func (Leave) isPartitionMessage()       {}
