package protocol

import (
	"context"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// Member is who a consumer is at one moment, with what the client wants back beside a transaction's offsets.
type Member struct {
	kafka.Member
	Metadata any
}

// Valid says whether the consumer is in the group at all. One that was thrown out has an empty id, and its old generation.
func (m Member) Valid() bool { return m.ID != "" && m.Generation >= 0 }

// Wire speaks for one group to its coordinator, where the client library does not. It may be used from any goroutine;
// every call ends by itself, within ten seconds.
type Wire interface {
	// Marks reads the texts of the marks of slots. It waits for no transaction: no mark is ever in one.
	Marks(ctx context.Context, slots []int32) (map[int32]string, error)
	// Mark writes marks of slots as a given member of a given generation: the broker refuses it if the group has moved on.
	Mark(ctx context.Context, as kafka.Member, marks map[int32]kafka.Mark) error
	// Offsets returns committed positions, waiting for open transactions on them.
	Offsets(ctx context.Context, tps []kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error)
	// Fence ends whatever the producer of an instance has open: it has ended when this returns.
	Fence(ctx context.Context, instance string) error
	// Describe returns the state of the group, as far as its coordinator knows.
	Describe(ctx context.Context) (GroupState, error)
	// Leave takes a member out of the group, by its id and its instance, so that it cannot evict a successor.
	Leave(ctx context.Context, who kafka.Member) error
}

// Consumer is the client library's consumer. Member and Close may be called from any goroutine, the others from the one that polls.
type Consumer interface {
	// Subscribe joins the group of the slots topic, from the next Poll on. The callbacks run inside Poll, and inside
	// Close. assigned calls Assign with nothing, to accept the slots, and then Unassign if it gives up others; revoked
	// calls Unassign once, with nothing if need be.
	Subscribe(topic string, assigned, revoked func(slots []int32)) error
	// Poll waits up to the given time for something to do, hands all it has gathered over in batches, and says whether
	// there was something.
	Poll(wait time.Duration) bool
	// Flush hands over what was gathered so far, in the middle of a Poll.
	Flush()
	// Member returns who the consumer is at this moment; an error once Close has begun.
	Member() (Member, error)
	// Lost says, inside the revoked callback, that the partitions are owned by others already.
	Lost() bool
	// Assign adds partitions, none of them paused, from offsets (-1: the beginning). Unassign takes away partitions, all of
	// which are assigned: of one that is not, the client would refuse the whole.
	Assign(from []kafka.Position) error
	Unassign(tps []kafka.TopicPartition) error
	Pause(tps []kafka.TopicPartition) error
	Resume(tps []kafka.TopicPartition) error
	// Close leaves nothing behind; the revoked callback may run once more. A static member stays in the group.
	Close()
}

// Transactor is the client library's transactional producer. One goroutine at a time may call it. Errors that matter to
// the protocol have a Kind: see KindOf.
type Transactor interface {
	Begin() error
	// Produce takes outputs over and sends them, meanwhile or before it returns. It waits while the client's queue is full.
	Produce(ctx context.Context, outs []*kafka.Outputs) error
	// Flush waits until all of them are acknowledged or refused, or ctx ends.
	Flush(ctx context.Context) error
	// SendOffsets adds the bundles' offsets to the transaction.
	SendOffsets(ctx context.Context, bundles []*kafka.Bundle, as Member) error
	// Commit ends the transaction. An error that is Inconsistent says that it is as open as before; any other may come
	// after the broker has committed, or before it does.
	Commit(ctx context.Context) error
	// Abort ends the transaction, unless Commit was sent.
	Abort(ctx context.Context) error
	// Watch returns a function that says why a request which SendOffsets, Commit or Abort has sent since may have been sent a second time, over another connection, while the first is still on its way; nil if none can have been.
	Watch() func() error
	Close() error
}

// Plain is the client library's producer without transactions. One goroutine at a time may call it.
type Plain interface {
	// Produce takes outputs over and sends them meanwhile. It waits while the client's queue is full.
	Produce(ctx context.Context, outs []*kafka.Outputs) error
	// Flush waits until all of them are acknowledged or refused, or ctx ends: then some may still be sent.
	Flush(ctx context.Context) error
	// Broken says that it can send nothing any more.
	Broken() bool
	Close() error
}

// Events is what a consumer tells its group, on the goroutine that polls.
type Events interface {
	// Batch hands over records of an assigned topic-partition: in order, none twice while it stays assigned.
	Batch(b *kafka.Batch)
	// Failed reports an error of the client. After a fatal one, it is polled no more, and closed.
	Failed(err error, fatal bool)
}
