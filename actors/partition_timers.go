package actors

import (
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// maxFired is how many timers an agent is given at a time.
const maxFired = 256

// timerSlot is what the partition knows of one of its tables of timers.
type timerSlot struct {
	table  int   // index in the stage
	agent  int   // that is called
	next   int64 // when the first is due, as of the last answer of its shard; tables.NeverDue: none is pending
	alone  bool  // its agent sets timers of the same table: each call may change what comes next
	rivals []int // agents that have nothing under way while this one has

	byEvents bool  // they are due by the time that records have brought, see partition_time.go
	time     int64 // that time
	movers   []int // agents whose records bring it forward
}

// firing is how timers that are due come to their agent, one table at a time: the agents that write what it works with are let finish, and
// are given nothing meanwhile; the shard is asked what is due by then, behind all that it has been sent; and the agent is given that. So on
// until nothing is due any more that was so when it began.
type firing struct {
	slot  *timerSlot
	upTo  int64
	asked int64 // the shard, with this number; 0: not
	given bool  // what it brought is with the agent, or done
	exit  error // the first timer has failed with it, and is not given out; nil: none
}

// findTimers makes the slots of a stage's tables of timers.
func (s *partitionState) findTimers() {
	for i, a := range s.agents {
		t := a.agent.Fires
		if t == nil {
			continue
		}
		x := &timerSlot{agent: i, table: slices.Index(s.stage.Tables, t), next: tables.NeverDue, byEvents: t.ByEvents}
		x.alone = slices.ContainsFunc(a.agent.Writes, func(w *plan.Table) bool { return w == t || w.ByEvents })
		for j, b := range s.agents {
			works := func(w *plan.Table) bool { return w == t || slices.Contains(a.agent.Reads, w) }
			if j != i && slices.ContainsFunc(b.agent.Writes, works) || j != i && b.agent.Fires != nil && works(b.agent.Fires) {
				x.rivals = append(x.rivals, j)
				b.rivals = append(b.rivals, x)
			}
			if b.agent.Moves(t) {
				x.movers = append(x.movers, j)
				b.moves = append(b.moves, x)
			}
		}
		s.durable = append(s.durable, x)
	}
}

// noteMoments notes what a shard has said: when its next entry expires, and when its first timer is due.
func (s *partitionState) noteMoments(table int, expires, due int64) {
	s.tables[table].expires = expires
	for _, x := range s.durable {
		if x.table == table {
			x.next = due
		}
	}
}

// isDue says whether a timer is due whose agent may be given it, as far as is known.
func (s *partitionState) isDue(x *timerSlot) bool {
	return x.next <= s.moment(x) && !s.agents[x.agent].backing && s.halt == nil
}

// slotOf is the slot of the timers that an agent is called for.
func (s *partitionState) slotOf(i int) *timerSlot {
	for _, x := range s.durable {
		if x.agent == i {
			return x
		}
	}
	return nil
}

// firstDue is the slot whose timers come next; nil if none are due.
func (s *partitionState) firstDue() (first *timerSlot) {
	for _, x := range s.durable {
		if s.isDue(x) && !s.leavesOut(x.agent) && s.allows(x.agent, 0) && (first == nil || x.next < first.next) {
			first = x
		}
	}
	return first
}

// fire brings timers that are due to their agents.
func (s *partitionState) fire() {
	if len(s.durable) == 0 {
		return
	}
	if f := s.firing; f != nil && f.slot.byEvents && f.given && len(s.agents[f.slot.agent].works) == 0 {
		s.firing = nil // others may be due before its next
	}
	if !s.isExact() {
		return
	}
	if s.firing == nil {
		x := s.firstDue()
		if s.resting && (x == nil || !x.byEvents) { // they have just been through: records have their turn
			s.resting = false
			return
		}
		if x == nil {
			return
		}
		s.firing = &firing{slot: x, upTo: s.moment(x)}
	}
	f := s.firing
	if f.asked != 0 || len(s.agents[f.slot.agent].works) > 0 {
		return
	}
	if s.flows() || !plant.Is("timers beside the agents that set them") && slices.ContainsFunc(f.slot.rivals, func(j int) bool { return len(s.agents[j].works) > 0 }) {
		return
	}
	s.collect()
}

// collect asks the shard for what is due.
func (s *partitionState) collect() {
	f := s.firing
	a := s.agents[f.slot.agent]
	n := min(maxFired, a.pace)
	if f.slot.alone || a.half || s.careful != nil || f.exit != nil || s.probe != nil && s.probe.span[f.slot.agent].to > 0 {
		n = 1
	}
	f.asked = s.id()
	s.emit(toShard{f.slot.table, Collect{Undo: s.undo, Number: f.asked, UpTo: f.upTo, Limit: n}})
}

// fireCarefully brings one timer that is due to its agent. It says whether it is on its way.
func (s *partitionState) fireCarefully() bool {
	if s.firing != nil && s.firing.asked != 0 {
		return true
	}
	s.firing = nil // what it brought is done
	x := s.firstDue()
	if x == nil {
		return false
	}
	s.firing = &firing{slot: x, upTo: s.moment(x)}
	s.collect()
	return true
}

// waitsForTimer says whether careful mode must wait for an agent that is called for timers: one that it has failed in comes again.
func (s *partitionState) waitsForTimer(i int) bool {
	x := s.slotOf(i)
	return x != nil && !s.leavesOut(i) && x.next <= s.moment(x) && (s.agents[i].backing || !s.allows(i, 0))
}

// onCollected gives the agent what is due.
func (s *partitionState) onCollected(m Collected) {
	f := s.firing
	if f == nil || f.asked == 0 || f.asked != m.Number || m.Undo != s.undo || s.phase != running {
		return
	}
	f.asked = 0
	f.slot.next = m.Next
	i := f.slot.agent
	a := s.agents[i]
	if m.Batch.Len() == 0 || a.backing || s.halt != nil || f.exit == nil && !s.allows(i, 0) {
		s.firing, s.resting = nil, s.careful == nil && !f.slot.byEvents
		return
	}
	rec := plan.Rec{B: m.Batch}
	if c := s.careful; c != nil {
		if c.take(i, rec); s.blamed(a, rec) {
			return
		}
	}
	if f.exit != nil {
		s.firing = nil
		a.incarnation++
		a.failed, a.failedKey, a.attempts = m.Batch.Records[0].Offset, string(m.Batch.Key(0)), s.probe.deaths-1
		s.failRecord(i, rec, a.agent.Policy, recordFailure{step: kafka.StepProcess, err: f.exit}, false)
		return
	}
	w := &given{id: s.id(), records: make([]plan.Rec, m.Batch.Len())}
	for j := range w.records {
		w.records[j] = plan.Rec{B: m.Batch, I: j}
	}
	f.given = true
	a.works, a.records = append(a.works, w), len(w.records)
	s.emit(toAgent{i, Work{Incarnation: a.incarnation, ID: w.id, Records: w.records}})
}

// fired notes that the next n timers of a work have been called. What an agent of timers has done is a count of them.
func (s *partitionState) fired(a *agentSlot, done []plan.Rec) {
	s.dry, s.fill.moved = false, true
	a.done.add(a.done.upTo, a.done.upTo+int64(len(done)))
	if s.probe != nil {
		i := slices.Index(s.agents, a)
		s.probe.noteFired(i, !s.slotOf(i).byEvents) // those come between records, which may be suspect
	}
	if s.careful == nil && a.failed >= 0 && slices.ContainsFunc(done, a.failedIn) || a.failed < 0 && a.attempts > 0 { // carefully, a shard may still fail it: see carefulWhole
		s.succeeded(a)
	} else if a.half {
		a.half = false
	}
}

// failedIn says whether it is a timer in which its agent failed last.
func (a *agentSlot) failedIn(rec plan.Rec) bool {
	return rec.B.Records[rec.I].Offset == a.failed && string(rec.B.Key(rec.I)) == a.failedKey
}

// dropTimer takes a timer away that is given up.
func (s *partitionState) dropTimer(i int, rec plan.Rec) {
	s.agents[i].done.add(s.agents[i].done.upTo, s.agents[i].done.upTo+1)
	if rec.B == nil {
		return
	}
	x := s.slotOf(i)
	ops := s.tables[x.table].table.NewOps()
	ops.Delete(rec.B.Key(rec.I))
	s.apply(x.table, ops)
}

// isHeld says whether an agent must wait while timers are called. What has begun to go through channels ends first.
func (s *partitionState) isHeld(a *agentSlot) bool {
	return s.firing != nil && !s.isFed(a) && (len(a.into) > 0 || slices.Contains(a.rivals, s.firing.slot))
}

// nextTimer is when the next timers are due, for a wake-up; zero: none, or they are being called.
func (s *partitionState) nextTimer() (at time.Time) {
	if s.firing != nil || s.halt != nil {
		return at
	}
	for _, x := range s.durable {
		if x.next == tables.NeverDue || x.byEvents || s.agents[x.agent].backing || s.leavesOut(x.agent) {
			continue
		}
		if due := time.UnixMilli(x.next); (s.now.Before(due) || s.allows(x.agent, 0)) && (at.IsZero() || due.Before(at)) {
			at = due
		}
	}
	return at
}

// isTurn says whether it is the turn of a timer or task, and not one of the timers that come between records.
func (s *partitionState) isTurn(i int, rec plan.Rec) bool {
	x := s.slotOf(i)
	return rec.B == nil || x != nil && !x.byEvents
}

// noteFired notes that a timer has been called. Others that the process before had in hand, or was about to be given, come next; bounded says
// that those are not more than a partition gives out at once.
func (p *probe) noteFired(i int, bounded bool) {
	if p.span[i].to == 0 {
		return
	}
	if p.fired[i]++; bounded && p.fired[i] >= maxFired {
		p.span[i] = offsets{}
		return
	}
	if p.counts.agent == i {
		p.counts = trial{agent: -1}
	}
	if p.level == kafka.FinestLevel || p.level > 0 && bounded && p.fired[i]%narrowLeast == 0 {
		p.open[i] = 0 // at the finest level each has a window of its own
	}
}

// isQuiet says whether no timer of an agent can have been in hand of the process before: none is due, and no record that may set one is
// suspect.
func (s *partitionState) isQuiet(i int) bool {
	x := s.slotOf(i)
	if x == nil || s.isDue(x) || s.agents[i].backing || s.firing != nil || len(s.agents[i].works) > 0 || s.tables[x.table].applied < s.tables[x.table].sent {
		return false
	}
	for j, a := range s.agents {
		if a.source >= 0 && s.probe.span[j].to > 0 {
			return false
		}
	}
	return true
}
