package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	commitTimeout = 30 * time.Second
	settlePause   = 200 * time.Millisecond
	settleLimit   = 2 * time.Minute
)

// producer is the actor that carries out commits. It blocks its own mailbox while one is under way: there is only one at
// a time.
type producer struct {
	client  kafka.Producer
	ground  Ground
	ctx     context.Context // ends when the node must stop at once
	log     *slog.Logger
	meters  *meters
	hooks   *hooks
	commits int64
	trouble time.Time // since when settling fails
}

// Receive implements actor.Actor.
func (a *producer) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case commitBundles:
		a.commits++
		a.log.Debug("trace", "event", "commit-begin", "commit", a.commits, "bundles", len(m.bundles))
		ctx, cancel := a.ground.WithTimeout(a.ctx, commitTimeout)
		defer cancel()
		began := a.ground.Now()
		o := a.client.Commit(ctx, m.bundles)
		took := a.ground.Now().Sub(began)
		a.meters.committed(o.Verdict, took, len(m.bundles))
		a.hooks.tell(Commit{began.Add(took), a.meters.topology, len(m.bundles), took, o.Verdict, o.Err})
		switch {
		case o.Verdict == kafka.Committed:
			a.log.Debug("trace", "event", "commit-done", "commit", a.commits)
		case o.Verdict == kafka.Unknown && errors.Is(o.Err, kafka.ErrSentTwice):
			a.log.Info("a connection was lost during a commit: the broker is asked whether it is done", "bundles", len(m.bundles), "error", o.Err)
		default:
			a.log.Warn("commit not done", "verdict", o.Verdict, "bundles", len(m.bundles), "sick", o.Sick, "lost", o.Lost, "error", o.Err)
		}
		c.Respond(Done{a.ground.Now(), m.bundles, o})
	case settleBundles:
		a.settle(c, m)
	}
}

func (a *producer) settle(c actor.Context, m settleBundles) {
	ctx, cancel := a.ground.WithTimeout(a.ctx, commitTimeout)
	defer cancel()
	state, err := a.client.Settle(ctx, m.bundles)
	if err == nil {
		a.trouble = time.Time{}
		c.Respond(Found{Now: a.ground.Now(), Bundles: m.bundles, State: state})
		return
	}
	a.log.Warn("outcome of a commit not known yet", "error", err)
	if a.trouble.IsZero() {
		a.trouble = a.ground.Now()
	}
	if a.ground.Now().Sub(a.trouble) > settleLimit {
		c.Send(c.Parent(), nodeFailed{fmt.Errorf("the outcome of a commit could not be found out for %v: %w", settleLimit, err)})
		return
	}
	g, to, found := a.ground, c.Sender(), Found{Bundles: m.bundles, Err: err}
	g.After(settlePause, func() {
		found.Now = g.Now()
		g.Send(to, found)
	})
}
