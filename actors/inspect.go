package actors

import (
	"fmt"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/status"
)

// What those who look ask a partition; it answers at once, since no code of the user's runs in its actor but a policy's Decide.
type (
	// partitionQuery asks for a status.Partition; lags are not in it.
	partitionQuery struct{}
	// partitionTree asks for a status.Tree.
	partitionTree struct{}
	// resumeQuery asks to go on after a stop. It is answered with true if there was one.
	resumeQuery struct{}
	// digestQuery asks the shard of a table for a status.Digest.
	digestQuery struct{ table string }
)

// inspect says what the partition is about.
func (p *partitionActor) inspect() status.Partition {
	s, now := p.state, p.site.ground.Now()
	st := status.Partition{
		Stage: stageName(s.stage), Partition: s.partition, State: p.stateName(), Since: p.tally.since, Progress: 1, Incarnation: s.grant.Incarnation,
		Lag: -1, EpochBytes: s.fill.bytes, Rates: status.Rates{In: s.rateIn.per(now), Out: s.rateOut.per(now)}, LastErrors: p.tally.last,
	}
	for i := range s.sources {
		st.Queued += s.queued(i)
	}
	for i := range s.agents {
		st.Agents = append(st.Agents, p.inspectAgent(i, now))
	}
	for i := range s.tables {
		st.Shards = append(st.Shards, p.inspectShard(i))
	}
	p.explain(&st)
	return st
}

// explain says why a partition is in its state.
func (p *partitionActor) explain(st *status.Partition) {
	switch st.State {
	case status.Stopped:
		h := p.state.halt
		a := p.state.agents[h.agent]
		st.Why, st.Since = fmt.Sprintf("%s %s: %s: %s", roleName(a.agent.Role), a.agent.Name, h.where, errorText(h.why, p.site.values)), h.since
	case status.Retrying:
		for _, a := range st.Agents {
			if a.State == status.Retrying || a.State == heldBack {
				st.Why = whyRetrying(a)
				return
			}
		}
	case status.Restoring:
		var waits []string
		total := 0.0
		for _, x := range st.Shards {
			total += x.Progress
			if x.State == status.Restoring {
				waits = append(waits, x.Table)
			}
		}
		if st.Progress = total / float64(max(len(st.Shards), 1)); len(waits) > 0 {
			st.Why = "table " + strings.Join(waits, ", ")
		}
	case status.Running:
		for i, a := range st.Agents {
			if a.State == throttled {
				st.Why = fmt.Sprintf("%s is throttled to %v, until %s", a.Name, p.state.agents[i].agent.Throttle, a.RetryAt.UTC().Format(time.RFC3339Nano))
				return
			}
		}
	case status.Probing:
		st.Why = p.state.probe.why()
	case status.Undoing:
		if p.state.cause.err != nil {
			st.Why = errorText(p.state.cause.err, p.site.values)
		}
	}
}

// whyRetrying reads "attempt 7: orders/3@18201 in 2.1 s: the gateway is busy": the seventh attempt is next.
func whyRetrying(a status.Agent) string {
	what := a.Record
	if what == "" {
		what = a.Role + " " + a.Name
	}
	why := fmt.Sprintf("attempt %d: %s", a.Attempts+1, what)
	if a.State == heldBack {
		why = a.Name + " is held back, one record is tried: " + what
	}
	if a.RetryIn != "" {
		why += " in " + a.RetryIn
	}
	if a.LastError != "" {
		why += ": " + a.LastError
	}
	return why
}

// throttled is the state of an agent for which records wait that its limit holds back.
const throttled = "throttled"

// heldBack is the state of an agent whose breaker is open or half open.
const heldBack = "held back"

func (p *partitionActor) inspectAgent(i int, now time.Time) status.Agent {
	s, a, t := p.state, p.state.agents[i], p.tally.agents[i]
	x := status.Agent{
		Name: a.agent.Name, Role: roleName(a.agent.Role), Offset: -1, Lag: -1, State: status.Running, Parked: len(a.parked), LastError: t.lastError,
		Incarnation: a.incarnation, Restarts: t.restarts, In: a.in, Out: a.out, Dropped: a.dropped, Failed: t.failed, Retried: t.retried, Skipped: t.skipped, DeadLettered: t.letters,
	}
	switch {
	case s.isFed(a): // what waits for it is in the partition's memory
		x.Channel, x.Lag = s.sources[a.source].name(), s.sources[a.source].position-a.done.upTo
	case a.source >= 0:
		x.Topic, x.Offset = s.sources[a.source].name(), a.committed.upTo
	}
	at, failed := a.retry, a.failed
	x.Attempts = a.attempts
	if a.attempts == 0 && !a.half {
		for _, k := range a.parked { // the one that comes first
			if k.attempts > 0 && (x.Attempts == 0 || k.retry.Before(at)) {
				at, failed, x.Attempts, x.LastError = k.retry, k.offset, k.attempts, errorText(k.why, p.site.values)
			}
		}
	}
	if failed >= 0 && x.Topic != "" {
		x.Record = status.Record(x.Topic, s.partition, failed)
	}
	switch {
	case s.halt != nil && s.halt.agent == i:
		x.State = status.Stopped
	case a.half:
		x.State = heldBack
	case a.isRetrying():
		x.State = status.Retrying
	case s.phase != running:
		x.State = phaseNames[s.phase]
	case !s.throttledUntil(a).IsZero():
		x.State, at = throttled, s.throttledUntil(a)
	}
	if left := at.Sub(now); left > 0 && x.State != status.Running || x.State == throttled {
		x.RetryAt, x.RetryIn = at, seconds(left)
	}
	return x
}

// seconds writes a duration for people: 2.1 s.
func seconds(d time.Duration) string {
	if d < 10*time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func (p *partitionActor) inspectShard(i int) status.Shard {
	t, g := p.state.tables[i], p.gauges[i]
	x := status.Shard{Table: t.table.Name, State: status.Running, Progress: g.progress(), Entries: g.entries.Load(), Bytes: g.bytes.Load(), Out: t.out}
	if !t.ready {
		x.State = status.Restoring
	}
	return x
}

// digest hands a question for a digest on to the shard.
func (p *partitionActor) digest(c actor.Context, q digestQuery) {
	for i, t := range p.state.tables {
		if t.table.Name == q.table {
			c.RequestWithCustomSender(p.shards[i].pid, p.shards[i].address(q), c.Sender())
			return
		}
	}
	c.Respond(status.Digest{Why: "it has no such table"})
}

// tree is the partition's actor with those below it.
func (p *partitionActor) tree() status.Tree {
	g, s := p.site.ground, p.state
	t := p.site.leaf("partition", p.self, status.Name(stageName(s.stage), s.partition))
	t.State, t.Incarnation = p.stateName(), s.grant.Incarnation
	for i, pid := range p.agents {
		a := s.agents[i]
		x := p.site.leaf(roleName(a.agent.Role), pid, a.agent.Name)
		x.State, x.Restarts, x.Incarnation = p.inspectAgent(i, g.Now()).State, p.tally.agents[i].restarts, a.incarnation
		t.Children = append(t.Children, x)
	}
	for i, ref := range p.shards {
		x := p.site.leaf("shard", ref.pid, status.Name(s.tables[i].table.Name, s.partition))
		x.State = p.inspectShard(i).State
		t.Children = append(t.Children, x)
	}
	return t
}

// leaf is an actor without those below it.
func (s *site) leaf(kind string, pid *actor.PID, name string) status.Tree {
	return status.Tree{Name: name, Kind: kind, Mailbox: waiting(s.ground, pid)}
}

// resume goes on after a stop and says whether there was one.
func (p *partitionActor) resume(c actor.Context) {
	if p.state.halt == nil {
		c.Respond(false)
		return
	}
	p.log.Info("partition resumed by an operator", "error", errorText(p.state.halt.why, p.site.values))
	p.clock()
	p.do(c, p.state.step(Resume{}))
	p.tellState()
	c.Respond(true)
}
