package actors

import (
	"context"
	"log/slog"
	"math/rand/v2"
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
	// Root starts the actor at the top.
	Root(a actor.Actor, strategy actor.SupervisorStrategy) *actor.PID
	// Child starts an actor below that of c. strategy is for its children; nil: the library's.
	Child(c actor.Context, name string, producer func() actor.Actor, strategy actor.SupervisorStrategy) *actor.PID
	// Apart starts an actor beside the tree, so that nobody waits for its end. g takes its failures.
	Apart(props *actor.Props, g actor.SupervisorStrategy) *actor.PID
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
}

func (*realGround) After(d time.Duration, f func()) (stop func()) {
	t := time.AfterFunc(max(d, 0), f)
	return func() { t.Stop() }
}

func (*realGround) AwaitFor(ctx context.Context, done <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return context.DeadlineExceeded
	}
}

func (*realGround) Random() uint64 { return rand.Uint64() }

func (g *realGround) Root(a actor.Actor, strategy actor.SupervisorStrategy) *actor.PID {
	g.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(atLeast{g.log.Handler(), slog.LevelWarn})
	}))
	return g.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return a }, actor.WithSupervisor(strategy)))
}

func (*realGround) Child(c actor.Context, name string, producer func() actor.Actor, strategy actor.SupervisorStrategy) *actor.PID {
	props := actor.PropsFromProducer(producer)
	if strategy != nil {
		props.Configure(actor.WithSupervisor(strategy))
	}
	return c.SpawnPrefix(props, name)
}

func (g *realGround) Apart(props *actor.Props, guardian actor.SupervisorStrategy) *actor.PID {
	return g.system.Root.Spawn(props.Clone(actor.WithGuardian(guardian)))
}

func (g *realGround) Send(to *actor.PID, m any) { g.system.Root.Send(to, m) }

func (g *realGround) Ask(to *actor.PID, m any, limit time.Duration) (any, error) {
	return g.system.Root.RequestFuture(to, m, limit).Result()
}

func (g *realGround) Stop(pid *actor.PID) { _ = g.system.Root.StopFuture(pid).Wait() }

func (g *realGround) Close() { g.system.Shutdown() }
