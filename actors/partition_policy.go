package actors

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/topology/plan"
)

// halted is why a partition gives out nothing more, until Resume.
type halted struct {
	agent int
	where string // the record, or turn, that failed
	why   error
	since time.Time
}

// marked says whether an error, or one that it wraps, says yes of itself: Permanent and Unavailable of package topology.
func marked[T any](err error, says func(T) bool) bool {
	var m T
	return errors.As(err, &m) && says(m)
}

type (
	permanentError   interface{ Permanent() bool }
	unavailableError interface{ Unavailable() bool }
)

func isPermanent(err error) bool   { return marked(err, permanentError.Permanent) }
func isUnavailable(err error) bool { return marked(err, unavailableError.Unavailable) }

// decide says how a policy takes a failure: Retry, or how to give up. opens says that the agent's breaker opens. A failure of a batch is
// no verdict about a record: it is always tried again, one record after the other.
func (s *partitionState) decide(a *agentSlot, rec plan.Rec, policy *plan.Policy, f *recordFailure, ofBatch bool) (d plan.Decision, opens bool) {
	if policy.Decide != nil && !ofBatch {
		if d := s.ask(rec, policy, f); d != plan.ByPolicy {
			return d, false
		}
	}
	permanent := isPermanent(f.err)
	if !permanent && s.opens(a, policy.Breaker, f.err) {
		return plan.Retry, true
	}
	if ofBatch || !permanent && (policy.Attempts == 0 || f.attempts < policy.Attempts) {
		return plan.Retry, false
	}
	return policy.Then, false
}

// ask calls the user's Decide. What goes wrong in it joins the failure.
func (s *partitionState) ask(rec plan.Rec, policy *plan.Policy, f *recordFailure) plan.Decision {
	x := plan.Failure{Topology: s.plan.Name, Agent: f.agent, FailedIn: f.failedIn, Topic: f.topic, Partition: s.partition, Offset: f.offset, Attempts: f.attempts, Err: f.err}
	if rec.B != nil {
		x.Timestamp, x.Key, x.Value = rec.B.Records[rec.I].Timestamp, rec.B.Key(rec.I), rec.B.Value(rec.I)
	}
	d := plan.ByPolicy
	stack, err := protectAside(func() error { d = policy.Decide(x); return nil }) // a Goexit would end the mailbox's goroutine
	if err == nil && d > plan.StopNode {
		err = fmt.Errorf("it returned %v", d)
	}
	if err != nil {
		f.err, f.stack = errors.Join(f.err, fmt.Errorf("the policy's Decide failed: %w", err)), f.stack+stack
		return plan.ByPolicy
	}
	return d
}

// opens says whether a failure opens the breaker of an agent.
func (s *partitionState) opens(a *agentSlot, b plan.Breaker, err error) bool {
	if isUnavailable(err) {
		return true
	}
	if b.Failures <= 0 {
		return false
	}
	if a.half { // what was tried has failed
		return true
	}
	n := 0
	for _, at := range a.recent {
		if s.now.Sub(at) < b.Window {
			a.recent[n] = at
			n++
		}
	}
	a.recent = append(a.recent[:n], s.now)
	if len(a.recent) <= b.Failures {
		return false
	}
	a.recent = nil
	return true
}

// giveUp does what a policy has decided about a record, or a turn of a timer or task, that is not tried again.
func (s *partitionState) giveUp(i int, rec plan.Rec, f recordFailure) {
	a := s.agents[i]
	f.rec = rec
	if f.decision == plan.DeadLetter && rec.B != nil {
		if err := s.bury(rec, f); err != nil { // nothing is dropped
			f.decision, f.err = plan.StopPartition, fmt.Errorf("its dead letter cannot be written: %w; it failed: %w", err, f.err)
		} else if c := s.careful; c != nil && c.agent == i {
			c.buried = true
		}
	}
	if (f.decision == plan.DeadLetter || f.decision == plan.Skip) && rec.B != nil && s.refuse(a.agent, rec, f) {
		if c := s.careful; c != nil && c.agent == i {
			c.buried = true
		}
	}
	s.emit(report{f})
	switch f.decision {
	case plan.StopPartition:
		s.halt = &halted{i, where(f, s.partition), f.err, s.now}
		s.parkAgent(i)
		return
	case plan.StopNode:
		s.emit(failNode{fmt.Errorf("the policy of %s %s ends the node: %s: %w", roleName(a.agent.Role), a.agent.Name, where(f, s.partition), f.err)})
		s.parkAgent(i)
		return
	case plan.ByPolicy, plan.Retry, plan.Skip, plan.DeadLetter:
	}
	s.pass(i, rec)
	a.failed, a.attempts = -1, 0
	s.seek(a)
	a.backing, a.retry = true, s.now // the actor restarts at once
	s.emit(wakeAt{s.now})
	if c := s.careful; c != nil && c.agent == i {
		c.sealed = true
		s.sealShards()
	}
}

// pass marks what was given up as done.
func (s *partitionState) pass(i int, rec plan.Rec) {
	a := s.agents[i]
	s.dry, s.fill.moved = false, true
	switch {
	case a.agent.Fires != nil:
		s.dropTimer(i, rec)
	case rec.B != nil:
		at := rec.B.Records[rec.I].Offset
		a.done.add(at, at+1)
		if i := a.parkedAt(at); i >= 0 {
			a.parked = slices.Delete(a.parked, i, i+1)
		}
	case a.agent.Role == plan.Timer:
		at, _ := a.agent.Latest(a.due, s.now)
		s.fill.fired(a.agent.Name, at.UnixMilli())
		a.due = a.agent.Next(at)
	default:
		a.done.add(0, 1)
	}
}

// parkAgent keeps an agent from going on until Resume.
func (s *partitionState) parkAgent(i int) {
	a := s.agents[i]
	a.backing, a.retry = true, time.Time{}
	if c := s.careful; c != nil && c.agent == i {
		c.agent = -1
	}
}

// onResume goes on with the record that has stopped the partition, as if it had not been tried.
func (s *partitionState) onResume() {
	if s.halt == nil {
		return
	}
	a := s.agents[s.halt.agent]
	s.halt = nil
	a.failed, a.attempts, a.backing, a.retry = -1, 0, true, s.now
	s.emit(wakeAt{s.now})
}

// rests says whether nothing will happen before the clock has moved on, or an operator resumes the partition.
func (s *partitionState) rests() bool {
	if s.offer != nil || s.seal != nil || s.fill.moved || s.whole.moved {
		return false
	}
	if s.halt != nil {
		return true
	}
	if s.firing != nil || s.firstDue() != nil {
		return false
	}
	waits := false
	for _, a := range s.agents {
		switch {
		case a.backing && a.retry.After(s.now):
			waits = true
		case a.backing || (a.source >= 0 || a.agent.Fires != nil) && len(a.works) > 0:
			return false
		case !s.throttledUntil(a).IsZero():
			waits = true
		case !a.nextParked(s.now).IsZero():
			waits = true
		}
	}
	return waits
}

// succeeded: an agent is through with what it had failed in.
func (s *partitionState) succeeded(a *agentSlot) {
	if (a.attempts > 0 || a.half) && a.parkedAt(a.failed) < 0 { // else unpark tells of it
		topic := ""
		if a.source >= 0 {
			topic = s.sources[a.source].name()
		}
		s.emit(recovered{a.agent.Name, topic, a.failed, a.attempts + 1})
	}
	a.failed, a.attempts, a.half = -1, 0, false
}

// where names a record that failed.
func where(f recordFailure, partition int32) string {
	if f.offset < 0 {
		return "its turn failed"
	}
	return fmt.Sprintf("%s/%d@%d failed", f.topic, partition, f.offset)
}

func roleName(r plan.Role) string {
	switch r {
	case plan.Timer:
		return "timer"
	case plan.Task:
		return "task"
	case plan.Processor, plan.OnTimer:
	}
	return "agent"
}

// pauses returns what waits between attempts: as the policy says, with jitter.
func pauses(rng *rand.Rand) func(plan.Backoff, int) time.Duration {
	return func(b plan.Backoff, failures int) time.Duration { return b.Wait(failures, rng.Float64()) }
}
