package actors

import (
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/topology/plan"
)

// keptFailures is how many failures a partition, and the node, remember for those who look.
const keptFailures = 10

// tally counts what happens in a partition, for those who look. It belongs to the partition's actor.
type tally struct {
	agents []agentTally
	tables []tableTally
	last   failures
	state  string // as of the last change that was told
	since  time.Time
}

// agentTally counts the failures of an agent. in and out are what its meter has been told of.
type agentTally struct {
	failed, retried, skipped, letters, restarts int64
	in, out, dropped                            int64
	lastError                                   string
}

type tableTally struct{ out, journaled int64 }

// failures are the last ones, newest first.
type failures []status.Failure

func (f *failures) add(x status.Failure) {
	*f = append(failures{x}, (*f)[:min(len(*f), keptFailures-1)]...)
}

// publish counts up the node's meters by what the partition has done since the last time.
func (p *partitionActor) publish() {
	for i, a := range p.state.agents {
		t := &p.tally.agents[i]
		if t.in == a.in && t.out == a.out && t.dropped == a.dropped {
			continue
		}
		m := p.site.meters.byAgent[a.agent]
		m.in.Add(a.in - t.in)
		m.out.Add(a.out - t.out)
		m.dropped.Add(a.dropped - t.dropped)
		t.in, t.out, t.dropped = a.in, a.out, a.dropped
	}
	for i, x := range p.state.tables {
		t := &p.tally.tables[i]
		if t.out == x.out && t.journaled == x.journaled {
			continue
		}
		m := p.site.meters.byTable[x.table]
		m.out.Add(x.out - t.out)
		m.journaled.Add(x.journaled - t.journaled)
		t.out, t.journaled = x.out, x.journaled
	}
}

// count counts a failure.
func (p *partitionActor) count(f recordFailure) {
	now := p.site.ground.Now()
	x := status.Failure{Time: now, Agent: f.agent, Attempts: f.attempts, Decision: f.decision.String(), Error: errorText(f.err, p.site.values)}
	if f.offset >= 0 {
		x.Record = status.Record(f.topic, p.state.partition, f.offset)
	}
	p.tally.last.add(x)
	for i, a := range p.state.agents {
		if a.agent.Name != f.agent {
			continue
		}
		t, m := &p.tally.agents[i], p.site.meters.byAgent[a.agent]
		t.failed, t.lastError = t.failed+1, x.Error
		m.failed.Add(1)
		switch f.decision {
		case plan.DeadLetter:
			t.letters++
			m.deadLetters.Add(1)
			p.site.hooks.tell(DeadLetter{now, p.site.plan.Name, stageName(p.state.stage), p.state.partition, f.agent, f.topic, f.offset, f.attempts, f.err})
		case plan.Skip:
			t.skipped++
			m.skipped.Add(1)
		case plan.ByPolicy, plan.Retry:
			t.retried++
			m.retried.Add(1)
		case plan.StopPartition, plan.StopNode:
		}
	}
}

// countRestart counts the restart of an agent's actor.
func (p *partitionActor) countRestart(i int, reason any) {
	a := p.state.agents[i].agent
	t := &p.tally.agents[i]
	t.restarts++
	p.site.meters.byAgent[a].restarts.Add(1)
	err, ok := reason.(error)
	if !ok {
		err = fmt.Errorf("%v", reason)
	}
	p.site.hooks.tell(Restart{p.site.ground.Now(), p.site.plan.Name, stageName(p.state.stage), p.state.partition, a.Name, t.restarts, err})
}

// tellState tells of a change of the partition's state, if there is one.
func (p *partitionActor) tellState() {
	state := p.stateName()
	if state == p.tally.state {
		return
	}
	now, why := p.site.ground.Now(), ""
	if p.state.halt != nil {
		why = errorText(p.state.halt.why, p.site.values)
	}
	p.site.hooks.tell(StateChange{now, p.site.plan.Name, stageName(p.state.stage), p.state.partition, p.tally.state, state, why})
	p.tally.state, p.tally.since = state, now
}

// stateName is the partition's state in a word.
func (p *partitionActor) stateName() string {
	s := p.state
	switch {
	case s.halt != nil:
		return status.Stopped
	case s.phase == running && s.probe != nil && s.probe.level > 0:
		return status.Probing
	case s.phase == running:
		for _, a := range s.agents {
			if a.isRetrying() {
				return status.Retrying
			}
		}
		return status.Running
	}
	return phaseNames[s.phase]
}

var phaseNames = [...]string{restoring: status.Restoring, running: status.Running, undoing: status.Undoing, stopping: status.Stopping, finishing: status.Stopping, gone: "gone"}

// isRetrying says whether something that has failed is still to be done.
func (a *agentSlot) isRetrying() bool {
	if a.half || a.attempts > 0 {
		return true
	}
	for _, p := range a.parked {
		if p.attempts > 0 {
			return true
		}
	}
	return false
}

// stageName is how those who look know a stage: by its sources. That of slot 0, which every topology has, reads nothing.
func stageName(st *plan.Stage) string {
	if st.Key == "" {
		return status.Leader
	}
	return st.Key
}
