package topology

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// scope is what contexts have in common: the turn at hand. A program has one, and keeps it from run to run.
type scope struct {
	in      plan.Input
	agent   *agentDef
	rec     plan.Rec
	key     []byte // scratch
	value   []byte
	asked   []byte                    // scratch, for the key of a Get
	turns   map[*tableDef]*turnInside // of functions that run inside shards, by the table whose
	watches map[*tableDef]*following  // programs of those that follow a table's changes
	shard   bool                      // it is the turn of a function inside a shard
	group   *tables.Group             // that it may go on to other tables of
	change  any                       // of the table that is followed: a *changed
	runs    int64                     // of the program
	spread  uint32                    // for records without a key: the next partition, modulo their number
	begun   bool
	ahead   map[*tableDef]*lookahead // of Gets
}

// newScope makes the scope of a program.
func (a *agentDef) newScope() *scope { return &scope{agent: a} }

// begin starts a run of the program.
func (s *scope) begin(in plan.Input) {
	s.in, s.ahead = in, nil
	s.runs++
	if !s.begun { // partitions that start together should not all fill the same one
		s.begun, s.spread = true, uint32(in.Partition())
	}
}

func (s *scope) turn() *scope { return s }

// Deadline implements context.Context.
func (s *scope) Deadline() (time.Time, bool) { return s.in.Context().Deadline() }

// Done implements context.Context: it is closed when the handler should give up: its partition moves, the node stops.
func (s *scope) Done() <-chan struct{} { return s.in.Context().Done() }

// Err implements context.Context.
func (s *scope) Err() error { return s.in.Context().Err() }

// Value implements context.Context.
func (s *scope) Value(key any) any {
	if key == (turnKey{}) {
		return turnOf{scope: s}
	}
	return s.in.Context().Value(key)
}

// turnKey is where a context that was made of a handler's keeps whose it is: a turnOf.
type turnKey struct{}

// turnOf is whose turn a context is of.
type turnOf struct {
	scope  *scope
	beside bool // a call beside the turns: see MapAsync
}

// Partition returns the partition that the handler works for.
func (s *scope) Partition() int32 { return s.in.Partition() }

func (s *scope) effects() *plan.Effects {
	e := s.in.Effects()
	if e == nil {
		panic(errOutside)
	}
	return e
}

// drop counts that an operator leaves the record at hand out, since it lacks a key or a value (Kafka Streams: dropped-records). Inside a shard nobody counts.
func (s *scope) drop() error {
	s.effects().Dropped++
	return nil
}

// timestamp is the default of what is sent: that of the record at hand. A record that has none (it was written in a format
// before Kafka 0.10) passes none on: 0, the producer's clock.
func (s *scope) timestamp() int64 { return max(s.rec.Millis(), 0) }

// Sender is what may send: the context of an agent, timer or task.
type Sender interface {
	context.Context
	turn() *scope
}

// Reader is what may read tables: the context of an agent, timer or task.
type Reader interface {
	Sender
	reads()
}

// Writer is what may write tables: the context of an agent.
type Writer interface {
	Reader
	writes()
}

// Context is what an agent's handler works with: a context.Context that ends when the handler should give up, and the key
// to sends, reads and writes. It belongs to the turn at hand and to one goroutine: an effect that is asked for outside that
// turn, as from a goroutine that outlives it, panics there, and ends the process if nobody recovers.
type Context struct{ *scope }

func (*Context) reads()  {}
func (*Context) writes() {}

// Fail makes the record at hand fail when its handler returns, as returning err does.
func (c *Context) Fail(err error) { c.effects().Fail(err) }

// TaskContext is what a timer or task works with. It can send, and read committed values of tables.
type TaskContext struct {
	*scope
	// Due is when a timer was due; for a task, when it was started.
	Due time.Time
	// Missed is how many times before Due a timer was due and has not been called: no node was running, or a call took longer than the
	// interval, or failed.
	Missed int
}

func (*TaskContext) reads() {}

// Commit makes what the task has sent so far final: it is committed though the task goes on. It reports false when the task
// should end.
func (c *TaskContext) Commit() bool {
	if c.agent.role != plan.Task {
		c.effects().Fail(fmt.Errorf("timer %s: Commit is for tasks: what a timer sends is committed when it returns", c.agent.name))
		return true
	}
	rec, ok := c.in.Next()
	if ok {
		c.rec = rec
	}
	return ok
}

// DecodeError says that a key or value could not be decoded.
type DecodeError struct {
	Topic     string
	Partition int32
	Offset    int64
	Part      string // key or value
	Type      string // that was expected
	Err       error
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("decode the %s of %s/%d@%d as %s: %v", e.Part, e.Topic, e.Partition, e.Offset, e.Type, e.Err)
}

// Redacted is the error without what the codec says, which may quote the key or value: for logs.
func (e *DecodeError) Redacted() string {
	if !e.Permanent() { // it says nothing of the value
		return e.Error()
	}
	return fmt.Sprintf("decode the %s of %s/%d@%d as %s: the codec's own error, which may quote it, is logged with --log-values", e.Part, e.Topic, e.Partition, e.Offset, e.Type)
}

func (e *DecodeError) Unwrap() error { return e.Err }

// Permanent says whether trying again does not help: always, unless the codec says that what it needs is not to be had now (Unavailable),
// such as a schema registry.
func (e *DecodeError) Permanent() bool { return !isUnavailable(e.Err) }

// Step says at which step a record with this error failed: its dead letter tells it.
func (e *DecodeError) Step() string { return kafka.StepDecode }

// permanent marks an error as one that trying again does not mend.
type permanent struct{ error }

// Unwrap returns the error that is marked.
func (p permanent) Unwrap() error { return p.error }

// Permanent implements what the engine asks errors for.
func (permanent) Permanent() bool { return true }

// isUnavailable says whether an error, or one that it wraps, is an outage.
func isUnavailable(err error) bool {
	x, ok := errors.AsType[interface {
		error
		Unavailable() bool
	}](err)
	return ok && x.Unavailable()
}

// sendError is a permanent error of a send or a write.
type sendError struct{ permanent }

// Step implements what the engine asks errors for.
func (sendError) Step() string { return kafka.StepSend }

// outageError is an error of a send or a write for want of something that will be back: it is Unavailable, by what it wraps.
type outageError struct{ error }

// Unwrap returns the error itself.
func (o outageError) Unwrap() error { return o.error }

// Step implements what the engine asks errors for.
func (outageError) Step() string { return kafka.StepSend }

// lasting is an error of a send or a write that trying again does not mend, unless it is an outage.
func lasting(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if isUnavailable(err) {
		return outageError{err}
	}
	return sendError{permanent{err}}
}

var errNested = permanent{errors.New("All or Batches is called a second time: the function of a loop agent has one loop; return after it, and it is called again at the next record")}
