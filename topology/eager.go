package topology

import (
	"errors"
	"fmt"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Eager lets an agent made by Answer answer as soon as its handler has returned, before what the handler has done is committed: that saves those who ask the wait
// for the commit, some 100 ms by default. The answer is sent beside the transaction, and again in it: who asks takes the first of the two.
//
// So an answer may be seen whose effects come to nothing: if the process dies before the commit, if the broker refuses it, or if a function inside a table (Update) fails
// behind it, the record is handled again, and what it does then, its answer too, may be another. Effects are exactly once all the same; it is what the asker
// has seen that may never have been. This is for agents that only read, and for requests that may be made twice. What is given up is answered with the commit only.
//
// A handler may ask an eager agent of its own partition, through a client (Ask), and waits for it in its turn, where the one does not need the other to be through first. ErrOwnPartition
// says why it cannot: the agent that is asked is the asker itself, or waits for it in turn; both read the same topic, whose records behind the asker's may not have come yet;
// they take turns, since they share tables that are joined; the asker reads a channel, is called for durable timers, sets them or brings their
// time forward, is an actor of the user's own, or the ask is made by a function that runs inside a table or beside the agent's turns (MapAsync). The request of a handler that is called again is a further request.
func Eager() AgentOption { return func(a *agentDef) { a.eager = true } }

// checkEager finds agents that are to answer early, and answer nobody.
func (t *Topology) checkEager() (faults []error) {
	for _, a := range t.agents {
		if a.eager && a.reply == nil {
			faults = append(faults, fmt.Errorf("%s %s is declared Eager, and answers nobody: define it with topology.Answer, or leave Eager out", roleOf(a), a.name))
		}
	}
	return faults
}

// early is where the answer to an ask goes at once; nil: it waits for the commit. A continuation is told exactly once.
func (r *AgentRef[K, V, R]) early(e *plan.Effects, ask *kafka.Ask) *kafka.Outputs {
	if !r.agent.eager || ask.To != "" {
		return nil
	}
	if e.Early == nil {
		e.Early = new(kafka.Outputs)
	}
	return e.Early
}

// waitWithin says that a handler waits for this agent, of its own partition, until over is called. The error, an ErrOwnPartition unless the handler is to
// end, says why it must not.
func (r *AgentRef[K, V, R]) waitWithin(turn turnOf, rq *plan.Request) (over func(), err error) {
	s := turn.scope
	in, can := s.in.(plan.Waiter)
	why := ""
	switch {
	case !r.agent.eager:
		return nil, fmt.Errorf("%s %s asks agent %s: %w", roleOf(s.agent), s.agent.name, r.agent.name, ErrOwnPartition)
	case s.shard:
		why = "a function inside a table asks, and the table would wait"
	case turn.beside:
		why = "a function of MapAsync asks: ask in a handler"
	case !can:
		why = "an actor of your own asks"
	}
	if why != "" {
		err = fmt.Errorf("%w: %s", ErrOwnPartition, why)
	} else {
		rq.By = atHand(s)
		over, err = in.WaitFor(rq.Agent, rq.By)
	}
	if err == nil {
		return over, nil
	}
	if no, ok := errors.AsType[*plan.CannotWaitError](err); ok {
		err = fmt.Errorf("%w: %w", ErrOwnPartition, no)
	}
	return nil, fmt.Errorf("%s %s asks agent %s: %w", roleOf(s.agent), s.agent.name, r.agent.name, err)
}
