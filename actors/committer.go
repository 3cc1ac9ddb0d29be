package actors

import (
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/crashpoint"
)

// committer is the actor around committerState.
type committer struct {
	state    *committerState
	ground   Ground
	producer *actor.PID
	members  map[int32]*actor.PID // partitions by slot
	stop     func()               // of the timer
	log      *slog.Logger
}

// memberLink tells the committer the address of a slot's partition, before that joins.
type memberLink struct {
	slot int32
	pid  *actor.PID
}

// Receive implements actor.Actor.
func (a *committer) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case memberLink:
		a.members[m.slot] = m.pid
	case committerMessage:
		a.state.now = a.ground.Now()
		committerStep(m)
		a.do(c, a.state.step(m))
	case *actor.Stopping:
		if a.stop != nil {
			a.stop()
		}
	}
}

func (a *committer) do(c actor.Context, out []any) {
	for _, x := range out {
		switch x := x.(type) {
		case askSeal:
			c.Send(a.members[x.slot], SealRound{x.round})
		case decide:
			if x.decided.Err != nil {
				crashpoint.Hit("decide.rejected")
				a.log.Error("bundle rejected: its slot goes on carefully from what is committed", "slot", x.slot, "error", x.decided.Err)
			}
			c.Send(a.members[x.slot], x.decided)
		case commitBundles:
			crashpoint.Hit("decide.commit-asked")
			c.Request(a.producer, x)
		case settleBundles:
			crashpoint.Hit("decide.settle-asked")
			c.Request(a.producer, x)
		case retake:
			crashpoint.Hit("decide.retake-asked")
			c.Send(c.Parent(), x)
		case giveUp:
			c.Send(c.Parent(), nodeFailed(x))
		case wakeAt:
			a.wakeAt(c, x.at)
		}
	}
}

func (a *committer) wakeAt(c actor.Context, at time.Time) {
	if a.stop != nil {
		a.stop()
	}
	g, self := a.ground, c.Self()
	a.stop = g.After(at.Sub(g.Now()), func() { g.Send(self, Tick{g.Now()}) })
}
