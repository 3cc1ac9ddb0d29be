package actors

import (
	"fmt"
	"slices"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// An agent that answers before the commit (plan.Reply.Eager) may be asked by a handler of its own partition, which waits for it in its turn. What is committed does
// not wait for a turn, so the agent that is asked goes on beside it, unless something has the one wait for the other: then the ask is refused before it
// is sent. Where records go one by one, after a failure, the one whose turn waits is put aside, of which nothing has come so far, and those that it
// waits for have theirs; what its agent says then is taken up between two others. Where it is found out which record kills, the window
// is over that has a turn wait for what is outside of it.

// atHand is a record or turn that careful mode has put aside.
type atHand struct {
	agent int
	rec   plan.Rec
}

// onWaits notes that a turn waits for an agent of this partition, or says why it must not.
func (s *partitionState) onWaits(m Waits) {
	a := s.agents[m.Agent]
	if a.incarnation != m.Incarnation || s.phase == undoing || s.phase == gone {
		if !m.Over {
			s.emit(answerAsk{m.Reply, errUndone})
		}
		return
	}
	asked := slices.IndexFunc(s.agents, func(b *agentSlot) bool { return b.agent.Name == m.For })
	switch {
	case m.Over:
		a.waitsFor(asked, -1)
		return
	case asked < 0:
		s.emit(answerAsk{m.Reply, &plan.CannotWaitError{Why: "this partition has no agent " + m.For}})
		return
	}
	if why := s.cannotWait(m.Agent, asked); why != "" {
		s.emit(answerAsk{m.Reply, &plan.CannotWaitError{Why: why}})
		return
	}
	if err := s.soured[m.By]; err != nil {
		delete(s.soured, m.By)
		s.emit(answerAsk{m.Reply, fmt.Errorf("what it asked before has failed, after its answer: %w", err)})
		return
	}
	a.waitsFor(asked, 1)
	s.emit(answerAsk{m.Reply, nil})
}

// waitsFor counts how often the agent waits for another one.
func (a *agentSlot) waitsFor(agent, n int) {
	if a.waitsIn != a.incarnation || a.waits == nil {
		a.waits, a.waitsIn = map[int]int{}, a.incarnation
	}
	if a.waits[agent] += n; a.waits[agent] <= 0 {
		delete(a.waits, agent)
	}
}

// isWaiting says whether a turn of the agent waits for one of this partition.
func (a *agentSlot) isWaiting() bool { return a.waitsIn == a.incarnation && len(a.waits) > 0 }

// cannotWait says why agent i must not wait for agent j: j, or one that it waits for, could wait for it, or for one that waits for it. Empty: it may.
func (s *partitionState) cannotWait(i, j int) string {
	for x := range s.agents {
		if x != i && !s.reaches(x, i, nil) {
			continue
		}
		for y := range s.agents {
			if y != j && !s.reaches(j, y, nil) {
				continue
			}
			if why := s.holdsUp(x, y); why != "" {
				return why
			}
		}
	}
	return ""
}

// holdsUp says why agent j may have to wait for a turn of agent i to end. Empty: it does not.
func (s *partitionState) holdsUp(i, j int) string {
	a, b := s.agents[i], s.agents[j]
	switch {
	case i == j:
		return "agent " + a.agent.Name + " would wait for itself"
	case s.isFed(a):
		return "agent " + a.agent.Name + " reads channel " + a.agent.Channel.Name + ", and what is in channels is done before anything else"
	case a.source >= 0 && a.source == b.source:
		return "both read topic " + b.agent.Source.Name + ", and the request would come behind all that waits there"
	case a.agent.InOrder && b.agent.InOrder:
		return "they take turns, since they share tables that are joined"
	case a.agent.Fires != nil, len(a.rivals) > 0, len(a.moves) > 0:
		return "agent " + a.agent.Name + " is called for durable timers, or sets them, and others wait for that"
	}
	return ""
}

// reaches says whether an agent waits for another one, or for one that does.
func (s *partitionState) reaches(from, to int, seen []int) bool {
	a := s.agents[from]
	if !a.isWaiting() || slices.Contains(seen, from) {
		return false
	}
	for next := range a.waits {
		if next == to || s.reaches(next, to, append(seen, from)) {
			return true
		}
	}
	return false
}

// waitsWithin says whether a turn waits for another agent of this partition.
func (s *partitionState) waitsWithin() bool {
	return slices.ContainsFunc(s.agents, (*agentSlot).isWaiting)
}

// asideOf finds what of an agent was put aside; -1: nothing.
func (c *careful) asideOf(agent int) int {
	return slices.IndexFunc(c.aside, func(x atHand) bool { return x.agent == agent })
}

// putAside puts what is at hand aside if its turn waits for another agent: nothing of it has come yet.
func (s *partitionState) putAside() {
	c := s.careful
	if c.agent < 0 || c.sealed || s.seal != nil || !s.agents[c.agent].isWaiting() {
		return
	}
	c.aside = append(c.aside, atHand{c.agent, c.rec})
	c.agent = -1
}

// sour notes that a request has failed behind its answer, where what is at hand had been put aside for it: that begins anew, and would ask the same
// again and again. Its next ask has failed instead.
func (s *partitionState) sour(c *careful, err error) {
	if c.rec.B == nil {
		return
	}
	a := s.agents[c.agent].agent
	if ask := kafka.AskOf(c.rec.B, c.rec.I, s.plan.Name, a.Name); ask != nil && ask.By != "" {
		if s.soured == nil {
			s.soured = map[string]error{}
		}
		s.soured[ask.By] = err
	}
}

// isAside keeps what the agent says of a turn that was put aside, until nothing else is at hand.
func (s *partitionState) isAside(agent int, m partitionMessage) bool {
	c := s.careful
	if c == nil || agent < 0 || c.asideOf(agent) < 0 {
		return false
	}
	if _, incarnation, says := saidBy(m); !says || incarnation != s.agents[agent].incarnation {
		return false
	}
	c.kept = append(c.kept, m)
	return true
}

// takeUp goes on with what was put aside, once its agent is through with it and nothing else is at hand.
func (s *partitionState) takeUp() {
	for c := s.careful; c != nil && len(c.kept) > 0 && s.phase == running; c = s.careful {
		if s.isAtHand() {
			return
		}
		m := c.kept[0]
		c.kept = c.kept[1:]
		agent, _, _ := saidBy(m)
		if i := c.asideOf(agent); i >= 0 {
			c.take(agent, c.aside[i].rec)
			c.aside = slices.Delete(c.aside, i, i+1)
		}
		s.handle(m)
	}
}

// saidBy says which agent, and which incarnation of it, says in a message what has become of its turns.
func saidBy(m partitionMessage) (agent int, incarnation int64, ok bool) {
	if w, is := m.(Worked); is {
		return w.Agent, w.Incarnation, true
	}
	if f, is := m.(AgentFailed); is {
		return f.Agent, f.Incarnation, true
	}
	return 0, 0, false
}
