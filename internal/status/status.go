package status

import (
	"errors"
	"time"
)

// Answer is what a process answers to a question about its state, and about that of the others of its topologies.
type Answer struct {
	Nodes       []Node        `json:"nodes"`
	Unreachable []Unreachable `json:"unreachable,omitempty"` // members of the groups that did not answer
}

// Unreachable is a member of a topology's group that did not answer.
type Unreachable struct {
	Topology string `json:"topology"`
	Instance string `json:"instance"`
	Address  string `json:"address,omitempty"` // that it advertises
	Why      string `json:"why"`
}

// States of a node.
const (
	Starting   = "starting"  // it looks at its topics
	Joining    = "joining"   // it waits for the group to take it in
	Restoring  = "restoring" // a partition of it reads its tables' changelogs, or is about to
	Running    = "running"
	Stopping   = "stopping"
	Stopped    = "stopped" // of a partition: it gives out nothing until it is resumed
	Retrying   = "retrying"
	Probing    = "probing"    // a partition finds out which of its records has ended processes
	Undoing    = "undoing"    // a partition goes back to what is whole
	Unassigned = "unassigned" // of a partition: no node has it just now
	Unknown    = "unknown"    // of a partition: no node that answers has it
	Busy       = "busy"       // a partition, or the whole node, does not answer in time
)

// Node is one topology in one process.
type Node struct {
	Topology   string      `json:"topology"`
	Instance   string      `json:"instance"`
	Version    string      `json:"version"`
	Started    time.Time   `json:"started,omitzero"`
	State      string      `json:"state"`
	Why        string      `json:"why,omitempty"` // it is not running
	Ready      bool        `json:"ready"`
	Member     string      `json:"member,omitempty"` // its id in the group
	Address    string      `json:"address,omitempty"`
	Guarantee  string      `json:"guarantee"`
	Client     string      `json:"client,omitempty"`     // how it uses librdkafka: batched or public
	ClientWhy  string      `json:"client_why,omitempty"` // it is not batched
	Partitions []Partition `json:"partitions"`
	Globals    []Global    `json:"globals,omitempty"`
	All        []string    `json:"all"` // the names of all partitions of the topology, whoever has them
	Rates      Rates       `json:"rates"`
	Commits    Commits     `json:"commits"`
	LastErrors []Failure   `json:"last_errors,omitempty"` // newest first
	LagUnknown string      `json:"lag_unknown,omitempty"` // why lags are not known just now
}

// Rates are records in a second, over the last ten seconds or so.
type Rates struct {
	In  float64 `json:"in"`
	Out float64 `json:"out"`
}

// Commits count the transactions of a node by how they ended.
type Commits struct {
	Committed int64 `json:"committed"`
	Aborted   int64 `json:"aborted"`
	Unknown   int64 `json:"unknown"` // the outcome had to be found out
	Fenced    int64 `json:"fenced"`
}

// Partition is one partition of a stage, owned by a node.
type Partition struct {
	Stage       string    `json:"stage"`
	Partition   int32     `json:"partition"`
	State       string    `json:"state"`
	Why         string    `json:"why,omitempty"` // it is in that state
	Since       time.Time `json:"since,omitzero"`
	Progress    float64   `json:"progress"` // of restoring, 0 to 1; 1 once that is over
	Incarnation int64     `json:"incarnation"`
	Lag         int64     `json:"lag"`    // records behind the ends of its sources; -1: not known
	Queued      int       `json:"queued"` // records read and not given out
	EpochBytes  int       `json:"epoch_bytes"`
	Rates       Rates     `json:"rates"`
	Agents      []Agent   `json:"agents,omitempty"`
	Shards      []Shard   `json:"shards,omitempty"`
	LastErrors  []Failure `json:"last_errors,omitempty"`
}

// Name is the partition as commands and logs write it.
func (p Partition) Name() string { return Name(p.Stage, p.Partition) }

// Agent is one agent, timer or task of a partition. Its counts are those of this partition since it came to this node.
type Agent struct {
	Name         string    `json:"name"`
	Role         string    `json:"role"`              // agent, timer, task
	Topic        string    `json:"topic,omitempty"`   // that it reads
	Channel      string    `json:"channel,omitempty"` // that it reads in place of a topic; its lag is what waits in memory
	Offset       int64     `json:"offset"`            // the next to commit; -1: it reads no topic
	Lag          int64     `json:"lag"`               // -1: not known
	State        string    `json:"state"`             // running, throttled, retrying, held back, stopped
	Record       string    `json:"record,omitempty"`
	Attempts     int       `json:"attempts"` // failures of the record that is retried
	RetryIn      string    `json:"retry_in,omitempty"`
	RetryAt      time.Time `json:"retry_at,omitzero"`
	Parked       int       `json:"parked"` // records that wait by themselves while others go on
	LastError    string    `json:"last_error,omitempty"`
	Incarnation  int64     `json:"incarnation"`
	Restarts     int64     `json:"restarts"`
	In           int64     `json:"in"`
	Out          int64     `json:"out"`
	Dropped      int64     `json:"dropped"` // left out by operators, for want of a key or value
	Failed       int64     `json:"failed"`
	Retried      int64     `json:"retried"`
	Skipped      int64     `json:"skipped"`
	DeadLettered int64     `json:"dead_lettered"`
}

// Shard is one partition of a table.
type Shard struct {
	Table    string  `json:"table"`
	State    string  `json:"state"`    // restoring, running
	Progress float64 `json:"progress"` // of restoring
	Entries  int64   `json:"entries"`
	Bytes    int64   `json:"bytes"`
	Out      int64   `json:"out"` // records sent by functions inside it
}

// Global is a node's copy of a topic: a global table.
type Global struct {
	Table    string  `json:"table"`
	Topic    string  `json:"topic"`
	State    string  `json:"state"`         // restoring, running
	Why      string  `json:"why,omitempty"` // it is not kept up to date just now
	Progress float64 `json:"progress"`      // of restoring
	Entries  int64   `json:"entries"`
	Bytes    int64   `json:"bytes"`   // of keys and values, as they are encoded
	Skipped  int64   `json:"skipped"` // records that did not decode
}

// Failure is one failure of a record, or of a turn of a timer or task.
type Failure struct {
	Time     time.Time `json:"time"`
	Agent    string    `json:"agent,omitempty"`
	Record   string    `json:"record,omitempty"` // topic/partition@offset
	Attempts int       `json:"attempts,omitempty"`
	Decision string    `json:"decision,omitempty"` // what the policy said
	Error    string    `json:"error"`
}

// Tree is an actor, with those below it.
type Tree struct {
	Name        string `json:"name"`
	Kind        string `json:"kind"`
	State       string `json:"state,omitempty"`
	Mailbox     int    `json:"mailbox"` // messages that wait; -1: not known
	Restarts    int64  `json:"restarts"`
	Incarnation int64  `json:"incarnation,omitempty"`
	Children    []Tree `json:"children,omitempty"`
}

// NodeTree is the tree of a node.
type NodeTree struct {
	Topology string `json:"topology"`
	Instance string `json:"instance"`
	Address  string `json:"address,omitempty"`
	Why      string `json:"why,omitempty"` // there is no tree
	Root     Tree   `json:"root"`
}

// Trees is the answer to a question for trees.
type Trees struct {
	Trees       []NodeTree    `json:"trees"`
	Unreachable []Unreachable `json:"unreachable,omitempty"`
}

// Resumed is what became of a wish to resume a partition.
type Resumed struct {
	Topology  string `json:"topology"`
	Stage     string `json:"stage"`
	Partition int32  `json:"partition"`
	Resumed   bool   `json:"resumed"`       // it was stopped, and goes on
	Why       string `json:"why,omitempty"` // it does not
}

// Resumes is the answer to a wish to resume partitions.
type Resumes struct {
	Resumed     []Resumed     `json:"resumed"`
	Failed      []Unreachable `json:"failed,omitempty"` // nodes that could not say
	Unreachable []Unreachable `json:"unreachable,omitempty"`
}

// Put is where a record is that was put into a channel.
type Put struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// ErrRefused says that a question is at fault, not the node.
var ErrRefused = errors.New("nothing was done")

// Digest is what a shard of a running node holds that is committed, in short: see tables.Digest.
type Digest struct {
	Known       bool   `json:"known"`
	Why         string `json:"why,omitempty"` // it is not
	Entries     int64  `json:"entries"`
	Sum         uint64 `json:"sum,string"`
	Sealed      int64  `json:"sealed"`      // the epoch that was sealed last, to be committed; beyond Committed: a commit is under way
	Committed   int64  `json:"committed"`   // the epoch that was committed last
	Incarnation int64  `json:"incarnation"` // of the slot, on this node
}
