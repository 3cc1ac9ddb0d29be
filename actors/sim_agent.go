package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/troupe-stream/troupe/topology/plan"
)

// simAgent is an agent without an actor.
type simAgent struct {
	part    *simPartition
	agent   *plan.Agent
	index   int
	worker  *worker
	program plan.Program
	works   []*Work
	loop    *handover   // of a loop agent
	inside  *worker     // runs, and perhaps waits for an answer
	lanes   []*simAgent // of an agent with concurrency: it is made of these
}

// newSimAgent makes an agent, and its lanes.
func newSimAgent(p *simPartition, agent *plan.Agent, index int) *simAgent {
	a := &simAgent{part: p, agent: agent, index: index}
	if agent.Concurrency > 1 {
		for range agent.Concurrency {
			a.lanes = append(a.lanes, &simAgent{part: p, agent: agent, index: index})
		}
	}
	return a
}

func (a *simAgent) step(m agentMessage) {
	if a.lanes != nil {
		if w, ok := m.(Work); ok {
			a.lanes[w.Lane].step(m)
			return
		}
		for _, x := range a.lanes {
			x.step(m)
		}
		return
	}
	switch m := m.(type) {
	case Begin:
		a.end()
		p := a.part
		a.works, a.program = nil, nil
		if a.agent.Raw != nil {
			p.sim.err = fmt.Errorf("agent %s is made of actor props: it needs a real node, see actors/node_test.go", a.agent.Name)
			return
		}
		a.program = a.agent.Program()
		k := newWorker(context.Background(), a.agent, a.index, m.Incarnation, p.state.stage, p.state.partition, p.sim.env, func(m any) {
			if m, ok := m.(partitionMessage); ok {
				p.sim.post(p.lane("agent", "partition", a.index), func() { p.step(m) })
			}
		})
		k.now, k.early = p.sim.Now, p.sim.early
		k.await = func() (*Work, bool) { return a.await(k) }
		k.awaitFor = func(time.Duration) (*Work, bool) { w := a.pop(k); return w, w != nil }
		k.queued = func() []*Work {
			if a.worker != k {
				return nil
			}
			return a.works
		}
		k.beside = func(f func()) { // at once: only one goroutine runs
			done := make(chan struct{})
			go func() {
				defer close(done)
				f()
			}()
			<-done
		}
		k.join = func(<-chan struct{}) error { return nil }
		k.wait = func(done <-chan struct{}) error { return a.wait(k, done) }
		a.worker = k
	case Work:
		if a.worker != nil && a.worker.incarnation == m.Incarnation {
			a.works = append(a.works, &m)
			a.run()
		}
	case Flush:
		if a.worker != nil && a.worker.incarnation == m.Incarnation {
			a.worker.flush(m.Round, m.Final)
		}
	case Expire, crashed:
	}
}

// pop returns the next work of an incarnation.
func (a *simAgent) pop(k *worker) *Work {
	if a.worker != k || len(a.works) == 0 {
		return nil
	}
	w := a.works[0]
	a.works = a.works[1:]
	return w
}

// run lets the program run until it has nothing more to do.
func (a *simAgent) run() {
	k := a.worker
	if a.inside == k || k.failed {
		return // it takes the work when it is through with the one at hand
	}
	a.inside = k
	a.part.sim.inside++
	defer func() {
		a.part.sim.inside--
		if a.inside == k {
			a.inside = nil
		}
	}()
	if !a.agent.Loop {
		_ = k.drive(a.program) // it has reported its failure
		return
	}
	if a.loop == nil {
		a.loop = newHandover()
		go a.loop.run(a, k, a.program)
	}
	a.loop.enter()
}

func (a *simAgent) await(k *worker) (*Work, bool) {
	h := a.loop
	for {
		if w := a.pop(k); w != nil {
			return w, true
		}
		if !a.agent.Loop || k.ctx.Err() != nil || !h.idle(k.ctx) {
			return nil, false
		}
	}
}

// wait lets the simulation go on until a reply is there.
func (a *simAgent) wait(k *worker, done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return nil
		default:
		}
		if err := k.ctx.Err(); err != nil {
			return err
		}
		if !a.part.sim.pump() {
			return errors.New("nobody answers")
		}
	}
}

// end ends an incarnation. One that waits for an answer just now ends when it gets control back.
func (a *simAgent) end() {
	for _, x := range a.lanes {
		x.end()
	}
	if a.worker == nil {
		return
	}
	a.worker.cancel()
	if a.loop != nil && a.inside != a.worker {
		a.loop.enter()
	}
	a.loop, a.worker = nil, nil
}

// handover passes control between the simulation and a loop's goroutine: only one of them runs.
type handover struct {
	resume chan struct{}
	back   chan struct{}
	over   bool
}

// run is the goroutine of one incarnation of a loop.
func (h *handover) run(a *simAgent, k *worker, program plan.Program) {
	defer h.finish()
	ended := false
	defer func() {
		if !ended { // runtime.Goexit
			k.fail(errGoexit, string(debug.Stack()))
		}
	}()
	<-h.resume
	for k.ctx.Err() == nil {
		if k.drive(program) != nil || k.ctx.Err() != nil {
			ended = true
			return
		}
		if len(a.works) == 0 && !h.idle(k.ctx) {
			ended = true
			return
		}
	}
	ended = true
}

func newHandover() *handover { return &handover{make(chan struct{}), make(chan struct{}), false} }

// enter lets the goroutine run until it is idle or over.
func (h *handover) enter() {
	if h.over {
		return
	}
	h.resume <- struct{}{}
	<-h.back
}

// idle gives control back until there is something to do; false when the agent is to end.
func (h *handover) idle(ctx context.Context) bool {
	h.back <- struct{}{}
	<-h.resume
	return ctx.Err() == nil
}

func (h *handover) finish() {
	h.over = true
	h.back <- struct{}{}
}
