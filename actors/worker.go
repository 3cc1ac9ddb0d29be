package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

type (
	outputs = *kafka.Outputs
	query   = tables.Query
)

// tableOps are operations on the shard of one table.
type tableOps struct {
	Table int // index in the stage
	Ops   tables.Ops
}

// room is how much operations are likely to take: what the last ones did. A single large report is forgotten by and by.
type room struct{ n, size int }

func roomFor(last room, ops tables.Ops) room {
	return room{max(ops.Len(), last.n/2), max(ops.Size(), last.size/2)}
}

// worker runs one incarnation of an agent's program: it hands it records and gathers the effects of its turns. The
// effects of the turn at hand belong to the program's goroutine; those of turns that are over are behind mu, so that
// the agent's actor can send them on while a handler is busy.
type worker struct {
	agent       *plan.Agent
	index       int // in the stage
	incarnation int64
	partition   int32
	env         *plan.Env
	tableAt     []int         // index in the stage by table ID, -1 for others
	channelAt   []int         // the same for the channels that it sends to; nil if there are none
	post        func(any)     // to the partition, in order
	early       func(outputs) // sends at once
	now         func() time.Time
	await       func() (*Work, bool) // the next work; blocks, or says that there is none now
	awaitFor    func(time.Duration) (*Work, bool)
	wait        func(done <-chan struct{}) error // for a reply
	queued      func() []*Work                   // behind the work at hand
	beside      func(func())                     // on a goroutine of its own
	join        func(done <-chan struct{}) error // for what runs there
	ctx         context.Context
	cancel      context.CancelFunc

	calls sync.Map // goroutines of calls beside the program, by what is closed when they end; only with a deadline

	// Of the program's goroutine.
	work      *Work
	workBegan time.Time
	next      int     // the record of work after the turn at hand
	turn      int     // records in the turn at hand; 0: none is at hand
	prior     []*Work // works that the turn at hand began in and ran beyond
	begun     bool    // the running call of the program has been given a record
	returned  bool    // the running call of the program has ended
	cur       plan.Effects
	dropped   int64 // of the turns that have not been reported
	err       error // fails the turn at hand
	timed     bool  // the agent's records bring forward the time of timers
	soonest   int64 // when the first timer in event time is due that the turns of work have set
	latest    int64 // the time that the records of work have come to

	mu       sync.Mutex
	reported *Work // the work that done is about
	done     int   // its records that are through
	finished []int64
	out      outputs
	ops      []tables.Ops  // by index in the stage
	room     []room        // by index in the stage: for the next ops
	sent     []plan.Parcel // as ops, of channels
	dirty    bool          // something to report
	back     bool          // the rest of the work goes back
	final    int64         // the round of a final flush that waits for the turn at hand
	stopping bool
	busy     bool            // a turn is at hand
	waiting  int             // for agents of its own partition
	awaits   <-chan struct{} // the call beside it that the turn at hand waits for
	failed   bool
	turns    int64       // begun
	since    time.Time   // when the turn at hand began; only with a deadline
	at       AgentFailed // what fails if the turn at hand is given up; only with a deadline
	expired  bool        // the turn at hand has passed its deadline
}

func newWorker(ctx context.Context, agent *plan.Agent, index int, incarnation int64, stage *plan.Stage, partition int32, env *plan.Env, post func(any)) *worker {
	k := &worker{agent: agent, index: index, incarnation: incarnation, partition: partition, env: env, post: post}
	k.ctx, k.cancel = context.WithCancel(ctx)
	k.tableAt, k.ops, k.room = tableIndex(stage), make([]tables.Ops, len(stage.Tables)), make([]room, len(stage.Tables))
	k.cur = plan.Effects{Out: new(kafka.Outputs), Ops: make([]tables.Ops, len(k.tableAt))}
	k.cur.Due, k.timed = tables.NeverDue, slices.ContainsFunc(stage.Tables, agent.Moves)
	k.out = new(kafka.Outputs)
	if k.channelAt = channelIndex(stage, agent); k.channelAt != nil {
		k.cur.Sent, k.sent = make([]plan.Parcel, len(k.channelAt)), make([]plan.Parcel, len(stage.Channels))
	}
	return k
}

// channelIndex maps the IDs of channels that an agent sends to, to indexes in its stage.
func channelIndex(stage *plan.Stage, agent *plan.Agent) []int {
	n := 0
	for _, c := range agent.Into {
		n = max(n, int(c.ID)+1)
	}
	if n == 0 {
		return nil
	}
	at := make([]int, n)
	for i, c := range stage.Channels {
		if int(c.ID) < n {
			at[c.ID] = i
		}
	}
	return at
}

// tableIndex maps table IDs to indexes in a stage; -1 for tables of other stages.
func tableIndex(stage *plan.Stage) []int {
	n := 0
	for _, t := range stage.Tables {
		n = max(n, int(t.ID)+1)
	}
	at := make([]int, n)
	for i := range at {
		at[i] = -1
	}
	for i, t := range stage.Tables {
		at[t.ID] = i
	}
	return at
}

// Next implements plan.Input.
func (k *worker) Next() (plan.Rec, bool) {
	switch on, begun := k.turnOver(); {
	case begun:
		return k.work.Records[k.next-1], true
	case !on:
		return plan.Rec{}, false
	}
	if k.agent.Role == plan.Task && k.begun { // it goes on: what it has asked for so far is final
		k.next = 0
	}
	for k.work == nil || k.next >= len(k.work.Records) {
		w, ok := k.await()
		if !ok {
			return plan.Rec{}, false
		}
		k.work, k.next, k.workBegan = w, 0, k.now()
		k.soonest, k.latest = tables.NeverDue, w.Time
	}
	if !k.beginTurn() {
		return plan.Rec{}, false
	}
	return k.work.Records[k.next-1], true
}

// turnOver ends the turn at hand and begins that of the next record, if it is at hand too. on says whether the program may go on.
func (k *worker) turnOver() (on, begun bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.endTurn() {
		return false, false
	}
	if k.work == nil || k.next >= len(k.work.Records) || k.agent.Role == plan.Task {
		return true, false
	}
	begun = k.begin()
	return begun, begun
}

// NextMany implements plan.Input.
func (k *worker) NextMany(n int, within time.Duration) []plan.Rec {
	first, ok := k.Next()
	if !ok {
		return nil
	}
	recs := append(make([]plan.Rec, 0, n), first)
	for deadline := k.now().Add(within); len(recs) < n; {
		if k.next < len(k.work.Records) {
			recs = append(recs, k.work.Records[k.next])
			k.next++
			continue
		}
		w, ok := k.awaitFor(deadline.Sub(k.now()))
		if !ok {
			break
		}
		k.prior = append(k.prior, k.work) // finished when this turn is
		k.work, k.next = w, 0
	}
	k.turn = len(recs)
	k.mu.Lock()
	k.stamp()
	k.mu.Unlock()
	return recs
}

func (k *worker) beginTurn() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.begin()
}

// begin begins the turn of the next record. Called with mu held.
func (k *worker) begin() bool {
	if k.stopping || k.ctx.Err() != nil {
		return false
	}
	k.next++
	k.turn, k.begun, k.busy = 1, true, true
	k.stamp()
	return true
}

// stamp notes when the turn at hand began, and what it is about. Called with mu held.
func (k *worker) stamp() {
	if k.agent.Policy.Deadline > 0 {
		k.turns++
		k.since, k.at = k.now(), k.failure()
	}
}

// failure is what fails if the turn at hand does: without the error.
func (k *worker) failure() AgentFailed {
	f := AgentFailed{Agent: k.index, Incarnation: k.incarnation, Turn: k.turn, Done: k.done}
	switch {
	case len(k.prior) > 0: // the turn began in the first of them
		first, later := k.prior[0], k.next
		for _, w := range k.prior[1:] {
			later += len(w.Records)
		}
		f.Work, f.Done = first.ID, len(first.Records)-(k.turn-later)
	case k.work != nil:
		f.Work, f.Done = k.work.ID, k.next-k.turn
	}
	return f
}

// endTurn makes the effects of the turn at hand final. It says whether the program may go on. Called with mu held.
func (k *worker) endTurn() bool {
	if k.turn == 0 {
		return k.err == nil && k.ctx.Err() == nil
	}
	if k.err == nil {
		k.err = k.cur.Err
	}
	if k.err != nil {
		return false
	}
	if k.failed {
		return false
	}
	if k.expired {
		k.err = k.late()
		return false
	}
	if k.cur.Out.Len() > 0 {
		k.out.AppendAll(k.cur.Out)
		k.cur.Out.Reset()
	}
	if early := k.cur.Early; early != nil && early.Len() > 0 {
		k.early(early)
		k.cur.Early = nil // it is his who sends it
	}
	for id, ops := range k.cur.Ops {
		if ops == nil || ops.Len() == 0 {
			continue
		}
		i := k.tableAt[id]
		if k.ops[i] == nil {
			k.ops[i] = ops.Fresh(max(k.room[i].n, ops.Len()), max(k.room[i].size, ops.Size()))
		}
		k.ops[i].AppendAll(ops)
		ops.Reset()
	}
	for id, p := range k.cur.Sent {
		if p == nil || p.Len() == 0 {
			continue
		}
		i := k.channelAt[id]
		if k.sent[i] == nil {
			k.sent[i] = p.Fresh()
		}
		k.sent[i].AppendAll(p)
		p.Reset()
	}
	k.dropped, k.cur.Dropped = k.dropped+k.cur.Dropped, 0
	back := k.timed && k.handBack()
	for _, w := range k.prior {
		k.finished = append(k.finished, w.ID)
	}
	k.turn, k.busy, k.dirty, k.prior = 0, false, true, nil
	k.reported, k.done = k.work, k.next
	switch {
	case k.agent.Role == plan.Task && !k.returned: // Commit: what it has sent so far is final, the task goes on
		k.done = 0
		k.report(0, false)
	case back:
		k.reportBack()
	case k.next == len(k.work.Records):
		k.report(0, true)
	}
	if k.final != 0 {
		k.report(k.final, false)
		k.final = 0
	}
	return k.ctx.Err() == nil
}

// handBack says whether a timer has become due that the turns of the work at hand have set: it is called before the rest of its records, which
// go back to the partition.
func (k *worker) handBack() bool {
	for _, r := range k.work.Records[max(k.next-k.turn, 0):k.next] {
		k.latest = max(k.latest, r.Millis())
	}
	k.soonest, k.cur.Due = min(k.soonest, k.cur.Due), tables.NeverDue
	return k.soonest <= k.latest && k.next < len(k.work.Records)
}

// reportBack reports that all of the work at hand is done that this agent does. Called with mu held.
func (k *worker) reportBack() {
	short := *k.work
	short.Records = short.Records[:k.next]
	k.work, k.reported, k.back = &short, &short, true
	k.report(0, true)
}

// report sends the partition what is done since the last time. Called with mu held, so that reports keep their order.
func (k *worker) report(round int64, finished bool) {
	if !k.dirty && round == 0 && !finished {
		return
	}
	w := Worked{Agent: k.index, Incarnation: k.incarnation, Round: round, Finished: finished, Back: k.back, Done: k.done}
	if k.reported != nil {
		w.Work = k.reported.ID
	}
	if finished && !k.workBegan.IsZero() {
		w.Took = k.now().Sub(k.workBegan)
	}
	if k.out.Len() > 0 {
		w.Out, k.out = k.out, new(kafka.Outputs)
	}
	for i, ops := range k.ops {
		if ops != nil && ops.Len() > 0 {
			w.Ops, k.ops[i] = append(w.Ops, tableOps{i, ops}), nil
			k.room[i] = roomFor(k.room[i], ops)
		}
	}
	for i, p := range k.sent {
		if p != nil && p.Len() > 0 {
			w.Sent, k.sent[i] = append(w.Sent, sent{i, p}), nil
		}
	}
	w.Prior, k.finished = k.finished, nil
	w.Dropped, k.dropped = k.dropped, 0
	k.dirty, k.back = false, false
	k.post(w)
}

// flush reports what is done; with final set no further turn begins, and the report waits for the one at hand.
// Called by the agent's actor.
func (k *worker) flush(round int64, final bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopping = k.stopping || final
	if final && k.waiting > 0 { // nothing more is given out: the next owner begins the record anew
		k.cancel()
	}
	if final && k.busy && !k.failed {
		k.final = round
		return
	}
	k.report(round, false)
}

// Ahead implements plan.Async.
func (k *worker) Ahead(n int) []plan.Rec {
	recs := k.work.Records[k.next-k.turn:]
	if len(recs) >= n {
		return recs[:n]
	}
	recs = slices.Clone(recs)
	for _, w := range k.queued() {
		if len(recs) == n {
			break
		}
		recs = append(recs, w.Records[:min(n-len(recs), len(w.Records))]...)
	}
	return recs
}

// Beside implements plan.Async.
func (k *worker) Beside(f func()) <-chan struct{} {
	done := make(chan struct{})
	k.beside(func() {
		defer close(done)
		if k.agent.Policy.Deadline > 0 {
			k.calls.Store((<-chan struct{})(done), goroutineID())
			defer k.calls.Delete((<-chan struct{})(done))
		}
		f()
	})
	return done
}

// Await implements plan.Async.
func (k *worker) Await(done <-chan struct{}) error {
	k.mu.Lock()
	k.awaits = done
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.awaits = nil
		k.mu.Unlock()
	}()
	return k.join(done)
}

// awaited is the goroutine of the call that the turn at hand waits for; empty: it waits for none.
func (k *worker) awaited() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	id, _ := k.calls.Load(k.awaits)
	call, _ := id.(string)
	return call
}

// Effects implements plan.Input.
func (k *worker) Effects() *plan.Effects {
	if k.turn == 0 {
		return nil
	}
	return &k.cur
}

// Context implements plan.Input.
func (k *worker) Context() context.Context { return k.ctx }

// Now implements plan.Input.
func (k *worker) Now() time.Time { return k.now() }

// Partition implements plan.Input.
func (k *worker) Partition() int32 { return k.partition }

// Env implements plan.Input.
func (k *worker) Env() *plan.Env { return k.env }

// Ask implements plan.Input.
func (k *worker) Ask(table *plan.Table, q tables.Query) error {
	if int(table.ID) >= len(k.tableAt) || k.tableAt[table.ID] < 0 {
		return fmt.Errorf("agent %s: table %s belongs to another stage", k.agent.Name, table.Name)
	}
	reply, answered := k.question()
	k.mu.Lock()
	k.report(0, false)
	k.post(Ask{Agent: k.index, Incarnation: k.incarnation, Table: k.tableAt[table.ID], Query: q, Reply: reply})
	k.mu.Unlock()
	answer, err := answered()
	if err != nil {
		return fmt.Errorf("query table %s/%d: %w", table.Name, k.partition, err)
	}
	return answer
}

// question is what the partition is to call, from any goroutine, with the answer to something that it is asked, and what waits for that. What it is
// called with first counts.
func (k *worker) question() (reply func(error), answered func() (answer, err error)) {
	done, answer := make(chan struct{}), error(nil)
	var once sync.Once
	reply = func(err error) { once.Do(func() { answer = err; close(done) }) }
	return reply, func() (error, error) {
		if err := k.wait(done); err != nil {
			return nil, err
		}
		return answer, nil
	}
}

// WaitFor implements plan.Waiter.
func (k *worker) WaitFor(agent *plan.Agent, by string) (over func(), err error) {
	reply, answered := k.question()
	w := Waits{Agent: k.index, Incarnation: k.incarnation, For: agent.Name, By: by}
	ask := w
	ask.Reply = reply
	k.post(ask)
	answer, err := answered()
	if err != nil {
		return nil, err
	}
	if answer != nil {
		return nil, answer
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waiting++; k.stopping {
		k.cancel()
	}
	var ended sync.Once
	return func() {
		ended.Do(func() {
			k.mu.Lock()
			k.waiting--
			k.mu.Unlock()
			w.Over = true
			k.post(w)
		})
	}, nil
}

// drive calls the program until it has no more records, or fails. It reports a failure to the partition and returns it.
func (k *worker) drive(program plan.Program) error {
	k.begun, k.returned = false, false
	stack, err := protect(func() error { return program.Run(k) })
	k.returned = true
	switch {
	case err == nil && k.turn > 0:
		err = k.endLast() // returning nil: the record is done
	case err == nil:
		err = k.err
	}
	if late := k.lateTurn(); late != nil {
		if err == nil || errors.Is(err, context.Canceled) {
			err = late
		} else if !errors.Is(err, errLate) {
			err = fmt.Errorf("%w: %w", late, err)
		}
		k.fail(err, stack)
		return err
	}
	if k.ctx.Err() != nil { // nobody wants the result
		k.answerFinal()
		return nil //nolint:nilerr // what it says of the turn does not matter any more
	}
	if err == nil && !k.begun && k.agent.Loop && !k.isStopping() {
		err = errors.New("the agent's function returned without having taken a record: it would be called in a hot loop; range over in.All()")
	}
	if err != nil {
		k.fail(err, stack)
	}
	return err
}

// endLast ends the turn at hand when the program has returned, and says why it fails, if it does.
func (k *worker) endLast() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.endTurn()
	return k.err
}

// answerFinal answers a final flush that has waited for the turn at hand.
func (k *worker) answerFinal() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.busy = false
	if k.final != 0 {
		k.report(k.final, false)
		k.final = 0
	}
}

func (k *worker) isStopping() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stopping
}

// fail drops the effects of the turn at hand and tells the partition.
func (k *worker) fail(err error, stack string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed {
		return
	}
	if plant.Is("effects of a failed record are kept") {
		k.out.AppendAll(k.cur.Out)
		k.dirty = true
	}
	k.report(0, false)
	f := k.failure()
	f.Err, f.Stack = err, stack
	k.failed, k.busy = true, false
	k.post(f)
	if k.final != 0 {
		k.report(k.final, false)
		k.final = 0
	}
}

// errGoexit is what a handler that ended its goroutine fails with.
var errGoexit = errors.New("the handler called runtime.Goexit (t.FailNow does)")

// protect calls f and turns a panic into an error, with its stack. A Goexit cannot be caught: see runner.
func protect(f func() error) (stack string, err error) {
	defer func() {
		if r := recover(); r != nil {
			stack = string(debug.Stack())
			if p, ok := r.(*plan.Panic); ok { // it was on another goroutine
				r, stack = p.Value, p.Stack
			}
			if e, ok := r.(error); ok {
				err = fmt.Errorf("panic: %w", e)
				return
			}
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return "", f()
}

// protectAside is protect on a goroutine of its own, which a Goexit in f may end.
func protectAside(f func() error) (stack string, err error) {
	err = errGoexit
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer noteGoexit(&stack, &err)
		stack, err = protect(f)
	}()
	<-done
	return stack, err
}

// noteGoexit is deferred beside protect: it notes the stack of what ends the goroutine, while err still is errGoexit.
func noteGoexit(stack *string, err *error) {
	if *err == errGoexit { //nolint:errorlint // no other is meant
		*stack = string(debug.Stack())
	}
}
