package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// call is user code on a goroutine of its own: a runtime.Goexit in it would end the mailbox's.
type call struct {
	done  chan struct{}
	id    string // of the goroutine, from the moment that named is closed
	named chan struct{}
	stack string
	err   error
}

func startCall(g Ground, f func() error, named bool) *call {
	x := &call{done: make(chan struct{}), named: make(chan struct{}), err: errGoexit}
	g.Go(func() {
		defer close(x.done)
		if named {
			x.id = goroutineID()
			close(x.named)
		}
		defer noteGoexit(&x.stack, &x.err)
		x.stack, x.err = protect(f)
	})
	return x
}

// guard runs what may call user code. With a deadline it gives up a function that hangs: nobody may touch the shard's state any more then.
func (a *shardActor) guard(c actor.Context, calls bool, f func() error) (stack string, err error) {
	if !calls {
		return protect(f)
	}
	g := a.site.ground
	x := startCall(g, f, a.deadline > 0)
	if a.deadline == 0 {
		if err := g.Await(context.Background(), x.done); err != nil {
			return "", err
		}
		return x.stack, x.err
	}
	for seen := a.config.Calls.Load(); ; {
		if g.AwaitFor(context.Background(), x.done, a.deadline) == nil {
			return x.stack, x.err
		}
		calls := a.config.Calls.Load()
		if calls == seen {
			break
		}
		seen = calls
	}
	c.Send(c.Parent(), ShardLate{a.index})
	if g.AwaitFor(context.Background(), x.done, a.grace) == nil {
		return x.stack, errors.Join(fmt.Errorf("%w of %v, inside table %s", errLate, a.deadline, a.table.Name), x.err)
	}
	<-x.named // closed before the function was called
	stack = stackOf(x.id)
	a.site.hangs.watch(x.id, x.done, fmt.Sprintf("a function inside table %s, partition %d", a.table.Name, a.config.Partition), stack)
	return stack, fmt.Errorf("%w: inside table %s, deadline %v, then %v", errHung, a.table.Name, a.deadline, a.grace)
}

// unguarded is guard where nothing hangs or ends its goroutine.
func unguarded(_ bool, f func() error) (stack string, err error) { return protect(f) }

// deadlineIn is how long a function inside a shard may take: the shortest deadline of the agents whose functions run there.
func deadlineIn(st *plan.Stage, t *plan.Table) (deadline, grace time.Duration) {
	for _, a := range st.Agents {
		for _, w := range a.Reads {
			if d := a.Policy.Deadline; w == t && runsIn(a, t) && d > 0 && (deadline == 0 || d < deadline) {
				deadline, grace = d, a.Policy.Grace
			}
		}
	}
	return deadline, grace
}

// runsIn says whether functions of an agent run inside the shards of a table: it writes there, or joins.
func runsIn(a *plan.Agent, t *plan.Table) bool {
	return slices.Contains(a.Writes, t) || a.InOrder && slices.Contains(a.Reads, t)
}

// memory is what a partition that gives way hands on to the one that takes its place.
type memory struct {
	until map[string]int64 // by agent: what had been given out
	blame *blame
}

// blame is a failure of the partition before, for the record that it happened in.
type blame struct {
	agent    string
	offset   int64
	attempts int // before it
	policy   *plan.Policy
	err      error
	stack    string
}

// giveWay is asked of the node: the partition must be made anew.
type giveWay struct {
	err    error
	memory *memory
}

// giveWay ends the partition, since a shard of it is lost. What its successor must know goes with it.
func (s *partitionState) giveWay(m ShardFailed) {
	mem := &memory{until: map[string]int64{}}
	for i, a := range s.agents {
		mem.until[a.agent.Name] = s.givenUpTo(a)
		if c := s.careful; c != nil {
			mem.until[a.agent.Name] = max(mem.until[a.agent.Name], c.until[i])
		}
		if a.agent.Fires != nil { // its successor counts from nothing
			mem.until[a.agent.Name] -= a.committed.upTo
		}
	}
	if c := s.careful; c != nil && c.agent >= 0 {
		a := s.agents[c.agent]
		b := &blame{agent: a.agent.Name, offset: c.rec.B.Records[c.rec.I].Offset, policy: s.policyOf(c.agent, m.Table), err: m.Err, stack: m.Stack}
		if a.failed == b.offset {
			b.attempts = a.attempts
		}
		mem.blame = b
	}
	s.phase = gone
	s.emit(giveWay{m.Err, mem})
}

// recall takes over what the partition before knew. Called before anything else.
func (s *partitionState) recall(m *memory) {
	if m == nil {
		return
	}
	s.careful, s.blame = &careful{agent: -1, until: make([]int64, len(s.agents)), turns: make([]bool, len(s.agents))}, m.blame
	for i, a := range s.agents {
		s.careful.until[i] = m.until[a.agent.Name]
	}
}

// blamed puts the blame of the partition before on its record, before that is given out again.
func (s *partitionState) blamed(a *agentSlot, rec plan.Rec) bool {
	if !s.isBlamed(a, rec) {
		return false
	}
	b := s.blame
	s.blame = nil
	a.failed, a.failedKey, a.attempts = b.offset, string(rec.B.Key(rec.I)), b.attempts
	s.failRecord(s.careful.agent, rec, b.policy, recordFailure{step: kafka.StepTable, err: b.err, stack: b.stack}, false)
	return true
}

// isBlamed says whether the blame of the partition before is for this record.
func (s *partitionState) isBlamed(a *agentSlot, rec plan.Rec) bool {
	b := s.blame
	return b != nil && b.agent == a.agent.Name && b.offset == rec.B.Records[rec.I].Offset
}

// policyOf is the policy for a failure inside a table: the table's, else the agent's.
func (s *partitionState) policyOf(agent, table int) *plan.Policy {
	if p := s.tables[table].table.Policy; p != nil {
		return p
	}
	return s.agents[agent].agent.Policy
}

// onShardLate ends the contexts of the agents whose function it may be.
func (s *partitionState) onShardLate(m ShardLate) {
	for i, a := range s.agents {
		if runsIn(a.agent, s.tables[m.Table].table) {
			s.emit(toAgent{i, Expire{a.incarnation}})
		}
	}
}
