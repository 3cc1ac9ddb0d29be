package actors

import (
	"context"
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
	strays    *sync.WaitGroup // goroutines of programs
	runner    *runner         // nil until Begin
}

// Receive implements actor.Actor.
func (a *agentActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case agentMessage:
		a.step(c, m)
	case *actor.Stopping, *actor.Restarting:
		a.end()
	}
}

func (a *agentActor) step(c actor.Context, m agentMessage) {
	switch m := m.(type) {
	case Begin:
		a.end()
		a.runner = a.begin(c, m.Incarnation)
	case Work:
		if a.runner != nil && a.runner.worker.incarnation == m.Incarnation {
			a.runner.push(&m)
		}
	case Flush:
		if a.runner != nil && a.runner.worker.incarnation == m.Incarnation {
			a.runner.flush(m)
		}
	case crashed:
		if a.runner != nil && a.runner.worker.incarnation == m.incarnation {
			panic(failure{a.agent.Name, m.err})
		}
	}
}

func (a *agentActor) begin(c actor.Context, incarnation int64) *runner {
	system, self, parent := c.ActorSystem(), c.Self(), c.Parent()
	k := newWorker(context.Background(), a.agent, a.index, incarnation, a.stage, a.partition, a.env,
		func(m any) { system.Root.Send(parent, m) })
	r := &runner{worker: k, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	k.await, k.awaitFor, k.wait = r.await, r.awaitFor, r.waitReply
	program := a.agent.Program()
	a.strays.Go(func() {
		r.run(program, func(err error) { system.Root.Send(self, crashed{incarnation, err}) })
	})
	return r
}

// end abandons the running incarnation: its context ends, and what it still does is refused.
func (a *agentActor) end() {
	if a.runner != nil {
		a.runner.worker.cancel()
		a.runner = nil
	}
}

// runner is the goroutine of one incarnation of a program, and the queue of its works.
type runner struct {
	worker *worker
	mu     sync.Mutex
	works  []*Work
	wake   chan struct{}
	stop   chan struct{} // closed: no further record is taken
	once   sync.Once
}

func (r *runner) push(w *Work) {
	r.mu.Lock()
	r.works = append(r.works, w)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *runner) pop() *Work {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.works) == 0 {
		return nil
	}
	w := r.works[0]
	r.works = r.works[1:]
	return w
}

func (r *runner) flush(m Flush) {
	if m.Final {
		r.once.Do(func() { close(r.stop) })
		if r.worker.agent.Role == plan.Task {
			r.worker.cancel() // a task may wait for anything: its context tells it to end
		}
	}
	r.worker.flush(m.Round, m.Final)
}

// await blocks until there is work, or none will come any more.
func (r *runner) await() (*Work, bool) { return r.awaitUntil(nil) }

// awaitFor is await with a limit.
func (r *runner) awaitFor(d time.Duration) (*Work, bool) {
	if d <= 0 {
		w := r.pop()
		return w, w != nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	return r.awaitUntil(t.C)
}

func (r *runner) awaitUntil(end <-chan time.Time) (*Work, bool) {
	for {
		select {
		case <-r.stop:
			return nil, false
		case <-r.worker.ctx.Done():
			return nil, false
		default:
		}
		if w := r.pop(); w != nil {
			return w, true
		}
		select {
		case <-r.wake:
		case <-end:
			return nil, false
		case <-r.stop:
		case <-r.worker.ctx.Done():
		}
	}
}

func (r *runner) waitReply(done <-chan struct{}) error {
	t := time.NewTimer(askTimeout)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-r.worker.ctx.Done():
		return r.worker.ctx.Err()
	case <-t.C:
		return context.DeadlineExceeded
	}
}

// run calls the program again and again until it fails or is not wanted any more.
func (r *runner) run(program plan.Program, crash func(error)) {
	over := false
	defer func() {
		if !over { // runtime.Goexit: the goroutine is ending
			r.worker.fail(errGoexit, "")
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
