package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// rawAgent is the actor of an agent that is a protoactor actor of the user's own. It sends it batches and gathers what it says
// is done, in whatever order. When the user's actor fails, so does the record it has begun last; both actors are made anew.
//
// The user's actor lives beside the tree: one that blocks, or panics while it stops, would keep its parent from ever ending.
type rawAgent struct {
	agentActor
	child *actor.PID
	raw   *rawRun
}

// Receive implements actor.Actor.
func (a *rawAgent) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case Begin:
		a.begin(c, m.Incarnation)
	case Work:
		if a.raw != nil && a.raw.worker.incarnation == m.Incarnation {
			c.Send(a.child, a.agent.Raw.Batch(a.raw.add(&m)))
		}
	case Flush:
		if a.raw != nil && a.raw.worker.incarnation == m.Incarnation {
			a.raw.flush(m)
		}
	case crashed:
		if a.raw != nil && a.raw.worker.incarnation == m.incarnation {
			panic(failure{a.agent.Name, m.err})
		}
	case overdueCheck:
		a.watch(c, m)
	case *actor.Stopping, *actor.Restarting:
		a.end(c)
	}
}

func (a *rawAgent) begin(c actor.Context, incarnation int64) {
	a.end(c)
	g, self, parent := a.ground, c.Self(), c.Parent()
	k := newWorker(context.Background(), a.agent, a.index, incarnation, a.stage, a.partition, a.env, func(m any) { g.Send(parent, m) })
	r := &rawRun{worker: k, crash: func(err error) { g.Send(self, crashed{incarnation, err}) }}
	k.now, k.wait = g.Now, (&runner{worker: k, ground: g}).waitReply
	props, ok := a.agent.Raw.Props.(*actor.Props)
	if !ok {
		panic(fmt.Sprintf("agent %s: its props are %T", a.agent.Name, a.agent.Raw.Props)) // refused when the topology was checked
	}
	if d := a.agent.Policy.Deadline; d > 0 {
		a.lookIn(self, incarnation, d)
	}
	a.child = g.Apart(props, r.watched, a.guardian)
	a.raw = r
	a.guardian.own(a.child, r)
}

func (a *rawAgent) end(c actor.Context) {
	if a.raw == nil {
		return
	}
	a.raw.worker.cancel()
	a.raw = nil
	a.guardian.disown(a.child)
	c.Stop(a.child)
}

// watch fails a record that has passed its deadline: what its actor still does with it is refused.
func (a *rawAgent) watch(c actor.Context, m overdueCheck) {
	if a.raw == nil || a.raw.worker.incarnation != m.incarnation {
		return
	}
	p := a.agent.Policy
	left, hung := a.raw.overdue(p.Deadline)
	if left > 0 {
		a.lookIn(c.Self(), m.incarnation, left)
		return
	}
	if hung == nil {
		return
	}
	g, hangs, of := a.ground, a.hangs, fmt.Sprintf("agent %s, partition %d", a.agent.Name, a.partition)
	g.After(p.Grace, func() {
		select {
		case <-hung.ended:
		default:
			hangs.watch(hung.id, hung.ended, of, stackOf(hung.id))
		}
	})
}

// guardian takes the failures of the user's actors of a node.
type guardian struct {
	mu   sync.Mutex
	runs map[string]*rawRun // by the id of the user's actor
}

func (g *guardian) own(child *actor.PID, r *rawRun) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runs[child.Id] = r
}

func (g *guardian) disown(child *actor.PID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.runs, child.Id)
}

// HandleFailure implements actor.SupervisorStrategy: the actor is stopped, and its failure is that of the record at hand. It must not
// panic, and not restart: the library would end the process, or give the actor its old messages.
func (g *guardian) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	supervisor.StopChildren(child)
	g.mu.Lock()
	r := g.runs[child.Id]
	g.mu.Unlock()
	if r == nil {
		return // of an older incarnation
	}
	err, ok := reason.(error)
	if !ok {
		err = fmt.Errorf("%v", reason)
	}
	r.failLast(fmt.Errorf("panic: %w", err))
}

// rawRun gathers what one incarnation of a raw agent does. Its methods may be called from any goroutine.
type rawRun struct {
	worker *worker // only for its context, its reports and queries
	crash  func(error)
	mu     sync.Mutex
	works  []*rawWork
	last   *rawTurn // begun last
	failed bool
	call   *rawCall // the actor is in; only with a deadline
	stack  string   // of its panic; empty if a strategy of its gave up on a child
}

// rawCall is one message that the user's actor handles.
type rawCall struct {
	id    string
	ended chan struct{}
}

// stack is where the call is; empty if it has ended.
func (x *rawCall) stack() string {
	if x == nil {
		return ""
	}
	select {
	case <-x.ended:
		return ""
	default:
		return stackOf(x.id)
	}
}

// watched is a middleware. A message that ends its goroutine would end the actor's mailbox, and nobody would hear of it. With a deadline
// it notes which goroutine handles a message.
func (r *rawRun) watched(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(c actor.ReceiverContext, m *actor.MessageEnvelope) {
		if r.worker.agent.Policy.Deadline > 0 {
			x := &rawCall{goroutineID(), make(chan struct{})}
			r.mu.Lock()
			r.call = x
			r.mu.Unlock()
			defer close(x.ended)
		}
		returned := false
		defer func() {
			if returned {
				return
			}
			reason := recover()
			r.endedAt(string(debug.Stack()))
			if reason != nil {
				panic(reason) // the guardian hears of it
			}
			r.failLast(errGoexit)
		}()
		next(c, m)
		returned = true
	}
}

// endedAt notes where the actor has panicked, or ended its goroutine.
func (r *rawRun) endedAt(stack string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stack = stack
}

// overdue fails the oldest record that was begun longer ago than the deadline, and returns the call that the actor is in; or says
// when to look again. The failure has the stack of that call: where the record hangs, unless that is elsewhere than in its actor.
func (r *rawRun) overdue(deadline time.Duration) (left time.Duration, in *rawCall) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left = deadline
	for _, w := range r.works {
		for i, t := range w.turns {
			if t == nil || w.done[i] {
				continue
			}
			if age := r.worker.now().Sub(t.since); age >= deadline {
				stack := r.call.stack() // before its context ends, and it with it
				r.worker.cancel()
				r.failAt(w, i, r.worker.late(), stack)
				return 0, r.call
			} else {
				left = min(left, deadline-age)
			}
		}
	}
	return left, nil
}

// rawWork is one batch of a raw agent. It implements plan.RawInput.
type rawWork struct {
	run   *rawRun
	work  *Work
	turns []*rawTurn
	done  []bool
	count int
	from  int // the first record that is not done
	began time.Time
}

// rawTurn is one record of it. It implements plan.Input.
type rawTurn struct {
	of      *rawWork
	i       int
	since   time.Time
	effects plan.Effects
}

func (r *rawRun) add(w *Work) *rawWork {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := &rawWork{run: r, work: w, began: r.worker.now(), turns: make([]*rawTurn, len(w.Records)), done: make([]bool, len(w.Records))}
	r.works = append(r.works, x)
	return x
}

// flush answers at once: records that are begun are the next owner's, if the stop is final.
func (r *rawRun) flush(m Flush) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.worker.post(Worked{Agent: r.worker.index, Incarnation: r.worker.incarnation, Round: m.Round})
}

// Records implements plan.RawInput.
func (w *rawWork) Records() []plan.Rec { return w.work.Records }

// Begin implements plan.RawInput.
func (w *rawWork) Begin(i int) (plan.Input, error) {
	w.run.mu.Lock()
	defer w.run.mu.Unlock()
	if i < 0 || i >= len(w.done) {
		return nil, fmt.Errorf("agent %s: Begin(%d) of a batch of %d records", w.run.worker.agent.Name, i, len(w.done))
	}
	if w.done[i] {
		return nil, fmt.Errorf("agent %s: Begin(%d) after Done(%d)", w.run.worker.agent.Name, i, i)
	}
	t := &rawTurn{of: w, i: i, since: w.run.worker.now(), effects: plan.Effects{
		Out: new(kafka.Outputs), Ops: make([]tables.Ops, len(w.run.worker.cur.Ops)), Sent: make([]plan.Parcel, len(w.run.worker.cur.Sent)),
	}}
	w.turns[i], w.run.last = t, t
	return t, nil
}

// Done implements plan.RawInput: the effects of record i are final, and sent on at once.
func (w *rawWork) Done(i int) error {
	w.run.mu.Lock()
	defer w.run.mu.Unlock()
	switch {
	case i < 0 || i >= len(w.done):
		return fmt.Errorf("agent %s: Done(%d) of a batch of %d records", w.run.worker.agent.Name, i, len(w.done))
	case w.done[i]:
		return fmt.Errorf("agent %s: Done(%d) twice", w.run.worker.agent.Name, i)
	case w.run.failed || w.run.worker.ctx.Err() != nil:
		return errUndone
	}
	t := w.turns[i]
	if t != nil && t.effects.Err != nil {
		w.run.fail(w, i, t.effects.Err)
		return t.effects.Err
	}
	w.done[i] = true
	w.count++
	for w.from < len(w.done) && w.done[w.from] {
		w.from++
	}
	m := Worked{Agent: w.run.worker.index, Incarnation: w.run.worker.incarnation, Work: w.work.ID, Done: w.from, Finished: w.count == len(w.done)}
	if i >= w.from {
		m.Set = []int{i}
	}
	if t != nil {
		if t.effects.Out.Len() > 0 {
			m.Out = t.effects.Out
		}
		for id, ops := range t.effects.Ops {
			if ops != nil && ops.Len() > 0 {
				m.Ops = append(m.Ops, tableOps{w.run.worker.tableAt[id], ops})
			}
		}
	}
	if t != nil {
		for id, p := range t.effects.Sent {
			if p != nil && p.Len() > 0 {
				m.Sent = append(m.Sent, sent{w.run.worker.channelAt[id], p})
			}
		}
	}
	if m.Finished {
		m.Took = w.run.worker.now().Sub(w.began)
	}
	w.run.worker.post(m)
	if m.Finished {
		w.run.works = slices.DeleteFunc(w.run.works, func(x *rawWork) bool { return x == w })
	}
	return nil
}

// Fail implements plan.RawInput.
func (w *rawWork) Fail(i int, err error) error {
	w.run.mu.Lock()
	defer w.run.mu.Unlock()
	switch {
	case i < 0 || i >= len(w.done) || w.done[i]:
		return fmt.Errorf("agent %s: Fail(%d) of a record that is done or does not exist", w.run.worker.agent.Name, i)
	case err == nil:
		return errors.New("Fail needs an error")
	}
	w.run.fail(w, i, err)
	return nil
}

func (r *rawRun) fail(w *rawWork, i int, err error) { r.failAt(w, i, err, "") }

func (r *rawRun) failAt(w *rawWork, i int, err error, stack string) {
	if r.failed {
		return
	}
	r.failed = true
	r.worker.post(AgentFailed{Agent: r.worker.index, Incarnation: r.worker.incarnation, Work: w.work.ID, Done: i, Turn: 1, Err: err, Stack: stack})
	r.crash(err)
}

// failLast fails the record that was begun last and is not done, or else the first that is not.
func (r *rawRun) failLast(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.last; t != nil && !t.of.done[t.i] {
		r.failAt(t.of, t.i, err, r.stack)
		return
	}
	for _, w := range r.works {
		if w.from < len(w.done) {
			r.failAt(w, w.from, err, r.stack)
			return
		}
	}
	r.failAt(&rawWork{work: &Work{ID: -1}}, 0, err, r.stack)
}

// Next implements plan.Input: a raw agent has no loop.
func (t *rawTurn) Next() (plan.Rec, bool) { return plan.Rec{}, false }

// NextMany implements plan.Input.
func (t *rawTurn) NextMany(int, time.Duration) []plan.Rec { return nil }

// Effects implements plan.Input.
func (t *rawTurn) Effects() *plan.Effects { return &t.effects }

// Context implements plan.Input.
func (t *rawTurn) Context() context.Context { return t.of.run.worker.ctx }

// Ask implements plan.Input.
func (t *rawTurn) Ask(table *plan.Table, q tables.Query) error { return t.of.run.worker.Ask(table, q) }

// Now implements plan.Input.
func (t *rawTurn) Now() time.Time { return t.of.run.worker.now() }

// Partition implements plan.Input.
func (t *rawTurn) Partition() int32 { return t.of.run.worker.partition }

// Env implements plan.Input.
func (t *rawTurn) Env() *plan.Env { return t.of.run.worker.env }
