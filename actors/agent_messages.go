package actors

import (
	"time"

	"github.com/troupe-stream/troupe/topology/plan"
)

// What an agent receives:
//
//	message  | sent by   | reply                       | legal in state
//	---------|-----------|-----------------------------|-------------------------------------
//	Begin    | partition | -                           | any: ends what the incarnation before did
//	Work     | partition | Worked…, or AgentFailed     | begun; of another incarnation: ignored
//	Flush    | partition | Worked with the same round  | begun; else ignored
//	Expire   | partition | -                           | begun; else ignored
//	crashed  | itself    | - (it panics)               | any
//
//sumtype:decl
type agentMessage interface{ isAgentMessage() }

// Begin starts a new incarnation of the agent: a fresh program that may be given work. Whatever an older incarnation
// still does is refused by the partition.
type Begin struct{ Incarnation int64 }

// Work is a run of records for the agent, or one turn of a timer or task.
type Work struct {
	Incarnation int64
	ID          int64
	Lane        int // which of the agent's workers is to do it
	Records     []plan.Rec
	Hurry       bool  // a batch that is being gathered waits for no more than this
	Time        int64 // of the timers in event time that its records bring forward, in milliseconds
}

// Flush asks for the effects of all turns that are over. With Final set the agent takes no further record, and answers
// when the turn at hand is over too.
type Flush struct {
	Incarnation int64
	Round       int64
	Final       bool
	Hurry       bool // a batch that is being gathered is full now
}

// Expire ends the contexts of what the agent has under way: a function of it that runs in a shard has passed its deadline.
type Expire struct{ Incarnation int64 }

// crashed tells an agent's actor that its program failed, so that it panics and its supervisor restarts it.
type crashed struct {
	incarnation int64
	err         error
}

func (Begin) isAgentMessage()   {}
func (Work) isAgentMessage()    {}
func (Flush) isAgentMessage()   {}
func (Expire) isAgentMessage()  {}
func (crashed) isAgentMessage() {}

// Worked is what an agent has done: the effects of all turns that ended since its last Worked. Its effects belong to the
// receiver.
type Worked struct {
	Agent       int // index in the stage
	Incarnation int64
	Prior       []int64 // works that are through as well
	Work        int64   // ID of the work that Done and Set are about
	Done        int     // the first Done records of that work are through
	Set         []int   // raw agents: records beyond them that are through
	Finished    bool    // all of that work is through
	Back        bool    // the records of that work behind Done are handed back: timers that it has set come first
	Round       int64   // answers the Flush of this round; 0: none
	Out         outputs
	Ops         []tableOps
	Sent        []sent
	Dropped     int64         // how often operators left a record out for want of a key or value
	Took        time.Duration // for the work that is finished with it; 0: not measured
}

// AgentFailed says that the turn at hand failed: Turn records from record Done of the work on. The agent's actor is about
// to be restarted, unless Restarted says that it is no actor failure but a verdict of a raw agent.
type AgentFailed struct {
	Agent       int
	Incarnation int64
	Work        int64
	Done        int
	Turn        int
	Err         error
	Stack       string
}

// Ask is a query of an agent to a shard of its partition.
type Ask struct {
	Agent       int
	Incarnation int64
	Table       int // index in the stage
	Query       query
	Reply       func(error) // called once, from any goroutine
}

// Waits says that the turn at hand of an agent is about to wait for what another agent of its partition answers, or, with Over set, that it does not
// any more.
type Waits struct {
	Agent       int
	Incarnation int64
	For         string
	By          string // the record at hand
	Over        bool
	Reply       func(error) // called once, from any goroutine, with why it must not: a *plan.CannotWaitError; unless Over
}

func (Worked) isPartitionMessage()      {}
func (Waits) isPartitionMessage()       {}
func (AgentFailed) isPartitionMessage() {}
func (Ask) isPartitionMessage()         {}

// failure is why an agent's actor panics: its supervisor restarts it, the partition has been told already.
type failure struct {
	agent string
	err   error
}

func (f failure) Error() string { return "agent " + f.agent + ": " + f.err.Error() }
func (f failure) Unwrap() error { return f.err }

// askTimeout bounds how long a handler waits for a shard. A shard answers in microseconds; one that does not is stuck.
const askTimeout = 30 * time.Second
