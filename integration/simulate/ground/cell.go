package ground

import (
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"

	"github.com/asynkron/protoactor-go/actor"
)

// cell is one actor with its mailbox.
type cell struct {
	g        *Ground
	pid      *actor.PID
	parent   *cell
	children []*cell
	producer func() actor.Actor
	strategy actor.SupervisorStrategy // for the children
	actor    actor.Actor

	inbox    []envelope
	busy     bool // a message is being handled, and perhaps waits
	failed   bool // waits for its supervisor
	stopping bool // to be stopped as soon as it is not busy
	closing  bool // Stopping was handled; waits for its children
	stopped  bool
}

// system is the lane of a cell's system messages, which overtake others.
type system struct{ c *cell }

type envelope struct {
	message any
	sender  *actor.PID
}

// enter takes a message, and handles what is there unless the actor is busy.
func (c *cell) enter(e envelope) {
	c.inbox = append(c.inbox, e)
	c.wake()
}

func (c *cell) wake() {
	if c.busy || c.failed || c.stopped || len(c.inbox) == 0 && !c.stopping {
		return
	}
	c.busy = true
	c.g.s.Do(c.g.p, c.pid.Id, c.handle)
}

// handle empties the mailbox.
func (c *cell) handle() {
	defer func() { c.busy = false }()
	for !c.failed && !c.stopped {
		if c.stopping && !c.closing {
			c.beginStop()
			continue
		}
		if len(c.inbox) == 0 {
			break
		}
		e := c.inbox[0]
		c.inbox = c.inbox[1:]
		c.receive(e)
	}
}

// receive lets the actor handle a message. A panic goes to its supervisor.
func (c *cell) receive(e envelope) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if c.g.p.Dead() {
			panic(r)
		}
		c.fail(r, e.message)
	}()
	if c.g.s.Tracing() {
		c.g.s.Logf("%s %s <- %T%+v", c.g.p.Name, c.pid.Id, e.message, short(e.message))
	}
	if _, ok := e.message.(reborn); ok {
		c.actor = c.producer()
		return
	}
	if x, ok := c.actor.(interface{ Phase() string }); ok && c.g.Met != nil {
		c.g.Met[Meeting{reflect.TypeOf(e.message), x.Phase()}]++
	}
	c.actor.Receive(&actorContext{cell: c, envelope: e})
}

func short(m any) string {
	s := fmt.Sprintf("%+v", m)
	const most = 160
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}

func (c *cell) fail(reason, message any) {
	if c.parent == nil {
		c.g.s.Fail(fmt.Errorf("the root of %s panicked: %v\n%s", c.g.p.Name, reason, debug.Stack()))
		return
	}
	c.failed = true
	p := c.parent
	c.g.s.Post(c.g.p, system{p}, func() {
		switch {
		case p.stopped || c.stopped:
		case p.strategy == nil:
			c.restart()
		default:
			p.strategy.HandleFailure(nil, supervisor{p}, c.pid, nil, reason, message)
		}
	})
}

func (c *cell) restart() {
	c.g.s.Post(c.g.p, system{c}, func() {
		if c.stopped || !c.failed {
			return
		}
		c.failed = false
		c.inbox = slices.Insert(c.inbox, 0, envelope{message: new(actor.Restarting)}, envelope{message: reborn{}}, envelope{message: new(actor.Started)})
		c.wake()
	})
}

// reborn replaces the actor, between Restarting and Started.
type reborn struct{}

func (c *cell) askStop() {
	c.g.s.Post(c.g.p, system{c}, func() {
		c.stopping, c.failed = true, false
		c.wake()
	})
}

func (c *cell) beginStop() {
	c.closing = true
	c.receive(envelope{message: new(actor.Stopping)})
	for _, x := range slices.Clone(c.children) {
		x.askStop()
	}
	c.maybeStopped()
}

func (c *cell) maybeStopped() {
	if !c.closing || c.stopped || len(c.children) > 0 {
		return
	}
	c.receive(envelope{message: new(actor.Stopped)})
	c.stopped = true
	delete(c.g.cells, c.pid.Id)
	if p := c.parent; p != nil {
		c.g.s.Post(c.g.p, system{p}, func() {
			p.children = slices.DeleteFunc(p.children, func(x *cell) bool { return x == c })
			p.maybeStopped()
			if !p.stopped {
				p.inbox = slices.Insert(p.inbox, 0, envelope{message: &actor.Terminated{Who: c.pid}})
				p.wake()
			}
		})
	}
}

// supervisor is what a strategy may do to an actor's children.
type supervisor struct{ c *cell }

// Children implements actor.Supervisor.
func (s supervisor) Children() (all []*actor.PID) {
	for _, c := range s.c.children {
		all = append(all, c.pid)
	}
	return all
}

// EscalateFailure implements actor.Supervisor.
func (s supervisor) EscalateFailure(reason, message any) { s.c.fail(reason, message) }

// RestartChildren implements actor.Supervisor.
func (s supervisor) RestartChildren(pids ...*actor.PID) {
	for _, pid := range pids {
		if c := s.c.g.cells[pid.Id]; c != nil {
			c.restart()
		}
	}
}

// StopChildren implements actor.Supervisor.
func (s supervisor) StopChildren(pids ...*actor.PID) {
	for _, pid := range pids {
		if c := s.c.g.cells[pid.Id]; c != nil {
			c.askStop()
		}
	}
}

// ResumeChildren implements actor.Supervisor.
func (s supervisor) ResumeChildren(pids ...*actor.PID) {
	for _, pid := range pids {
		if c := s.c.g.cells[pid.Id]; c != nil {
			c.failed = false
			c.wake()
		}
	}
}

// actorContext is what an actor sees of one message. Methods that no actor of a node calls are missing: they panic.
type actorContext struct {
	actor.Context
	cell     *cell
	envelope envelope
}

// Message implements actor.Context.
func (x *actorContext) Message() any { return x.envelope.message }

// Sender implements actor.Context.
func (x *actorContext) Sender() *actor.PID { return x.envelope.sender }

// Self implements actor.Context.
func (x *actorContext) Self() *actor.PID { return x.cell.pid }

// Parent implements actor.Context.
func (x *actorContext) Parent() *actor.PID {
	if x.cell.parent == nil {
		return nil
	}
	return x.cell.parent.pid
}

// Send implements actor.Context.
func (x *actorContext) Send(to *actor.PID, m any) { x.cell.g.send(to, nil, m) }

// Request implements actor.Context.
func (x *actorContext) Request(to *actor.PID, m any) { x.cell.g.send(to, x.cell.pid, m) }

// Respond implements actor.Context.
func (x *actorContext) Respond(m any) {
	if x.envelope.sender != nil {
		x.cell.g.send(x.envelope.sender, x.cell.pid, m)
	}
}

// Stop implements actor.Context.
func (x *actorContext) Stop(pid *actor.PID) {
	if c := x.cell.g.cells[pid.Id]; c != nil {
		c.askStop()
	}
}
