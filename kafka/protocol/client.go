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
	// Commit commits positions outside any transaction, as a given member.
	Commit(ctx context.Context, as kafka.Member, positions []kafka.Position) error
	// Fence ends whatever the producer of an instance has open: it has ended when this returns.
	Fence(ctx context.Context, instance string) error
	// Leave takes a member out of the group, by its id and its instance, so that it cannot evict a successor.
	Leave(ctx context.Context, who kafka.Member) error
}

// Consumer is the client library's consumer. Member and Close may be called from any goroutine, the others from the one that polls.
type Consumer interface {
	// Subscribe joins the group of the slots topic, from the next Poll on. The callbacks run inside Poll, and inside
	// Close; each must call Assign or Unassign once, with nothing if need be.
	Subscribe(topic string, assigned, revoked func(slots []int32)) error
	// Poll waits up to the given time for something to do, hands records over in batches, and says whether there was
	// something.
	Poll(wait time.Duration) bool
	// Flush hands over what was gathered so far.
	Flush()
	// Member returns who the consumer is at this moment.
	Member() (Member, error)
	// Lost says, inside the revoked callback, that the partitions are owned by others already.
	Lost() bool
	// Assign adds partitions, from offsets (-1: the beginning); Unassign takes away those that are assigned.
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
	// Produce sends the outputs of bundles and waits until all are acknowledged or refused, or ctx ends.
	Produce(ctx context.Context, bundles []*kafka.Bundle) error
	// SendOffsets adds the bundles' offsets to the transaction.
	SendOffsets(ctx context.Context, bundles []*kafka.Bundle, as Member) error
	Commit(ctx context.Context) error
	Abort(ctx context.Context) error
	Close() error
}

// Kind is what an error of a client means to the protocol.
type Kind uint8

const (
	// Other errors say nothing about what was done.
	Other Kind = iota
	// Sick: the broker refused something in the bundles themselves, and would again.
	Sick
	// Fenced: another producer has taken this one's transactional id.
	Fenced
	// NotMember: the group does not know us as the member as which we asked.
	NotMember
	// Inconsistent: records failed on the client's side; a commit was never sent.
	Inconsistent
	// Unanswered: a request was sent, and its answer never came.
	Unanswered
)
