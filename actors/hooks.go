package actors

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// Hooks are functions of the user's that are told what happens in a node. They are called one after the other, in the order
// of what happened, never two at once, on a goroutine that does nothing else: none needs to be safe for concurrent use by one node, and none can
// harm it. A hook that panics is logged and called again the next time; while one blocks, up to 1,000 events wait, and what
// comes then is dropped, counted and logged. Nil: not called.
type Hooks struct {
	OnRestart     func(Restart)
	OnDeadLetter  func(DeadLetter)
	OnStateChange func(StateChange)
	OnRebalance   func(Rebalance)
	OnCommit      func(Commit)
}

// Restart says that an agent was restarted with fresh state, because a record, or its turn, failed.
type Restart struct {
	Time      time.Time
	Topology  string
	Stage     string
	Partition int32
	Agent     string
	Restarts  int64 // of this agent in this partition since it came to this node, this one included
	Err       error
}

// DeadLetter says that a record was given up and goes to the dead letters. The letter is committed with the next bundle of its
// partition: a crash before that lets the record be tried again, and the hook be called again.
type DeadLetter struct {
	Time      time.Time
	Topology  string
	Stage     string
	Partition int32 // of Topic too
	Agent     string
	Topic     string
	Offset    int64
	Attempts  int
	Err       error
}

// StateChange says that a partition has come into another state: restoring, running, retrying, undoing, stopping, stopped; gone is the
// last one, when the partition is let go of. The first one of a partition comes from the empty state.
type StateChange struct {
	Time      time.Time
	Topology  string
	Stage     string
	Partition int32
	From, To  string
	Why       string // empty where there is nothing to say
}

// Rebalance says that partitions came to this node or left it.
type Rebalance struct {
	Time     time.Time
	Topology string
	Taken    []StagePartition
	Released []StagePartition // in order: what was done is committed
	Lost     []StagePartition // to another node; what was not committed is done again there
	Why      error            // they were lost
}

// StagePartition is one partition of a stage.
type StagePartition struct {
	Stage     string
	Partition int32
}

// Commit says how a commit ended, of one transaction.
type Commit struct {
	Time       time.Time
	Topology   string
	Partitions int // whose bundles it held
	Took       time.Duration
	Verdict    kafka.Verdict // after Aborted the same is committed again; after Unknown the broker is asked
	Err        error         // why it is not Committed
}

func (h Hooks) none() bool {
	return h.OnRestart == nil && h.OnDeadLetter == nil && h.OnStateChange == nil && h.OnRebalance == nil && h.OnCommit == nil
}

// hookQueue is how many events wait for hooks.
const hookQueue = 1000

// hooks calls the hooks of a node.
type hooks struct {
	hooks   Hooks
	queue   chan any
	log     *slog.Logger
	dropped atomic.Int64
	close   sync.Once
	quit    chan struct{}
	done    chan struct{}
}

// newHooks begins to call hooks, until end. Nil: there are none.
func newHooks(h Hooks, log *slog.Logger) *hooks {
	if h.none() {
		return nil
	}
	x := &hooks{hooks: h, queue: make(chan any, hookQueue), log: log, quit: make(chan struct{}), done: make(chan struct{})}
	go x.run()
	return x
}

// tell queues an event, or drops it. It never blocks.
func (x *hooks) tell(event any) {
	if x == nil {
		return
	}
	select {
	case x.queue <- event:
	default:
		if n := x.dropped.Add(1); n&(n-1) == 0 { // 1, 2, 4, 8, …
			x.log.Warn("events dropped: a hook blocks, or is too slow", "dropped", n, "event", fmt.Sprintf("%T", event))
		}
	}
}

// lost is how many events were dropped.
func (x *hooks) lost() int64 {
	if x == nil {
		return 0
	}
	return x.dropped.Load()
}

// end lets hooks be called for what is queued, and waits for that for a while: one that blocks is left behind. What is told later is
// dropped in the end.
func (x *hooks) end(wait time.Duration) {
	if x == nil {
		return
	}
	x.close.Do(func() { close(x.quit) })
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-x.done:
	case <-t.C:
		x.log.Warn("a hook blocks: it is left behind", "waited", wait)
	}
}

func (x *hooks) run() {
	defer close(x.done)
	for {
		select {
		case e := <-x.queue:
			x.call(e)
			continue
		case <-x.quit:
		}
		for {
			select {
			case e := <-x.queue:
				x.call(e)
			default:
				return
			}
		}
	}
}

// call calls a hook. One that ends its goroutine with runtime.Goexit must not end ours: the rest is done on a new one.
func (x *hooks) call(event any) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				x.log.Error("a hook panicked", "event", fmt.Sprintf("%T", event), "panic", r, "stack", string(debug.Stack()))
			}
		}()
		x.dispatch(event)
	}()
	<-done
}

func (x *hooks) dispatch(event any) {
	h := x.hooks
	switch e := event.(type) {
	case Restart:
		notify(h.OnRestart, e)
	case DeadLetter:
		notify(h.OnDeadLetter, e)
	case StateChange:
		notify(h.OnStateChange, e)
	case Rebalance:
		notify(h.OnRebalance, e)
	case Commit:
		notify(h.OnCommit, e)
	}
}

func notify[E any](f func(E), e E) {
	if f != nil {
		f(e)
	}
}
