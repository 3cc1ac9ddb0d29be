// Package plan is the checked, erased form of a topology: what the engine runs. Users do not meet it; package topology
// makes it from what they wrote, and may change it at any time.
package plan

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

// Plan is a topology that has passed all checks. It is immutable.
type Plan struct {
	Name    string
	Topics  []*Topic  // all topics, internal ones too; a topic's ID is its index
	Tables  []*Table  // a table's ID is its index
	Globals []*Global // global tables; a global table's ID is its index
	Agents  []*Agent  // all agents, timers and tasks; an agent's ID is its index
	// Channels are the pipes in memory; a channel's ID is its index.
	Channels []*Channel
	// Patterns are sources of topics that a node finds when it starts; a pattern's ID is its index.
	Patterns []*Pattern
	Stages   []*Stage // stage 0 is the leader's: it has one partition, the timers and tasks of the whole topology, no table
}

// Kind says what a topic is for, and so who makes it and how.
type Kind uint8

// The kinds of topics.
const (
	External    Kind = iota // named by the user: made only when asked to
	Repartition             // between an operator and the stage behind GroupBy
	Changelog               // of a table; compacted
	DeadLetters             // records that were given up
	Slots                   // the group's subscription: one partition per slot
	Leader                  // source of slot 0, never written
	Replies                 // answers to those who ask agents; forgotten after a while
	Matching                // no topic, but what those that match a pattern are like: in drawings alone
)

// Topic is one topic of the plan.
type Topic struct {
	ID          int32
	Name        string // as on the broker
	Kind        Kind
	Partitions  int32             // wished for when it is made; 0: what it is co-partitioned with, else what Like has, else the default
	Config      map[string]string // wished for when it is made
	Partitioner kafka.Partitioner
	Key, Value  Text
	Like        *Topic // of a repartition topic: the topic whose records it spreads; nil otherwise
	Source      bool   // some agent reads it
	Sink        bool   // some agent writes it
	Global      bool   // a global table reads all of it on every node
	// Pattern is the one that it matches; LikePattern of a repartition topic the one whose topics' records it spreads. Nil otherwise.
	Pattern     *Pattern
	LikePattern *Pattern
	// EventTime finds the event time of a record, in milliseconds since the Unix epoch. It is a function of the user's, and may panic. Nil: it is the timestamp.
	EventTime func(b *kafka.Batch, i int) (int64, error)
}

// PartitionOf is the partition of a key, of so many.
func (t *Topic) PartitionOf(key []byte, of int32) int32 {
	if t.Partitioner.Hash == nil {
		return kafka.Murmur2().Hash(key, of)
	}
	return t.Partitioner.Hash(key, of)
}

// Channel is a pipe in memory between agents of one stage, in each of its partitions.
type Channel struct {
	ID         int32
	Name       string
	Stage      int32
	Capacity   int // records that may wait in a partition
	Key, Value Text
	NewParcel  func() Parcel
	Puts       *Topic // what is put into it from outside is written there; nil: nothing is
}

// Parcel is a run of records on their way through a channel. It has one owner at a time.
type Parcel interface {
	Len() int
	// AppendAll adds the records of another parcel of the channel, Fresh makes an empty one, Reset empties this one.
	AppendAll(other Parcel)
	Fresh() Parcel
	Reset()
	// Batch makes a batch of the records, numbered from an offset on, whose Values are a KeyHasher. It takes the parcel's memory.
	Batch(channel string, partition int32, from int64) *kafka.Batch
}

// KeyHasher is what a batch of a channel has as its Values.
type KeyHasher interface {
	// KeyHash is the same for equal keys; false: the record has none.
	KeyHash(i int) (uint64, bool)
}

// Text turns keys or values into text and back, for commands. null tells null from empty.
type Text struct {
	Type   string // of the Go value, for messages
	Format func(b []byte) (string, error)
	Parse  func(s string) ([]byte, error)
	// Same says whether two encodings are of one value; nil where Format is.
	Same func(a, b []byte) bool
	// Secrets: values have fields that are not shown, so bytes that do not decode must not be shown either.
	Secrets bool
}

// Table is one table of the plan.
type Table struct {
	ID        int32
	Name      string
	Stage     int32
	Changelog *Topic
	Key       Text
	Value     Text
	Ordered   bool
	Local     bool // keys need not hash to their partition
	Timers    bool // durable timers
	ByEvents  bool // which are due by the times of records
	// Group is the same number for tables that functions inside shards go on between, since they are joined; 0: alone. Their shards
	// are one actor's.
	Group int32
	// Stamped: each row keeps the time of its last change, which is the timestamp of its record in the changelog.
	Stamped bool
	TTL     *tables.TTL // entries expire; nil: they do not
	Indexes []string    // their names
	// Version is that of the codec of the values; Current makes its encoding of what another one has written, or says why it cannot.
	Version uint64
	Current func(version uint64, value []byte) ([]byte, error)
	// Split takes the key of a row of a set table apart: Key and Value are how its parts are shown then, Rows how the whole is. Nil for
	// other tables.
	Split func(row []byte) (key, element []byte, ok bool)
	Rows  Text
	// Policy is for failures of functions inside the table's shards, complete. Nil: that of the agent.
	Policy *Policy
	// NewShard makes the state of one partition of the table; NewOps an empty batch of operations on it.
	NewShard func(tables.Config) tables.Shard
	NewOps   func() tables.Ops
}

// Entry is what a row of the changelog is shown as: its key and value, or of a set table the key and the element.
func (t *Table) Entry(key, value []byte) (k, v []byte) {
	if t.Split == nil {
		return key, value
	}
	k, e, ok := t.Split(key)
	if !ok {
		return key, value
	}
	return k, e
}

// Global is a global table: a full copy of a topic on every node.
type Global struct {
	ID    int32
	Name  string
	Topic *Topic
	Skip  bool // records that do not decode are passed over
	// New makes an empty copy.
	New func() tables.Replica
}

// Stage is a set of agents and tables connected by co-partitioned topics (Kafka Streams: sub-topology).
type Stage struct {
	ID      int32
	Key     string   // what the slot map knows it by: the names of its sources, sorted, joined by commas
	Sources []*Topic // sorted by name; co-partitioned
	Agents  []*Agent
	Tables  []*Table
	// Channels between the agents.
	Channels []*Channel
}

// Metadata returns the agents whose progress is kept beside the committed offset of a source, and how many characters there are for what they do
// out of order. Beside the first one stand the timers as well, and the clocks of tables whose entries expire and of timers in event time.
func (s *Stage) Metadata(source int) (agents []string, room int) {
	var timers, clocks []string
	for _, a := range s.Agents {
		switch {
		case a.Source == s.Sources[source]:
			agents = append(agents, a.Of)
		case a.Role == Timer && source == 0:
			timers = append(timers, a.Name)
		}
	}
	for _, t := range s.Tables {
		if (t.TTL != nil || t.ByEvents) && source == 0 {
			clocks = append(clocks, t.Name)
		}
	}
	return agents, kafka.MetaRoom(agents, timers, clocks)
}

// Start says from where an agent reads a topic of which it has no committed offset. A positive one is a time, in milliseconds since the Unix epoch.
type Start int64

// Where an agent starts.
const (
	Earliest Start = 0
	Latest   Start = -1
	None     Start = -2 // nowhere: it is refused
)

// Role says when an agent's program runs.
type Role uint8

// The roles.
const (
	Processor Role = iota // for each record of its source
	Timer                 // at each interval or moment of a crontab line, in its stage's epochs
	Task                  // once, when its partition starts running
	OnTimer               // for each timer of a table of timers that is due
)

// Agent is one agent, timer or task.
type Agent struct {
	ID   int32
	Name string
	// Of is the name that its progress is kept under, by topic: Name, or where an agent has several topics, and so is several agents, the name
	// that they have in common.
	Of     string
	Role   Role
	Stage  int32
	Source *Topic // nil for timers and tasks, and for agents that read a channel
	// Channel is what it reads in place of a topic; Into are the channels that it sends to.
	Channel *Channel
	Into    []*Channel
	Start   Start
	Every   time.Duration // of a timer with an interval
	Cron    *Cron         // of a timer with a crontab line; nil otherwise
	Policy  *Policy       // complete
	Sends   []*Topic
	Reads   []*Table // Writes included
	Writes  []*Table
	Fires   *Table    // of an OnTimer: the timers that it is called for, which it need not have declared
	Globals []*Global // that it reads
	// Concurrency is how many workers it has in a partition; 0 and 1: one.
	Concurrency int
	// Throttle is how fast it is given its records in a partition; nil: as fast as it is.
	Throttle *Throttle
	// Loop says that the program blocks in Input.Next and wants a goroutine; else Run returns when Next finds nothing.
	Loop bool
	// InOrder says that the agent takes turns with others of its stage that say so, by the times of their records: they share
	// tables that are joined.
	InOrder bool
	// Program makes the agent's code, anew at each restart. Nil for raw props.
	Program func() Program
	// Raw holds what topology.Props registered; nil otherwise.
	Raw *Raw
	// Steps describes the operators fused into the agent, for descriptions.
	Steps []string
	// Reply is set for an agent that can be asked.
	Reply *Reply
}

// Throttle is a limit: N records in any span of time as long as Per.
type Throttle struct {
	N   int
	Per time.Duration
}

// String implements fmt.Stringer.
func (t *Throttle) String() string {
	if t == nil {
		return "no limit"
	}
	return fmt.Sprintf("%d in %v", t.N, t.Per)
}

// Moves says whether the records of the agent bring forward the time of a table of timers in event time: it has declared them.
func (a *Agent) Moves(t *Table) bool {
	return t.ByEvents && a.Role == Processor && slices.Contains(a.Reads, t)
}

// Is says whether the agent is called so, or is one of several that are together.
func (a *Agent) Is(name string) bool { return name == a.Name || name == a.Of }

// Reply says how an agent answers those who ask it.
type Reply struct {
	Topic *Topic // among Sends of the agent
	Value Text   // of the answers
	// Others are further topics that it may be asked to answer to, among Sends too.
	Others []*Topic
	// Eager says that answers are sent when their turn is over, too, before what the turn has done is committed.
	Eager bool
}

// To is the topic for the answer to an ask; nil for one that is not declared.
func (r *Reply) To(ask *kafka.Ask) *Topic {
	if ask.To == "" {
		return r.Topic
	}
	for _, t := range r.Others {
		if t.Name == ask.To {
			return t
		}
	}
	return nil
}

// Request is a record sent to an agent from outside.
type Request struct {
	Plan       *Plan
	Agent      *Agent // has a Reply
	Key, Value []byte // encoded
	By         string // the record whose handler asks an agent of its own partition; empty for all others
}

// Raw is an agent that is a protoactor actor of the user's own.
type Raw struct {
	Props any // *actor.Props
	// Batch makes the topology.Batch[K, V] that the actor is sent, over a run of records.
	Batch func(RawInput) any
}

// RawInput is what a raw agent's batch calls back into. Its methods may be called from any goroutine.
type RawInput interface {
	Records() []Rec
	// Begin starts record i and returns the effects that its handler asks for.
	Begin(i int) (Input, error)
	Done(i int) error
	Fail(i int, err error) error
}

// Program is an agent's code, erased. It is used by one goroutine at a time.
type Program interface {
	// Run processes what in.Next gives, until it gives nothing more. Returning nil while a record is at hand means that the
	// record is done. An error, a panic or runtime.Goexit means that it failed; its effects are dropped.
	Run(in Input) error
}

// Rec is a record in a batch, or a timer that is due in one that a shard has made. B is nil for the turn of a timer or task, whose Time is set instead.
type Rec struct {
	B    *kafka.Batch
	I    int        // in the batch; of a timer's turn: how many were missed before it
	Time *time.Time // of a timer's turn: when it was due; of a table's change: when it was; nil: the time of the record
}

// Millis is when that was, in milliseconds since the Unix epoch; 0 for what is neither.
func (r Rec) Millis() int64 {
	switch {
	case r.Time != nil:
		return r.Time.UnixMilli()
	case r.B != nil:
		return r.B.Time(r.I)
	}
	return 0
}

// Input hands an agent's program its records, one turn after the other, and takes the effects of the turn at hand.
type Input interface {
	// Next ends the turn at hand (its effects are final) and begins that of the next record. ok is false when there is none:
	// the agent stops, or, for programs that are no loops, the run of records is through.
	Next() (rec Rec, ok bool)
	// NextMany ends the turn at hand and begins one with up to n records, waiting up to the given time after the first
	// for more. Empty when the agent stops.
	NextMany(n int, within time.Duration) []Rec
	// Effects returns where the effects of the turn at hand go; nil outside a turn.
	Effects() *Effects
	// Context ends when the agent must stop: its partition moves, the node stops, a deadline passes.
	Context() context.Context
	// Ask sends a query to the shard of a table in this partition, behind all operations of this agent so far, and waits for
	// the answer. committed: see committed values only.
	Ask(table *Table, q tables.Query) error
	// Now is the node's clock.
	Now() time.Time
	// Partition is the partition that the agent works for, Env the node's surroundings.
	Partition() int32
	Env() *Env
}

// Waiter is what an Input implements whose turns may wait for an agent of their own partition. Any goroutine may use it.
type Waiter interface {
	// WaitFor says that the turn at hand is about to ask an agent of its partition, and wait for its answer; over is called when it is there, or
	// not waited for any more. by names the record at hand, as the request does. The error says why that cannot be.
	WaitFor(agent *Agent, by string) (over func(), err error)
}

// CannotWaitError says why a turn cannot wait for an agent of its own partition.
type CannotWaitError struct{ Why string }

// Error implements error.
func (e *CannotWaitError) Error() string { return e.Why }

// Env is what a node has found out about the topics of a plan before it starts anything. It is immutable, but for what its global
// tables hold.
type Env struct {
	Partitions []int32 // by topic ID
	MaxBytes   []int32 // by topic ID: max.message.bytes
	// Globals are the node's copies of topics, by the IDs of global tables. Any goroutine may read them.
	Globals []tables.Replica
}

// NewGlobals makes the copies of all global tables, empty.
func (p *Plan) NewGlobals() []tables.Replica {
	var all []tables.Replica
	for _, g := range p.Globals {
		all = append(all, g.New())
	}
	return all
}

// Effects are what handlers ask for: held back until the turn is over, kept only if it went well. One goroutine at a
// time may use it.
type Effects struct {
	Out *kafka.Outputs
	Ops []tables.Ops // by table ID; nil where nothing was asked for
	// Sent is what goes into channels, by their IDs; nil where nothing does. Shorter than the ID of a channel that cannot be sent to.
	Sent []Parcel
	// Early is what is sent as soon as the turn is over, outside its transaction; nil where nothing is.
	Early *kafka.Outputs
	// Due is the first moment that a timer in event time was set for, in milliseconds, where the agent has such timers.
	Due int64
	// Dropped is how many times an operator has left the record at hand out, since it lacks a key or a value.
	Dropped int64
	// Err is the first error of a send or write; it fails the turn.
	Err error
}

// Fail makes the turn fail with err, unless it has failed already.
func (e *Effects) Fail(err error) {
	if e.Err == nil {
		e.Err = err
	}
}
