package kafka

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// TransactionTimeout is when a broker ends a transaction that a node has left open. A broker whose
// transaction.max.timeout.ms is shorter refuses nodes that commit in transactions.
const TransactionTimeout = time.Minute

// TopicPartition names one partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Compare orders topic-partitions by name and number.
func (tp TopicPartition) Compare(other TopicPartition) int {
	return cmp.Or(cmp.Compare(tp.Topic, other.Topic), cmp.Compare(tp.Partition, other.Partition))
}

// Position is an offset of a topic-partition; as a committed position, with the metadata that was committed beside it.
// Offset is -1 where nothing has been committed.
type Position struct {
	TopicPartition
	Offset   int64
	Metadata string
}

// Member is what the broker knows a group member by, at one moment.
type Member struct {
	ID         string // given by the broker at each join
	Instance   string // group.instance.id: ours, kept across restarts
	Generation int32
}

// Grant is one slot that this process owns: the group granted it, earlier owners are fenced, its mark is ours, and the
// offsets of its sources were read after that.
type Grant struct {
	Slot        int32
	Incarnation int64  // unique in this process: a slot taken again has a new one
	MemberID    string // the member as which it was taken; bundles of the slot are committed as this member or not at all
	Sources     []Position
	Careful     bool // the owner before did not release it in order: it may have died of a record
	// Suspects are records that processes have died with; zero: none. Its Open is false.
	Suspects Trying
}

// GroupHandler is told what happens to this process's membership. Batches and Failed are called on the polling
// goroutine and must not block.
type GroupHandler interface {
	// Sources says which topic-partitions a slot stands for; empty if the slot is none of this plan's.
	Sources(slot int32) []TopicPartition
	// Taken hands over slots that are now ours. Nothing is fetched for them until Group.Assign.
	Taken(grants []Grant)
	// Release asks to let go of slots in order: it blocks until everything done for them is known to be committed and
	// their actors have stopped, or ctx ends, and returns the slots of which that is true.
	Release(ctx context.Context, slots []int32) []int32
	// Lost says that slots are no longer ours; nothing may be committed for them. It does not block.
	Lost(slots []int32, why error)
	// Batch hands over records of a topic-partition that is assigned, in order.
	Batch(b *Batch)
	// Failed reports an error of the client. After a fatal one, Run returns.
	Failed(err error, fatal bool)
}

// JoinHandler is a GroupHandler that wants to know when a rebalance has ended: as which member, and with which slots, taken or
// not. It is called on the polling goroutine and must not block.
type JoinHandler interface {
	Joined(member string, slots []int32)
}

// Group is this process's membership in the consumer group of a topology, on its slots topic, with static membership and
// cooperative-sticky assignment. It takes slots (marks, fences), reads records of their sources and lets go of them.
type Group interface {
	// Run joins and polls until ctx ends, then releases all slots, closes the consumer and, unless told to keep its
	// slots, leaves the group. It returns the fatal error that ended it, nil after an orderly stop.
	Run(ctx context.Context, h GroupHandler) error
	// Assign starts reading the sources of a grant from the given offsets. Not for a grant that is gone: that is ignored.
	Assign(g Grant, from []Position)
	// Pause and Resume stop and restart the reading of assigned partitions; others are ignored. Records in flight still come.
	Pause(tps ...TopicPartition)
	Resume(tps ...TopicPartition)
	// Retake gives up slots at once and takes them anew, in new grants.
	Retake(slots []int32, why error)
	// Holds asks the broker whether a slot is still that of a grant, as of some moment after the call: a process that has
	// stood still may not know yet that another one writes for it. It blocks until ctx ends at the latest.
	Holds(ctx context.Context, slot int32, incarnation int64) (bool, error)
	// Announce writes into the mark of a slot what is about to be given out; the zero Trying announces that nothing is. It may be
	// called from any goroutine, once at a time for a slot, and blocks until the broker has it, for some ten seconds at most. After
	// ErrNotHeld the slot is not that of the grant; after another error it may have been written or not, and may be tried again.
	Announce(ctx context.Context, slot int32, incarnation int64, t Trying) error
}

// Bundle is what one slot did between two seals: committed whole or not at all.
type Bundle struct {
	Slot        int32
	Incarnation int64  // of the grant
	MemberID    string // of the grant
	Seq         int64  // the slot's number of this bundle; it is in the metadata of Offsets
	Outputs     []*Outputs
	Offsets     []Position // at least one: a bundle that moves none commits an old one again
	Sent        bool       // at-least-once: its outputs are written, but those of changelogs; the producer's note
}

// Verdict is what became of a commit.
type Verdict uint8

const (
	// Committed means: all bundles are committed.
	Committed Verdict = iota
	// Aborted means: none is committed, the transaction is ended, the same bundles may be committed again.
	Aborted
	// Unknown means: they may or may not be committed; Settle finds out.
	Unknown
	// Fenced means: another process has this one's transactional id. This process must stop.
	Fenced
)

// String is a word for a log.
func (v Verdict) String() string {
	if int(v) < len(verdicts) {
		return verdicts[v]
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

var verdicts = [...]string{Committed: "committed", Aborted: "aborted", Unknown: "unknown", Fenced: "fenced"}

// Outcome is the end of a commit.
type Outcome struct {
	Verdict Verdict
	Err     error   // why not Committed
	Sick    bool    // the broker refused something in the bundles and would again: too large, no such topic; also with Unknown
	Lost    []int32 // slots whose grants are no longer valid; only with Aborted
}

// Settled is what Settle found of a slot.
type Settled uint8

const (
	// SlotCommitted means: the bundle asked about is committed.
	SlotCommitted Settled = iota
	// SlotNotCommitted means: it is not, and never will be unless it is committed again.
	SlotNotCommitted
	// SlotLost means: the slot's mark or number is not ours; it must be taken anew.
	SlotLost
)

// Producer commits bundles. One goroutine at a time may call it.
type Producer interface {
	// Commit produces the bundles' outputs and commits their offsets, all or nothing, and blocks until that is decided,
	// some ten seconds at most.
	Commit(ctx context.Context, bundles []*Bundle) Outcome
	// Settle ends whatever transaction is open and finds out, for each bundle, whether it was committed. Other slots that
	// it finds to be lost are in its answer as well. On an error it may be called again.
	Settle(ctx context.Context, bundles []*Bundle) (map[int32]Settled, error)
	// Close ends the producer. A bundle that is not committed stays so.
	Close() error
}

// Reader reads topic-partitions outside the group, committed records only: changelogs for restores, topics for commands.
// One goroutine at a time may call Poll; the others may be called from any.
type Reader interface {
	// Assign adds a topic-partition from an offset on. Remove takes it away.
	Assign(tp TopicPartition, from int64) error
	Remove(tp TopicPartition) error
	// Poll waits up to the given time for the next batch; nil if none came. Batches without records tell how far the
	// position moved over control and aborted records.
	Poll(wait time.Duration) (*Batch, error)
	Close() error
}

// TopicState is what the broker says of a topic.
type TopicState struct {
	ID         string // the topic id; empty where the broker has none
	Partitions int32
	Replicas   int32
	Config     map[string]string // all its settings
}

// TopicSpec describes a topic to be made.
type TopicSpec struct {
	Name       string
	Partitions int32
	Replicas   int32             // 0: the broker's default
	Config     map[string]string // only what differs from the broker's defaults
}

// BrokerState is what a broker says of itself.
type BrokerState struct {
	ID int32
	// Config holds all its settings; nil where this client may not see them, or the broker does not answer.
	Config map[string]string
}

// GroupMember is one member of a group, as its coordinator sees it.
type GroupMember struct {
	ID       string // given by the broker
	Instance string // group.instance.id; empty for a member without
	Client   string // client.id
	Host     string // from which it connects
	// Assigned are the topic-partitions that it owns: of a node, of the slots topic.
	Assigned []TopicPartition
}

// GroupState is what a group's coordinator says of it. A group that does not exist has no members and is stable.
type GroupState struct {
	Exists  bool
	Stable  bool // no rebalance is under way
	Members []GroupMember
}

// Isolation says which end of a log is meant.
type Isolation uint8

const (
	// ReadCommitted means: the last stable offset; it lags while transactions are open or their markers on their way.
	ReadCommitted Isolation = iota
	// ReadUncommitted means: the high watermark.
	ReadUncommitted
)

// Admin asks and changes the broker's topics and offsets. Every call ends by its ctx at the latest; all may be called
// from any goroutine.
type Admin interface {
	// Topics returns the state of those of the named topics that exist.
	Topics(ctx context.Context, names ...string) (map[string]TopicState, error)
	// AllTopics returns the names of all topics that are not the broker's own.
	AllTopics(ctx context.Context) ([]string, error)
	// Create makes topics; one that exists already is no error.
	Create(ctx context.Context, specs ...TopicSpec) error
	// Grow raises a topic's number of partitions.
	Grow(ctx context.Context, topic string, partitions int32) error
	// Delete deletes topics; one that does not exist is no error.
	Delete(ctx context.Context, topics ...string) error
	// Ends and Starts return the first offset behind and the first in the log.
	Ends(ctx context.Context, level Isolation, tps ...TopicPartition) (map[TopicPartition]int64, error)
	Starts(ctx context.Context, tps ...TopicPartition) (map[TopicPartition]int64, error)
	// Since returns the first offset of a record with a time, in milliseconds since the Unix epoch, or with a later one; -1 where no committed
	// record has.
	Since(ctx context.Context, at int64, tps ...TopicPartition) (map[TopicPartition]int64, error)
	// CommittedOffsets returns the group's committed offsets that are not part of an open transaction, waiting for those that are.
	CommittedOffsets(ctx context.Context, group string, tps ...TopicPartition) (map[TopicPartition]Position, error)
	// Members returns the number of members of a group and whether it is stable.
	Members(ctx context.Context, group string) (n int, stable bool, err error)
	// DeleteRecords deletes what lies before the given offsets.
	DeleteRecords(ctx context.Context, before map[TopicPartition]int64) error
	// Produce writes records outside any transaction, acknowledged by all replicas, and returns their offsets in order.
	// Topics of outputs are indexes into names.
	Produce(ctx context.Context, names []string, out *Outputs) ([]int64, error)
	Close() error
}

// Operator is an Admin that can do what those who run a topology need beyond what its nodes do: look at brokers and
// groups, and take a topology apart.
type Operator interface {
	Admin
	// Marks returns the texts of the marks of slots of a topology; empty for a slot that has none. See ParseMark.
	Marks(ctx context.Context, topology string, slots ...int32) (map[int32]string, error)
	// SetOffsets commits positions for a group that has no members, outside any transaction.
	SetOffsets(ctx context.Context, group string, positions ...Position) error
	// Group returns the members of a group.
	Group(ctx context.Context, group string) (GroupState, error)
	// Evict takes a member out of a group, by its instance and its id: a successor of the same instance, whose id is
	// another, is left alone. A member that is not there any more is no error.
	Evict(ctx context.Context, group string, member GroupMember) error
	// DeleteGroup deletes a group that has no members, with all its committed offsets. One that does not exist is no error.
	DeleteGroup(ctx context.Context, group string) error
	// Fence ends whatever transaction an instance of a topology has open, and whatever it would commit later.
	Fence(ctx context.Context, group, instance string) error
	// Brokers returns the brokers that are up, by their ids, with their settings as far as this client may see them.
	Brokers(ctx context.Context) ([]BrokerState, error)
	// Session becomes the only writer under a transactional id: whatever an earlier one has open is ended before it returns,
	// and whatever it tries later fails.
	Session(ctx context.Context, id string) (Session, error)
}

// Session writes records in transactions, as the only one under its transactional id. One goroutine at a time may use it.
type Session interface {
	// Commit writes records in one transaction, all or none. Topics of outputs are indexes into names. ErrSuperseded says that
	// another session has begun under the id, and nothing was written. After any other error it may or may not be committed;
	// the next session's owner sees which.
	Commit(ctx context.Context, names []string, out *Outputs) error
	Close()
}

// GroupConfig says as whom a process joins.
type GroupConfig struct {
	Group     string // group.id, the topology's name; its slots topic is Group + "-slots"
	Instance  string // group.instance.id, kept in the data directory; also the end of the transactional id
	Nonce     string // of this process: a mark is Instance/Nonce
	Advertise string // a URL; travels in client.id, behind an @
	KeepSlots bool   // at the end, stop without leaving the group: for rolling restarts
	// Returns says, at the end, that this process joins again at once, so that it does not leave either. Nil: it does not.
	Returns func() bool
	// ReleaseTimeout bounds how long Release may take in a rebalance. Defaults to 10 s.
	ReleaseTimeout time.Duration
	// AtLeastOnce has what agents send be seen before it is committed, and again where it is done again.
	AtLeastOnce bool
}

// Driver opens clients for one cluster. An implementation holds the brokers' addresses and the user's settings.
type Driver interface {
	OpenAdmin() (Admin, error)
	OpenReader() (Reader, error)
	OpenGroup(GroupConfig) (Group, error)
	// OpenProducer opens the producer that belongs to a group, and ends whatever an earlier process of the same instance
	// left open. topics are the names of the plan's topics by ID. It blocks until ctx ends at the latest.
	OpenProducer(ctx context.Context, g Group, topics []string) (Producer, error)
}
