// Package ground is the simulated ground of a node's actors: the very actors of a real node run on it, in one thread, in
// the order of a scheduler. A mailbox keeps the order in which messages were sent to it, whoever sent them, as the actor
// library's does; which actor is next is the scheduler's choice. An actor that blocks does so in a coroutine.
package ground

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/integration/simulate/sched"
)

// Ground is the ground of one process.
type Ground struct {
	s     *sched.Sched
	p     *sched.Proc
	cells map[string]*cell
	next  int
	// Users makes the actors of users, by the props that topologies have of them: the library's own need a system to live in.
	Users    map[*actor.Props]func() actor.Actor
	guardian *cell // above them
	// Skew is added to the clock of this process.
	Skew time.Duration
	// Met counts the messages that an actor with phases has met in each; nil: nobody counts.
	Met map[Meeting]int
}

// Meeting is a kind of message that comes to an actor in a phase.
type Meeting struct {
	Message reflect.Type
	Phase   string
}

var _ actors.Ground = (*Ground)(nil)

// New makes the ground of a process.
func New(s *sched.Sched, p *sched.Proc) *Ground {
	return &Ground{s: s, p: p, cells: map[string]*cell{}}
}

// Now implements actors.Ground.
func (g *Ground) Now() time.Time { return g.s.Now().Add(g.Skew) }

// Go implements actors.Ground.
func (g *Ground) Go(f func()) { g.s.Go(g.p, "beside", f) }

// After implements actors.Ground.
func (g *Ground) After(d time.Duration, f func()) (stop func()) { return g.s.After(g.p, d, f) }

// Sleep implements actors.Ground.
func (g *Ground) Sleep(ctx context.Context, d time.Duration) bool { return g.s.Sleep(ctx, d) }

// Await implements actors.Ground.
func (g *Ground) Await(ctx context.Context, done <-chan struct{}) error { return g.s.Await(ctx, done) }

// AwaitFor implements actors.Ground.
func (g *Ground) AwaitFor(ctx context.Context, done <-chan struct{}, d time.Duration) error {
	ctx, cancel := g.WithTimeout(ctx, d)
	defer cancel()
	return g.s.Await(ctx, done)
}

// Random implements actors.Ground.
func (g *Ground) Random() uint64 { return g.s.Rand().Uint64() }

// limited is a context with a deadline on the simulated clock.
type limited struct {
	context.Context
	deadline time.Time
}

func (c limited) Deadline() (time.Time, bool) { return c.deadline, true }

func (c limited) Err() error {
	err := c.Context.Err()
	if err != nil && errors.Is(context.Cause(c.Context), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}

// WithTimeout implements actors.Ground.
func (g *Ground) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancelCause(ctx)
	at := g.Now().Add(d)
	if before, ok := ctx.Deadline(); ok && before.Before(at) {
		at = before
	}
	stop := g.s.After(g.p, d, func() { cancel(context.DeadlineExceeded) })
	return limited{inner, at}, func() {
		stop()
		cancel(context.Canceled)
	}
}

// Root implements actors.Ground.
func (g *Ground) Root(a actor.Actor, strategy actor.SupervisorStrategy) *actor.PID {
	return g.spawn(nil, "root", func() actor.Actor { return a }, strategy).pid
}

// Child implements actors.Ground.
func (g *Ground) Child(c actor.Context, name string, producer func() actor.Actor, strategy actor.SupervisorStrategy) *actor.PID {
	return g.spawn(g.cells[c.Self().Id], name, producer, strategy).pid
}

func (g *Ground) spawn(parent *cell, name string, producer func() actor.Actor, strategy actor.SupervisorStrategy) *cell {
	g.next++
	c := &cell{g: g, pid: actor.NewPID("sim", fmt.Sprintf("%s$%d", name, g.next)), parent: parent, producer: producer, strategy: strategy}
	g.cells[c.pid.Id] = c
	if parent != nil {
		parent.children = append(parent.children, c)
	}
	c.actor = producer()
	g.s.Post(g.p, system{c}, func() { c.enter(envelope{message: new(actor.Started)}) })
	return c
}

// Apart implements actors.Ground.
func (g *Ground) Apart(props *actor.Props, watch actor.ReceiverMiddleware, strategy actor.SupervisorStrategy) *actor.PID {
	producer := g.Users[props]
	if producer == nil {
		panic("props that are not among Users need a real node")
	}
	if g.guardian == nil {
		g.guardian = g.spawn(nil, "guardian", func() actor.Actor { return nobody{} }, strategy)
	}
	return g.spawn(g.guardian, "user", func() actor.Actor { return watched{producer(), watch} }, nil).pid
}

// nobody is an actor that does nothing.
type nobody struct{}

// Receive implements actor.Actor.
func (nobody) Receive(actor.Context) {}

// watched is a user's actor behind what the node has put in front of it.
type watched struct {
	of    actor.Actor
	watch actor.ReceiverMiddleware
}

// Receive implements actor.Actor.
func (w watched) Receive(c actor.Context) {
	w.watch(func(actor.ReceiverContext, *actor.MessageEnvelope) { w.of.Receive(c) })(nil, &actor.MessageEnvelope{Message: c.Message()})
}

// Send implements actors.Ground.
func (g *Ground) Send(to *actor.PID, m any) { g.send(to, nil, m) }

func (g *Ground) send(to, sender *actor.PID, m any) {
	c := g.cells[to.Id]
	if c == nil {
		return // a dead letter
	}
	g.s.Post(g.p, c, func() { c.enter(envelope{m, sender}) })
}

// Tell sends a message to all actors whose names begin so, as an operator's command does.
func (g *Ground) Tell(prefix string, m any) {
	for _, id := range slices.Sorted(maps.Keys(g.cells)) {
		if strings.HasPrefix(id, prefix) {
			g.send(g.cells[id].pid, nil, m)
		}
	}
}

// Ask implements actors.Ground. Nothing that is simulated asks.
func (g *Ground) Ask(*actor.PID, any, time.Duration) (any, error) {
	return nil, errors.New("a simulated actor cannot be asked")
}

// Stop implements actors.Ground.
func (g *Ground) Stop(pid *actor.PID) {
	c := g.cells[pid.Id]
	if c == nil {
		return
	}
	c.askStop()
	over := false
	cancel := g.s.After(g.p, 10*time.Second, func() { over = true })
	g.s.Wait(func() bool { return over || c.stopped })
	cancel()
}

// Close implements actors.Ground.
func (g *Ground) Close() {}
