package actors

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/topology/plan"
)

// agentActor is the actor of one agent of a partition. It owns the goroutine of its program: one incarnation at a time,
// fed with works. When the program fails it panics, so that its supervisor, the partition's, makes a new one.
type agentActor struct {
	agent     *plan.Agent
	index     int
	stage     *plan.Stage
	partition int32
	env       *plan.Env
	ground    Ground
	strays    *sync.WaitGroup // goroutines of programs
	hangs     *hangs
	guardian  *guardian
	early     func(outputs) // sends at once
	runners   []*runner     // one for each lane; none until Begin
}

// Receive implements actor.Actor.
func (a *agentActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case agentMessage:
		a.step(c, m)
	case overdueCheck:
		a.watch(c, m)
	case *actor.Stopping, *actor.Restarting:
		a.end()
	}
}

func (a *agentActor) step(c actor.Context, m agentMessage) {
	switch m := m.(type) {
	case Begin:
		a.end()
		for lane := range max(a.agent.Concurrency, 1) {
			a.runners = append(a.runners, a.begin(c, m.Incarnation, lane))
		}
	case Work:
		if a.runs(m.Incarnation) {
			a.runners[m.Lane].push(&m)
		}
	case Flush:
		for _, r := range a.runners {
			if a.runs(m.Incarnation) {
				r.flush(m)
			}
		}
	case Expire:
		for _, r := range a.runners {
			if a.runs(m.Incarnation) {
				r.worker.cancel()
			}
		}
	case crashed:
		if a.runs(m.incarnation) {
			panic(failure{a.agent.Name, m.err})
		}
	}
}

// runs says whether an incarnation is the one that runs.
func (a *agentActor) runs(incarnation int64) bool {
	return len(a.runners) > 0 && a.runners[0].worker.incarnation == incarnation
}

func (a *agentActor) begin(c actor.Context, incarnation int64, lane int) *runner {
	g, self, parent := a.ground, c.Self(), c.Parent()
	k := newWorker(context.Background(), a.agent, a.index, incarnation, a.stage, a.partition, a.env,
		func(m any) { g.Send(parent, m) })
	r := &runner{worker: k, ground: g}
	k.early = a.early
	k.now, k.await, k.awaitFor, k.wait, k.queued = g.Now, r.await, r.awaitFor, r.waitReply, r.queued
	k.join = func(done <-chan struct{}) error { return g.Await(context.Background(), done) }
	k.beside = func(f func()) {
		a.strays.Add(1)
		g.Go(func() {
			defer a.strays.Done()
			f()
		})
	}
	program := a.agent.Program()
	if d := a.agent.Policy.Deadline; d > 0 {
		a.lookAt(self, overdueCheck{incarnation, 0, lane}, d)
	}
	a.strays.Add(1)
	g.Go(func() {
		defer a.strays.Done()
		if a.agent.Policy.Deadline > 0 {
			r.enter(goroutineID())
			defer r.leave()
		}
		r.run(program, func(err error) { g.Send(self, crashed{incarnation, err}) })
	})
	return r
}

// end abandons the running incarnation: its context ends, and what it still does is refused.
func (a *agentActor) end() {
	for _, r := range a.runners {
		r.worker.cancel()
	}
	a.runners = nil
}

// runner is the goroutine of one incarnation of a program, and the queue of its works.
type runner struct {
	worker *worker
	ground Ground
	mu     sync.Mutex
	works  []*Work
	over   bool          // no further record is taken
	hurry  bool          // a batch that is being gathered waits for nothing more
	id     string        // of the goroutine; only with a deadline
	ended  chan struct{} // closed when the goroutine ends; only with a deadline
	change chan struct{} // closed when there is work or it is over; nil: nobody waits for that
}

func (r *runner) push(w *Work) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.works, r.hurry = append(r.works, w), w.Hurry
	r.changed()
}

// changed wakes who waits. Called with mu held.
func (r *runner) changed() {
	if r.change != nil {
		close(r.change)
		r.change = nil
	}
}

// pop returns the next work; if there is none yet, what is closed when that has changed. Both are nil if none will come.
func (r *runner) pop() (w *Work, change <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over || r.worker.ctx.Err() != nil:
		return nil, nil
	case len(r.works) > 0:
		w = r.works[0]
		r.works = r.works[1:]
		return w, nil
	case r.change == nil:
		r.change = make(chan struct{})
	}
	return nil, r.change
}

// queued are the works that have come and were not begun.
func (r *runner) queued() []*Work {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.works)
}

func (r *runner) flush(m Flush) {
	if m.Hurry {
		r.mu.Lock()
		r.hurry = true
		r.changed()
		r.mu.Unlock()
	}
	if m.Final {
		r.mu.Lock()
		r.over = true
		r.changed()
		r.mu.Unlock()
		if r.worker.agent.Role == plan.Task {
			r.worker.cancel() // a task may wait for anything: its context tells it to end
		}
	}
	r.worker.flush(m.Round, m.Final)
}

// await blocks until there is work, or none will come any more.
func (r *runner) await() (*Work, bool) {
	for {
		w, change := r.pop()
		if w != nil || change == nil {
			return w, w != nil
		}
		if r.ground.Await(r.worker.ctx, change) != nil {
			return nil, false
		}
	}
}

// awaitFor is await with a limit.
func (r *runner) awaitFor(d time.Duration) (*Work, bool) {
	w, change := r.pop()
	r.mu.Lock()
	if r.hurry {
		d = 0
	}
	r.mu.Unlock()
	if w == nil && change != nil && d > 0 && r.ground.AwaitFor(r.worker.ctx, change, d) == nil {
		w, _ = r.pop()
	}
	return w, w != nil
}

func (r *runner) waitReply(done <-chan struct{}) error {
	return r.ground.AwaitFor(r.worker.ctx, done, askTimeout)
}

// run calls the program again and again until it fails or is not wanted any more.
func (r *runner) run(program plan.Program, crash func(error)) {
	over := false
	defer func() {
		if !over { // runtime.Goexit: the goroutine is ending
			r.worker.fail(errGoexit, string(debug.Stack())) // deferred calls run on top of what has called Goexit
			crash(errGoexit)
		}
	}()
	for {
		w, ok := r.await()
		if !ok {
			over = true
			return
		}
		r.mu.Lock()
		r.works = append([]*Work{w}, r.works...)
		r.mu.Unlock()
		if err := r.worker.drive(program); err != nil {
			over = true
			crash(err)
			return
		}
	}
}
