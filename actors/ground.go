package actors

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/kafka/protocol"
)

// Ground is what a node's actors stand on: the actor system, time, and what runs beside actors. In a process that is
// protoactor, the clock and goroutines; a simulation brings a ground of its own, on which the very same actors run in one
// thread. Nothing in this package but the real ground starts a goroutine, reads the clock or blocks by itself.
type Ground interface {
	protocol.Runtime
	// After runs f beside everything else after d, unless stop is called before.
	After(d time.Duration, f func()) (stop func())
	// AwaitFor is Await with a limit.
	AwaitFor(ctx context.Context, done <-chan struct{}, d time.Duration) error
	// Random returns a random number.
	Random() uint64
	// Root starts the actor at the top; again, when what was below the one before has ended.
	Root(a actor.Actor, strategy actor.SupervisorStrategy) *actor.PID
	// Child starts an actor below that of c. strategy is for its children; nil: the library's.
	Child(c actor.Context, name string, producer func() actor.Actor, strategy actor.SupervisorStrategy) *actor.PID
	// Apart starts an actor of the user's beside the tree, so that nobody waits for its end. watch stands in front of it, and g takes
	// its failures.
	Apart(props *actor.Props, watch actor.ReceiverMiddleware, g actor.SupervisorStrategy) *actor.PID
	// Send sends a message from outside of any actor.
	Send(to *actor.PID, m any)
	// Ask sends a message and waits for what the actor responds.
	Ask(to *actor.PID, m any, limit time.Duration) (any, error)
	// Stop stops an actor and all below it, and waits for that, ten seconds at most.
	Stop(pid *actor.PID)
	// Close ends the actor system.
	Close()
}

// realGround is the Ground of a process.
type realGround struct {
	protocol.Real
	log    *slog.Logger
	system *actor.ActorSystem // from Root on
	boxes  mailboxes
	idle   idle
}

// maxIdle is how many goroutines that have nothing to do are kept.
const maxIdle = 64

// idle are goroutines that have returned from what they ran: what runs on one next finds a stack that is large enough. A goroutine costs
// little, but one for each message that finds its actor idle, each batch that a shard applies and each question that it answers spends its time
// on making its stack larger.
type idle struct {
	mu     sync.Mutex
	next   []chan func() // of each that is idle: what it is to run next
	closed bool
}

// Go runs f beside everything else.
func (g *realGround) Go(f func()) { g.idle.Schedule(f) }

// Throughput implements actor.Dispatcher: after so many messages an actor lets others run, as with the library's own dispatcher.
func (*idle) Throughput() int { return 300 }

// Schedule implements actor.Dispatcher.
func (p *idle) Schedule(f func()) {
	p.mu.Lock()
	if last := len(p.next) - 1; last >= 0 {
		c := p.next[last]
		p.next = p.next[:last]
		p.mu.Unlock()
		c <- f
		return
	}
	p.mu.Unlock()
	go p.run(make(chan func(), 1), f)
}

// run runs f and what comes next, until there is enough that is idle. If one of them ends the goroutine, nothing else is lost.
func (p *idle) run(next chan func(), f func()) {
	for ; f != nil; f = <-next {
		f()
		p.mu.Lock()
		if p.closed || len(p.next) == maxIdle {
			p.mu.Unlock()
			return
		}
		p.next = append(p.next, next)
		p.mu.Unlock()
	}
}

// close ends those that are idle, and those that are not when they are through.
func (p *idle) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.next {
		close(c)
	}
	p.next = nil
}

// mailboxes are those of the actors that live, by their ids. The dead are swept out whenever there are twice as many as lived the
// last time.
type mailboxes struct {
	mu    sync.Mutex
	boxes map[string]actor.Mailbox
	sweep int
}

func (m *mailboxes) put(system *actor.ActorSystem, pid *actor.PID, box actor.Mailbox) {
	if box == nil { // the user's props have a spawner of their own
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.boxes == nil {
		m.boxes, m.sweep = map[string]actor.Mailbox{}, 64
	}
	m.boxes[pid.Id] = box
	if len(m.boxes) < m.sweep {
		return
	}
	for id := range m.boxes {
		if _, lives := system.ProcessRegistry.GetLocal(id); !lives {
			delete(m.boxes, id)
		}
	}
	m.sweep = max(64, 2*len(m.boxes))
}

// waiting is how many messages wait for an actor; -1: not known.
func (m *mailboxes) waiting(pid *actor.PID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if box := m.boxes[pid.Id]; box != nil {
		return box.UserMessageCount()
	}
	return -1
}

// boxed has actors made with a mailbox that is noted in box.
func boxed(box *actor.Mailbox) actor.PropsOption {
	produce := actor.Unbounded()
	return actor.WithMailbox(func() actor.Mailbox {
		*box = produce()
		return *box
	})
}

// Waiting is how many messages wait for an actor; -1: not known.
func (g *realGround) Waiting(pid *actor.PID) int { return g.boxes.waiting(pid) }

// waiting asks a ground, if it knows, how many messages wait for an actor.
func waiting(g Ground, pid *actor.PID) int {
	if w, ok := g.(interface{ Waiting(*actor.PID) int }); ok && pid != nil {
		return w.Waiting(pid)
	}
	return -1
}

func (*realGround) After(d time.Duration, f func()) (stop func()) {
	t := time.AfterFunc(max(d, 0), f)
	return func() { t.Stop() }
}

func (*realGround) AwaitFor(ctx context.Context, done <-chan struct{}, d time.Duration) error {
	t := timers.Get().(*time.Timer) //nolint:forcetypeassert // nothing else is put there
	t.Reset(d)
	defer func() {
		t.Stop()
		timers.Put(t)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return context.DeadlineExceeded
	}
}

// timers are those of AwaitFor: one is set for each question to a table.
var timers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

func (*realGround) Random() uint64 { return rand.Uint64() }

func (g *realGround) Root(a actor.Actor, strategy actor.SupervisorStrategy) *actor.PID {
	if g.system != nil { // of a node that begins anew: everything in it has ended
		g.system.Shutdown()
	}
	g.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(atLeast{g.log.Handler(), slog.LevelWarn})
	}))
	var box actor.Mailbox
	pid := g.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return a }, actor.WithSupervisor(strategy), boxed(&box), actor.WithDispatcher(&g.idle)))
	g.boxes.put(g.system, pid, box)
	return pid
}

func (g *realGround) Child(c actor.Context, name string, producer func() actor.Actor, strategy actor.SupervisorStrategy) *actor.PID {
	var box actor.Mailbox
	props := actor.PropsFromProducer(producer, boxed(&box), actor.WithDispatcher(&g.idle))
	if strategy != nil {
		props.Configure(actor.WithSupervisor(strategy))
	}
	pid := c.SpawnPrefix(props, name)
	g.boxes.put(g.system, pid, box)
	return pid
}

func (g *realGround) Apart(props *actor.Props, watch actor.ReceiverMiddleware, guardian actor.SupervisorStrategy) *actor.PID {
	return g.system.Root.Spawn(props.Clone(actor.WithReceiverMiddleware(watch), actor.WithGuardian(guardian)))
}

func (g *realGround) Send(to *actor.PID, m any) { g.system.Root.Send(to, m) }

func (g *realGround) Ask(to *actor.PID, m any, limit time.Duration) (any, error) {
	return g.system.Root.RequestFuture(to, m, limit).Result()
}

func (g *realGround) Stop(pid *actor.PID) { _ = g.system.Root.StopFuture(pid).Wait() }

func (g *realGround) Close() {
	g.system.Shutdown()
	g.idle.close()
}
