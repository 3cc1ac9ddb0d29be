package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/topology/plan"
)

// How much of the same a partition logs: that many lines within a time, and then one line that sums up the rest.
const (
	stormLines  = 10
	stormWindow = 10 * time.Second
	maxLogged   = 1 << 10 // bytes of a key or value in the log
)

// sumUp ends the window of a storm.
type sumUp struct{}

// storm counts lines of one kind, about one agent.
type storm struct {
	ends   time.Time // of its window
	lines  int
	beyond int   // not logged
	last   []any // attributes of the last of them
}

// stormKey says which lines are alike.
type stormKey struct {
	level          slog.Level
	agent, message string
}

// report tells of a failure: of the first one of a record, and of what is decided in the end.
func (p *partitionActor) report(c actor.Context, f recordFailure) {
	p.count(f)
	args := []any{"agent", f.agent, "attempt", f.attempts, "error", errorText(f.err, p.site.values)}
	if f.offset >= 0 {
		args = append(args, "topic", f.topic, "offset", f.offset)
	}
	if f.failedIn != "" {
		args = append(args, "failed_in", f.failedIn)
	}
	if f.rec.B != nil && p.site.values {
		t := p.topic(f.topic)
		args = append(args, "key", logged(t.Key, f.rec.B.Key(f.rec.I)), "value", logged(t.Value, f.rec.B.Value(f.rec.I)))
	}
	if f.stack != "" {
		p.log.Debug("stack of a failure", "agent", f.agent, "stack", f.stack)
	}
	switch f.decision {
	case plan.DeadLetter:
		p.tell(c, slog.LevelError, f.agent, "record given up: written to the dead letters", args)
	case plan.Skip:
		p.tell(c, slog.LevelError, f.agent, "record given up: skipped, as its policy says", args)
	case plan.StopPartition:
		p.log.Error("partition stopped: it goes on when it is resumed (resume-partition) or starts anew, on this node or another", args...)
	case plan.StopNode:
		p.log.Error("node stopped, as the policy says", args...)
	case plan.ByPolicy, plan.Retry:
		switch {
		case f.again:
			p.log.Debug("agent held back further", args...)
		case f.paused > 0:
			p.tell(c, slog.LevelWarn, f.agent, "agent held back: what it calls is unavailable, or it fails too often; then one record is tried", append(args, "pause", f.paused))
		case f.attempts > 1:
			p.log.Debug("agent failed again", args...)
		default:
			p.tell(c, slog.LevelWarn, f.agent, "agent failed: restarted, the record is tried again", args)
		}
	}
}

// recovered tells that what had failed is done.
func (p *partitionActor) recovered(c actor.Context, r recovered) {
	args := []any{"agent", r.agent, "attempts", r.attempts}
	if r.offset >= 0 && r.topic != "" {
		args = append(args, "topic", r.topic, "offset", r.offset)
	}
	p.tell(c, slog.LevelInfo, r.agent, "agent goes on: what had failed is done", args)
}

// tell logs a line, unless there have been many of its kind: those are summed up at the end of their window.
func (p *partitionActor) tell(c actor.Context, level slog.Level, agent, message string, args []any) {
	now := p.site.ground.Now()
	key := stormKey{level, agent, message}
	s := p.storms[key]
	if s == nil || !now.Before(s.ends) {
		p.logSum(key)
		if s = new(storm); p.storms == nil {
			p.storms = map[stormKey]*storm{}
		}
		s.ends, p.storms[key] = now.Add(stormWindow), s
	}
	if s.lines++; s.lines <= stormLines {
		p.log.Log(context.Background(), level, message, args...) //nolint:sloglint // one of those in report
		return
	}
	s.beyond, s.last = s.beyond+1, args
	if p.calm == nil {
		g, self := p.site.ground, c.Self()
		p.calm = g.After(stormWindow, func() { g.Send(self, sumUp{}) })
	}
}

// logSum logs how much of a window has not been logged.
func (p *partitionActor) logSum(key stormKey) {
	if s := p.storms[key]; s != nil && s.beyond > 0 {
		p.log.Log(context.Background(), key.level, "the same again: "+key.message, append(s.last, "count", s.beyond, "within", stormWindow)...) //nolint:sloglint // as above
	}
}

// sumUp logs what has not been logged of windows that have ended; all says that none goes on.
func (p *partitionActor) sumUp(c actor.Context, all bool) {
	if p.calm != nil {
		p.calm()
		p.calm = nil
	}
	now, again := p.site.ground.Now(), false
	for key, s := range p.storms {
		switch {
		case all || !now.Before(s.ends):
			p.logSum(key)
			delete(p.storms, key)
		case s.beyond > 0:
			again = true
		}
	}
	if again {
		g, self := p.site.ground, c.Self()
		p.calm = g.After(stormWindow, func() { g.Send(self, sumUp{}) })
	}
}

func (p *partitionActor) topic(name string) *plan.Topic {
	for _, t := range p.state.stage.Sources {
		if t.Name == name {
			return t
		}
	}
	return &plan.Topic{Name: name}
}

// errorText is an error as it is logged: what a codec says may quote the value, which is in the log only when asked for.
func errorText(err error, values bool) string {
	if values {
		return err.Error()
	}
	return redact.Text(err)
}

// withoutValues is the error that a node ends with: whoever started it will log it.
func withoutValues(err error, values bool) error {
	if values {
		return err
	}
	return redact.Told(err)
}

// logged is a key or value as text.
func logged(t plan.Text, b []byte) string {
	if b == nil {
		return "(null)"
	}
	s, err := "", errors.ErrUnsupported
	if t.Format != nil {
		s, err = t.Format(b)
	}
	if err != nil {
		s = fmt.Sprintf("%q", b[:min(len(b), maxLogged)])
		if t.Secrets {
			s = fmt.Sprintf("(%d bytes that are not %s, and not shown: it has secret fields)", len(b), t.Type)
		}
	}
	if len(s) > maxLogged {
		s = s[:maxLogged] + "…"
	}
	return s
}
