package actors

import (
	"errors"
	"fmt"
	"slices"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// isForeign says whether a record was redriven for another agent than this one. Only for batches with redriven records.
func (s *partitionState) isForeign(a *agentSlot, b *kafka.Batch, i int) bool {
	r := b.Redriven(i)
	return r != nil && (r.Topology != s.plan.Name || !a.agent.Is(r.Agent))
}

// isOrphan says whether a record was redriven for an agent of this topology that does not read its topic, and it is for this
// agent to put it back to the dead letters: the first of those that read it.
func (s *partitionState) isOrphan(a *agentSlot, b *kafka.Batch, i int) bool {
	r := b.Redriven(i)
	if r == nil || r.Topology != s.plan.Name {
		return false
	}
	reads := func(x *agentSlot) bool { return x.source == a.source }
	if slices.ContainsFunc(s.agents, func(x *agentSlot) bool { return reads(x) && x.agent.Is(r.Agent) }) {
		return false
	}
	return s.agents[slices.IndexFunc(s.agents, reads)] == a
}

// passOver moves an agent's cursor over a record that is for another one. It is done with the record before it.
func (s *partitionState) passOver(a *agentSlot, b *kafka.Batch) {
	at := b.Records[a.record].Offset
	from := s.behind(a)
	a.record++
	for _, w := range a.works {
		if w.spans == nil && w.end >= from && w.end <= at && w.start < at {
			w.end = at + 1
			return
		}
	}
	if a.done.add(from, at+1) {
		s.fill.moved = true
	}
}

// giveUpOrphan puts a record back to the dead letters that was redriven for an agent that is gone. The agent has no work.
func (s *partitionState) giveUpOrphan(i int, rec plan.Rec) {
	r := rec.B.Redriven(rec.I)
	s.agents[i].incarnation++
	s.giveUp(i, rec, recordFailure{
		agent: r.Agent, topic: rec.B.Topic, offset: rec.B.Records[rec.I].Offset, step: kafka.StepRedrive, decision: plan.DeadLetter,
		err: fmt.Errorf("redriven for agent %s, which topology %s does not have on topic %s: redrive it with --to and the agent's new name, or drop it",
			r.Agent, s.plan.Name, rec.B.Topic),
	})
}

// giveUpBuried stops the partition: the broker refuses the dead letter of the record at hand, or the answer that it was given up.
func (s *partitionState) giveUpBuried(c *careful, f recordFailure) {
	f.agent, f.topic, f.offset, f.decision = s.agents[c.agent].agent.Name, c.rec.B.Topic, c.rec.B.Records[c.rec.I].Offset, plan.StopPartition
	to := s.letters.Name
	if r := s.agents[c.agent].agent.Reply; r != nil {
		to += ", or its answer to topic " + r.Topic.Name + " or another one"
	}
	f.err = fmt.Errorf("its dead letter cannot be written to topic %s: %w", to, f.err)
	s.giveUp(c.agent, c.rec, f)
}

// stepOf says at which step a handler failed.
func stepOf(err error) string {
	if x, ok := errors.AsType[interface {
		error
		Step() string
	}](err); ok {
		return x.Step()
	}
	return kafka.StepHandler
}
