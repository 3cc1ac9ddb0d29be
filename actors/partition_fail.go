package actors

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// errUndone ends a query whose handler has seen values that are gone.
var errUndone = errors.New("the partition has been rolled back meanwhile; the record runs again")

// careful is how a partition goes on after a function inside a shard failed, or the broker refused a bundle: one record at
// a time, each an epoch of its own, until it is past all that was given out then.
type careful struct {
	until      []int64 // by agent
	turns      []bool  // by agent: a timer, or a task that has ended, whose turn was dropped and may be why
	commitEach bool    // the broker refused something: each record is committed alone
	agent      int     // whose record is at hand; -1: none
	rec        plan.Rec
	finished   bool               // the agent is through with it
	buried     bool               // its bundle is its dead letter, or the answer that it was given up
	sealed     bool               // and it is whole
	aside      []atHand           // what was at hand before it, and waits for it
	kept       []partitionMessage // what agents have said since that those are of
}

// take has a record at hand, or a turn.
func (c *careful) take(agent int, rec plan.Rec) {
	c.agent, c.rec, c.finished, c.sealed, c.buried = agent, rec, false, false, false
}

// leavesOut says whether careful mode, if it is on, gives an agent nothing: it is past what had been given out, or has no turn to repeat.
func (s *partitionState) leavesOut(i int) bool {
	c, a := s.careful, s.agents[i]
	switch {
	case c == nil:
		return false
	case a.agent.Fires != nil: // in event time no record comes before what is due
		return !s.slotOf(i).byEvents && a.done.upTo >= c.until[i]
	case a.source < 0:
		return !c.turns[i]
	case s.isFed(a): // it is given what belongs to the record at hand, whatever it is
		return true
	case len(c.aside) > 0 || s.pauses(): // what is waited for, here or elsewhere, may be behind all that had been given out
		return false
	}
	return s.behind(a) >= c.until[i]
}

// pauses says whether an agent has failed in its record, or before it, and waits for the next attempt: that may need what other agents of this partition
// have not been given yet, as an answer of another partition does whose records wait for one of this.
func (s *partitionState) pauses() bool {
	return slices.ContainsFunc(s.agents, func(a *agentSlot) bool { return a.backing })
}

// isAtHand says whether something is at hand in careful mode, or is to be sealed or committed before anything else is.
func (s *partitionState) isAtHand() bool {
	c := s.careful
	return c.agent >= 0 || s.seal != nil || c.commitEach && (s.offer != nil || s.whole.moved)
}

// giveCarefully gives out one record, if none is at hand.
func (s *partitionState) giveCarefully() {
	c := s.careful
	s.putAside()
	if s.isAtHand() || s.fireCarefully() {
		return
	}
	waiting, turn := false, -1
	if s.ordered {
		turn = s.turnInOrder()
	}
	for i, a := range s.agents {
		if c.asideOf(i) >= 0 {
			waiting = true
			continue
		}
		if a.agent.Fires != nil {
			waiting = waiting || s.waitsForTimer(i)
			continue
		}
		if a.agent.InOrder && i != turn && turn >= 0 {
			continue // another's record is older
		}
		if a.source < 0 {
			if !s.leavesOut(i) && s.mayTurn(i) {
				c.take(i, s.giveTurn(i))
				return
			}
			continue
		}
		if s.isFed(a) {
			continue
		}
		if a.backing || !s.throttledUntil(a).IsZero() {
			waiting = true
			continue
		}
		if at := s.dueParked(a); at >= 0 && s.allows(i, a.parked[at].offset) && s.isInTime(a) {
			c.take(i, a.parked[at].rec)
			s.giveParked(i, at)
			return
		}
		_, ok := s.head(a)
		if s.leavesOut(i) {
			continue
		}
		if !ok { // its record comes when it is read again
			waiting = true
			continue
		}
		q := s.sources[a.source]
		if !s.isInTime(a) {
			waiting = true
			continue
		}
		rec := plan.Rec{B: q.batches[a.batch-q.first], I: a.record}
		if !s.isBlamed(a, rec) && !s.allows(i, s.cursor(a)) {
			waiting = true
			continue
		}
		c.take(i, rec)
		if s.blamed(a, c.rec) {
			return
		}
		s.giveRun(i, 0, 1)
		return
	}
	if !waiting {
		s.endCareful()
	}
}

// endCareful: past all that was given out when it began.
func (s *partitionState) endCareful() {
	s.careful, s.dry, s.blame, s.soured = nil, false, nil, nil
	s.maybeOffer()
}

// maybeSealCarefully seals the record at hand once its agent and all shards are through with it.
func (s *partitionState) maybeSealCarefully() {
	c := s.careful
	if c.agent < 0 || c.sealed || s.seal != nil || len(s.agents[c.agent].works) > 0 || s.flows() || !s.hasApplied() {
		return
	}
	c.sealed = true
	s.sealShards()
}

// carefulWhole: the record at hand is whole.
func (s *partitionState) carefulWhole() {
	if c := s.careful; c.agent >= 0 && !c.commitEach { // else the broker may still refuse it
		s.carefulPassed()
	}
}

// carefulPassed: the record at hand can fail no more.
func (s *partitionState) carefulPassed() {
	s.succeeded(s.agents[s.careful.agent])
	s.careful.turns[s.careful.agent] = false
	s.careful.agent = -1
}

// carefulCommitted: the bundle at hand is committed.
func (s *partitionState) carefulCommitted() {
	if c := s.careful; c.agent >= 0 && c.commitEach && c.sealed {
		s.carefulPassed()
	}
}

// onAgentFailed drops the effects of the turn at hand (the agent has not sent them) and, after a backoff, begins a new
// incarnation with the record that failed; or gives the record up.
func (s *partitionState) onAgentFailed(m AgentFailed) {
	a := s.agents[m.Agent]
	if a.incarnation != m.Incarnation || s.phase == undoing || s.phase == gone || s.phase == finishing {
		return
	}
	w := a.find(m.Work)
	a.incarnation++
	if !a.agent.Loop && a.agent.Raw == nil { // those may wait for more records than one, to handle them together
		a.pace = 1
	}
	if a.flush != 0 {
		a.flush = 0
		defer s.onFlushed()
	}
	if w != nil && m.Done < len(w.records) && s.isFed(a) {
		s.failTree(a, m)
		return
	}
	if w == nil || m.Done >= len(w.records) {
		s.failBetween(m)
		return
	}
	rec := w.records[m.Done]
	if m.Turn > 1 { // which of the batch's records is at fault shows by bisection
		a.suspects = m.Turn
	}
	s.seek(a)
	s.failRecord(m.Agent, rec, a.agent.Policy, recordFailure{step: stepOf(m.Err), err: m.Err, stack: m.Stack}, m.Turn > 1)
}

// failBetween takes the failure of an agent that has no record in hand: there is nothing to give up, so it is tried again without end, unless
// its policy says that its partition or the node is to stop.
func (s *partitionState) failBetween(m AgentFailed) {
	a := s.agents[m.Agent]
	if s.halt != nil && s.halt.agent == m.Agent { // it has been begun anew with the others, after a rollback
		s.parkAgent(m.Agent)
		return
	}
	a.failsIn(-1)
	f := recordFailure{agent: a.agent.Name, offset: -1, attempts: a.attempts + 1, step: stepOf(m.Err), err: m.Err, stack: m.Stack}
	d, opens := s.decide(a, plan.Rec{}, a.agent.Policy, &f, false)
	if !opens {
		a.attempts++
	}
	if d == plan.StopPartition || d == plan.StopNode {
		if s.isFed(a) && s.flows() && s.phase == running { // what is in its channel would be waited for
			s.rollBack(s.wholeEpoch, f, nil, false)
			s.culprit = nil // no record is at fault
		}
		f.decision = d
		s.giveUp(m.Agent, plan.Rec{}, f)
	} else {
		f.decision = plan.Retry
		s.backOff(m.Agent, plan.Rec{}, f, a.agent.Policy, opens, false)
	}
	s.seek(a)
	if s.probe != nil && a.source >= 0 && !s.isFed(a) {
		s.noteFailed(m.Agent, s.cursor(a))
	}
}

// failsIn makes a record the one that its agent has failed in last; -1: it had none in hand. Others in which it has failed, and is not
// through with yet, keep their count: several may be in hand at once.
func (a *agentSlot) failsIn(offset int64) {
	if a.failed == offset {
		return
	}
	for at := range a.tried {
		if a.done.has(at) {
			delete(a.tried, at)
		}
	}
	if a.failed >= 0 && a.attempts > 0 && !a.done.has(a.failed) {
		if a.tried == nil {
			a.tried = map[int64]int{}
		}
		a.tried[a.failed] = a.attempts
	}
	a.failed, a.attempts = offset, a.tried[offset]
	delete(a.tried, offset)
}

func (a *agentSlot) find(id int64) *given {
	for _, w := range a.works {
		if w.id == id {
			return w
		}
	}
	return nil
}

// failRecord counts a failure of a record and does what the policy says. ofBatch says that it may not be the one at fault.
func (s *partitionState) failRecord(i int, rec plan.Rec, policy *plan.Policy, f recordFailure, ofBatch bool) {
	a := s.agents[i]
	f.agent, f.offset, f.rec = a.agent.Name, -1, rec
	if rec.B != nil {
		f.topic, f.offset = rec.B.Topic, rec.B.Records[rec.I].Offset
		switch {
		case a.agent.Fires != nil && !a.failedIn(rec):
			a.failed, a.attempts = f.offset, 0
		case a.failed != f.offset:
			a.failsIn(f.offset)
		}
		if a.agent.Fires != nil {
			a.failedKey = string(rec.B.Key(rec.I))
		}
		if at := a.parkedAt(f.offset); at >= 0 {
			a.attempts = a.parked[at].attempts
		}
	}
	if s.probe != nil && !errors.Is(f.err, plan.ErrProcessExit) {
		if s.isTurn(i, rec) {
			s.probe.noteTried(i, -1)
		} else { // a record stays suspect: it may kill at its next attempt
			s.noteFailed(i, f.offset)
		}
	}
	f.attempts = a.attempts + 1
	d, opens := s.decide(a, rec, policy, &f, ofBatch)
	f.decision = d
	if d != plan.Retry {
		a.suspects = 0 // what is left of its batch may be in order
		a.attempts++
		s.giveUp(i, rec, f)
		return
	}
	if !opens && !ofBatch { // else it is not its fault, or another record of its batch is at fault: the batch is bisected now
		a.attempts++
	}
	s.backOff(i, rec, f, policy, opens, ofBatch)
}

// backOff begins a new incarnation of an agent after a while. opens says that its breaker has opened.
func (s *partitionState) backOff(i int, rec plan.Rec, f recordFailure, policy *plan.Policy, opens, ofBatch bool) {
	a := s.agents[i]
	wait := s.pause(policy.Backoff, max(f.attempts, 1))
	if !opens && !ofBatch && s.mayPark(a, rec, policy) {
		a.park(parked{rec: rec, offset: f.offset, attempts: a.attempts, retry: s.now.Add(wait), why: f.err})
		a.failed, a.attempts, wait = -1, 0, 0 // the agent goes on at once, with other keys
	}
	if opens {
		wait, f.paused, f.again = policy.Breaker.Pause, policy.Breaker.Pause, a.half
		a.half = true
		if at := a.parkedAt(f.offset); at >= 0 {
			a.parked[at].held, a.parked[at].why = true, f.err
		}
	}
	a.backing, a.retry = true, s.now.Add(wait)
	if c := s.careful; c != nil && c.agent == i {
		c.agent = -1
	}
	s.emit(report{f})
}

// bury writes a record to the dead letters, in the bundle that passes it. It refuses a record that does not fit their topic.
func (s *partitionState) bury(rec plan.Rec, f recordFailure) error {
	r := rec.B.Records[rec.I]
	letter := kafka.Letter{Failure: kafka.Failure{
		Topic: rec.B.Topic, Partition: rec.B.Partition, Offset: r.Offset, Agent: f.agent, Step: f.step, Attempts: f.attempts,
		Error: f.err.Error(), Stack: f.stack, Node: s.node, Time: s.now, FailedIn: f.failedIn,
	}}
	headers := rec.B.RawHeaders(rec.I)
	size := rec.B.Size(rec.I)
	if again := rec.B.Redriven(rec.I); again != nil {
		rest, _ := kafka.ParseRedrive(headers)
		size -= len(headers) - len(rest)
		headers, letter.History = rest, again.History
	}
	headers, err := letter.Append(slices.Clone(headers), size, int(s.env.MaxBytes[s.letters.ID]))
	if err != nil {
		return fmt.Errorf("topic %s: %w, and start the nodes anew", s.letters.Name, err)
	}
	out := new(kafka.Outputs)
	out.Append(s.letters.ID, s.partition%max(s.env.Partitions[s.letters.ID], 1), r.Timestamp, rec.B.Key(rec.I), rec.B.Value(rec.I), headers)
	s.fill.add(out)
	return nil
}

// refuse answers a request that is given up, in the bundle that passes it. It says whether the record is one.
func (s *partitionState) refuse(a *plan.Agent, rec plan.Rec, f recordFailure) bool {
	if a.Reply == nil {
		return false
	}
	ask := kafka.AskOf(rec.B, rec.I, s.plan.Name, a.Name)
	if ask == nil {
		return false
	}
	to := a.Reply.To(ask)
	if to == nil {
		return false
	}
	out := new(kafka.Outputs)
	kafka.Reply{Agent: a.Name, Failure: &kafka.ReplyFailure{
		Topic: rec.B.Topic, Partition: rec.B.Partition, Offset: rec.B.Records[rec.I].Offset, Step: f.step, Attempts: f.attempts,
		Error: f.err.Error(), Letter: f.decision == plan.DeadLetter,
	}}.Append(out, ask, to.ID, to.Partitioner, s.env.Partitions[to.ID], max(rec.B.Time(rec.I), 0), nil)
	s.fill.add(out)
	return true
}

// onShardFailed rolls the partition back to the last epoch that is whole, and goes on carefully until past what has been
// given out: then it shows which record is at fault.
func (s *partitionState) onShardFailed(m ShardFailed) {
	if m.Lost && s.phase != gone {
		s.giveWay(m)
		return
	}
	if m.Undo != s.undo || s.phase != running && s.phase != stopping {
		return
	}
	if s.phase == stopping {
		s.leaveRest()
		return
	}
	s.rollBack(s.wholeEpoch, recordFailure{step: kafka.StepTable, err: m.Err, stack: m.Stack}, s.tables[m.Table].table.Policy, false)
}

// onRejected: the broker will never take the bundle. The partition goes back to what is committed.
func (s *partitionState) onRejected(err error) {
	if s.phase == stopping {
		s.dropUnsealed()
		s.whole, s.flushed = new(parts), 0
		s.maybeFinish()
		return
	}
	if s.phase != running && s.phase != undoing {
		return
	}
	for _, a := range s.agents {
		a.whole = a.committed.clone()
	}
	s.whole = new(parts)
	s.wholeEpoch = s.committedEpoch
	s.rollBack(s.committedEpoch, recordFailure{step: kafka.StepCommit, err: fmt.Errorf("the broker refuses its effects: %w", err)}, nil, true)
}

// dropUnsealed forgets what is not whole, and what agents still do. What shards have of it is undone as well: else the
// outputs of operations that are on their way would be sealed, without the offsets of their records.
func (s *partitionState) dropUnsealed() {
	s.fill, s.seal, s.careful, s.firing = new(parts), nil, nil, nil
	if !plant.Is("stop in careful mode undoes nothing") {
		s.undo++
		for i, t := range s.tables {
			t.sent, t.applied, t.touched = 0, 0, false
			s.emit(toShard{i, Undo{s.undo, s.wholeEpoch}})
		}
	}
	for _, a := range s.agents {
		a.done = a.whole.clone()
		a.incarnation++
		a.flush = 0
	}
	s.emptyChannels()
}

// rollBack undoes all epochs above the given one. refused says that it is the broker that refused a bundle; policy is that of the
// table whose function failed, or of the agent that failed in a record of a channel; nil: that of the agent whose record it is.
func (s *partitionState) rollBack(epoch int64, cause recordFailure, policy *plan.Policy, refused bool) {
	c := s.careful
	again := &careful{agent: -1, until: make([]int64, len(s.agents)), turns: make([]bool, len(s.agents)), commitEach: refused || c != nil && c.commitEach}
	var culprit *careful
	if c != nil && c.agent >= 0 && (!refused || c.commitEach && c.sealed) { // else what was refused is older than the record at hand
		culprit = c
	}
	given := make([]bool, len(s.agents))
	for i, a := range s.agents {
		given[i] = len(a.works) > 0
		if c != nil {
			again.until[i] = c.until[i]
		}
		again.until[i] = max(again.until[i], s.givenUpTo(a))
	}
	s.fill, s.seal, s.dry, s.firing = new(parts), nil, false, nil
	s.takeTimesBack()
	s.undo++
	s.phase, s.undoWait = undoing, len(s.tables)
	for i, a := range s.agents {
		a.incarnation, a.flush, a.backing = a.incarnation+1, 0, false
		ended := a.done.upTo
		a.done = a.whole.clone()
		s.keepOrder(a)
		s.seek(a)
		again.turns[i] = c != nil && c.turns[i]
		switch a.agent.Role {
		case plan.Timer:
			due := a.due
			a.due = s.dueAgain(a)
			again.turns[i] = again.turns[i] || refused && (given[i] || !a.due.Equal(due))
		case plan.Task: // one that runs still may run for ever: it is not waited for
			again.turns[i] = again.turns[i] || refused && ended > a.done.upTo
		case plan.Processor, plan.OnTimer:
		}
	}
	for i, t := range s.tables {
		if t.applied, t.touched, t.undone = 0, false, false; !plant.Is("blind-2") {
			t.sent = 0
		}
		s.emit(toShard{i, Undo{s.undo, epoch}})
	}
	s.emptyChannels()
	s.careful, s.cause, s.causePolicy, s.culprit = again, cause, policy, culprit
	if s.undoWait == 0 {
		s.undone()
	}
}

// dueAgain is when a timer is due after what was not whole has been dropped, its firing perhaps among it.
func (s *partitionState) dueAgain(a *agentSlot) time.Time {
	kept := []map[string]int64{s.whole.timers, s.timers}
	if s.offer != nil && !plant.Is("blind-7") {
		kept = append(kept, s.offer.timers)
	}
	last := int64(-1)
	for _, fired := range kept {
		if at, ok := fired[a.agent.Name]; ok {
			last = max(last, at)
		}
	}
	if last < 0 {
		return a.first
	}
	return a.agent.Next(time.UnixMilli(last))
}

// givenUpTo is the offset up to which an agent's records have been given out.
func (s *partitionState) givenUpTo(a *agentSlot) int64 {
	if a.agent.Fires != nil { // a count
		return a.done.upTo + int64(a.records)
	}
	if a.source < 0 {
		return 0
	}
	upTo := a.done.upTo
	for _, w := range a.works {
		upTo = max(upTo, w.end)
	}
	for _, r := range a.done.beyond {
		upTo = max(upTo, r.to)
	}
	return upTo
}

func (s *partitionState) onUndone(m Undone) {
	if m.Undo != s.undo || s.phase != undoing || s.tables[m.Table].undone {
		return
	}
	s.tables[m.Table].undone = true
	s.noteMoments(m.Table, m.Expires, m.Due)
	if s.undoWait--; s.undoWait == 0 {
		s.undone()
	}
}

// undone goes on, carefully, with fresh incarnations of all agents.
func (s *partitionState) undone() {
	s.phase = running
	for i, a := range s.agents {
		s.emit(toAgent{i, Begin{a.incarnation}})
	}
	if c := s.culprit; c != nil {
		s.culprit = nil
		s.careful.agent, s.careful.rec = c.agent, c.rec
		policy := s.agents[c.agent].agent.Policy
		if s.causePolicy != nil {
			policy = s.causePolicy
		}
		f := s.cause
		s.sour(c, f.err)
		s.agents[c.agent].refused = f.step == kafka.StepCommit
		if c.buried {
			s.giveUpBuried(c, f)
		} else {
			s.failRecord(c.agent, c.rec, policy, f, false)
		}
	}
	s.maybeOffer()
}

// newOffsetsGone says that a table has a past and its sources have none.
func newOffsetsGone(topology string, t *plan.Table, partition int32) error {
	return fmt.Errorf("table %s/%d: its changelog %s holds records, but the group %s has no committed offsets: they have expired or were deleted, and "+
		"reading the sources again would count them twice; restore the group's offsets, or, to start over, %s",
		t.Name, partition, t.Changelog.Name, topology, kafka.StartOver(topology))
}
