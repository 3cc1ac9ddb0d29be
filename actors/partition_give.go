package actors

import (
	"math"
	"slices"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// give hands out records to agents that have room for more, in the order of their timestamps across sources.
func (s *partitionState) give() {
	s.giveChannels()
	if s.phase != running || s.halt != nil {
		return
	}
	if s.careful != nil {
		s.giveCarefully()
	}
	if s.careful != nil || s.beginning { // else it has just ended
		return
	}
	s.giveTurns()
	if s.fill.bytes > maxEpoch {
		s.becomeDry() // an early round empties it
		return
	}
	s.fire()
	s.giveDue()
	for {
		best, first, turn := -1, int64(math.MaxInt64), -1
		if s.ordered {
			turn = s.turnInOrder()
		}
		for i, a := range s.agents {
			if a.agent.InOrder && i != turn || s.isFed(a) || !s.canTake(a) {
				continue
			}
			if ts, ok := s.head(a); ok && ts < first && s.allows(i, s.cursor(a)) {
				best, first = i, ts
			}
		}
		if best < 0 {
			return
		}
		s.giveRun(best, s.horizon(s.agents[best]), workSize)
	}
}

// canTake says whether an agent may be given more records.
func (s *partitionState) canTake(a *agentSlot) bool {
	if a.source < 0 || a.backing || a.records >= a.pace || a.flush != 0 && a.records > 0 {
		return false
	}
	if len(a.works) >= manyWorks && a.pace-a.records < min(workSize, a.pace)/4 {
		return false
	}
	if a.records > 0 && s.isSingle(a) || s.isHeld(a) || !s.isInTime(a) || a.limit.room(s.now, 1) == 0 {
		return false
	}
	// Each may be done before the one before it. One goes in any case: what is done beyond a gap is closed only by what is in the gap, which
	// may be parked, or not given out again since a restart.
	if !a.inOrder() && a.records > 0 && len(a.done.beyond)+a.records >= a.ranges {
		return false
	}
	for _, t := range s.tables {
		if t.sent-t.applied >= maxUnacked {
			return false
		}
	}
	return len(a.into) == 0 || s.room(a) > 0 && (s.isFed(a) || !s.drains())
}

// isSingle says whether an agent is through with what it is given before it is given more.
func (s *partitionState) isSingle(a *agentSlot) bool { return a.half || a.suspects > 0 }

// head returns the timestamp of an agent's next record. On the way it passes what is done already and batches without
// records.
func (s *partitionState) head(a *agentSlot) (int64, bool) {
	q := s.sources[a.source]
	for a.batch-q.first < int64(len(q.batches)) {
		b := q.batches[a.batch-q.first]
		for a.record < len(b.Records) && a.done.has(b.Records[a.record].Offset) {
			s.close(a, b.Records[a.record].Offset)
			a.record++
		}
		if b.HasRedriven() && a.record < len(b.Records) && s.isForeign(a, b, a.record) {
			if !s.isOrphan(a, b, a.record) {
				s.passOver(a, b)
				continue
			}
			return b.Time(a.record), len(a.works) == 0 // its letter goes with all before it, or behind
		}
		if len(a.parked) > 0 && a.record < len(b.Records) {
			held, full := a.holds(b, a.record)
			if full {
				return 0, false
			}
			if held {
				s.close(a, b.Records[a.record].Offset)
				a.record++
				continue
			}
		}
		if a.record < len(b.Records) {
			return b.Time(a.record), true
		}
		s.close(a, b.Next)
		a.batch, a.record = a.batch+1, 0
	}
	return 0, false
}

// behind is the offset behind which no record lies before an agent's cursor: what is between it and the next record is gone,
// or was none.
func (s *partitionState) behind(a *agentSlot) int64 {
	q := s.sources[a.source]
	switch at := a.batch - q.first; {
	case a.record > 0:
		return q.batches[at].Records[a.record-1].Offset + 1
	case at > 0:
		return q.batches[at-1].Next
	}
	return max(a.done.upTo, 0)
}

// close marks as done what lies between an agent's cursor and an offset that it is about to pass.
func (s *partitionState) close(a *agentSlot, to int64) {
	if a.done.add(s.behind(a), to) {
		s.fill.moved = true
	}
}

// horizon is the timestamp up to which an agent may be given records before another one's turn comes.
func (s *partitionState) horizon(of *agentSlot) int64 {
	least := int64(math.MaxInt64)
	if len(s.stage.Sources) == 1 && !s.ordered && len(of.moves) == 0 {
		return least
	}
	for _, a := range s.agents {
		if a.source >= 0 && !s.isFed(a) && !a.backing && a.limit.room(s.now, 1) > 0 && (a.source != of.source || a != of && (a.agent.InOrder && of.agent.InOrder || a.sharesTime(of))) {
			if ts, ok := s.head(a); ok {
				least = min(least, ts)
			}
		}
	}
	return least
}

// giveRun gives an agent a run of up to limit records of one batch, none of them beyond the horizon but the first.
func (s *partitionState) giveRun(i int, horizon int64, limit int) {
	a := s.agents[i]
	q := s.sources[a.source]
	b := q.batches[a.batch-q.first]
	switch {
	case a.half, len(a.moves) > 0 && a.agent.Raw != nil: // the latter are through with them in any order
		limit = 1
	case a.suspects > 0: // half of them: the one at fault is in it, or in the other
		limit = min(limit, a.suspects/2)
	}
	if b.HasRedriven() && s.isOrphan(a, b, a.record) {
		s.giveUpOrphan(i, plan.Rec{B: b, I: a.record})
		return
	}
	limit = max(1, min(a.limit.room(s.now, limit), a.pace-a.records))
	if len(a.into) > 0 || s.isFed(a) {
		limit = min(limit, s.atOnce(a))
	}
	if a.lanes > 1 {
		limit = max(1, min(limit, a.ranges-len(a.done.beyond)-a.records))
	}
	// What lies between two records is done with the second.
	w := &given{id: s.id(), start: min(s.behind(a), b.Records[a.record].Offset)}
	n := min(limit, len(b.Records)-a.record)
	w.records = make([]plan.Rec, 0, n)
	for ; n > 0; n-- {
		r := b.Records[a.record]
		if len(w.records) > 0 && (b.Time(a.record) > horizon || !s.allows(i, r.Offset) || len(a.done.beyond) > 0 && a.done.has(r.Offset) || len(a.parked) > 0 && (a.parkedAt(r.Offset) >= 0 || a.keyWaits(b, a.record)) || b.HasRedriven() && s.isForeign(a, b, a.record)) {
			break
		}
		w.records = append(w.records, plan.Rec{B: b, I: a.record})
		a.record++
		if a.makesDue(b.Time(a.record - 1)) {
			break
		}
	}
	a.limit.took(s.now, len(w.records))
	if a.record < len(b.Records) {
		w.end = b.Records[a.record].Offset
	} else {
		w.end = b.Next
		a.batch, a.record = a.batch+1, 0
	}
	if a.lanes > 1 {
		s.giveLanes(i, w)
		return
	}
	a.works, a.records = append(a.works, w), a.records+len(w.records)
	s.emit(toAgent{i, Work{Incarnation: a.incarnation, ID: w.id, Records: w.records, Hurry: s.hurries(a), Time: a.time()}})
}

// hurries says whether an agent that gathers a batch would wait in vain: no others come before it is through with what it is given, or
// a seal waits for it.
func (s *partitionState) hurries(a *agentSlot) bool {
	return s.careful != nil || s.isSingle(a) || len(a.moves) > 0 || s.probe != nil && s.probe.level > 0 || s.isFed(a) && (s.drains() || s.phase == stopping)
}

// giveTurns gives timers that are due and tasks their turns.
func (s *partitionState) giveTurns() {
	for i := range s.agents {
		if s.mayTurn(i) {
			s.giveTurn(i)
		}
	}
}

// mayTurn says whether a timer is due, or a task is to begin, and may.
func (s *partitionState) mayTurn(i int) bool {
	a := s.agents[i]
	if a.source >= 0 || a.backing || len(a.works) > 0 || !s.allows(i, 0) {
		return false
	}
	if a.agent.Role == plan.Task {
		return !a.ran && a.done.upTo == 0
	}
	return a.agent.Role == plan.Timer && !s.now.Before(a.due)
}

// giveTurn gives a timer or a task its turn.
func (s *partitionState) giveTurn(i int) plan.Rec {
	a, at, missed := s.agents[i], s.now, 0
	if a.agent.Role == plan.Task {
		a.ran = true
	} else {
		at, missed = a.agent.Latest(a.due, s.now) // what was missed is one turn
	}
	w := &given{id: s.id(), records: []plan.Rec{{Time: &at, I: missed}}, at: at}
	a.works, a.records = append(a.works, w), 1
	s.emit(toAgent{i, Work{Incarnation: a.incarnation, ID: w.id, Records: w.records}})
	return w.records[0]
}

func (s *partitionState) id() int64 {
	s.nextID++
	return s.nextID
}

// onWorked takes over what an agent has done.
func (s *partitionState) onWorked(m Worked) {
	a := s.agents[m.Agent]
	if a.incarnation != m.Incarnation && !plant.Is("late effects are accepted") || s.phase == undoing || s.phase == gone {
		return // it began before an undo or a restart: what it did is refused
	}
	before := a.in
	for _, id := range m.Prior {
		s.through(a, id, math.MaxInt)
	}
	s.through(a, m.Work, m.Done)
	for _, i := range m.Set {
		s.throughOne(a, m.Work, i)
	}
	if m.Back {
		s.takeBack(a, m.Work)
	}
	s.fill.add(m.Out)
	if m.Out != nil && m.Out.Len() > 0 {
		a.out += int64(m.Out.Len())
		s.rateOut.add(m.Out.Len(), s.now)
	}
	a.dropped += m.Dropped
	s.pour(a, m.Sent, int(a.in-before)+len(m.Set))
	if s.isFed(a) {
		s.trimChannel(a.source)
	}
	for _, x := range m.Ops {
		s.apply(x.Table, x.Ops)
	}
	if m.Round != 0 && m.Round == a.flush {
		if a.answers--; a.answers == 0 {
			a.flush = 0
			s.onFlushed()
		}
	}
	if s.careful != nil {
		s.maybeSealCarefully()
	}
}

// apply sends operations to a shard.
func (s *partitionState) apply(table int, ops tables.Ops) {
	t := s.tables[table]
	t.sent++
	s.touch(table)
	epoch := s.epoch
	if plant.Is("seal overtakes an operation") && s.seal == nil {
		epoch = max(1, epoch-1)
	}
	if t.table.TTL != nil && t.table.TTL.Wall {
		ops.Tick(s.now.UnixMilli())
	}
	s.emit(toShard{table, Apply{s.undo, t.sent, epoch, ops}})
}

// through notes that the first n records of a work are done.
func (s *partitionState) through(a *agentSlot, id int64, n int) {
	for i, w := range a.works {
		if w.id != id {
			continue
		}
		n = min(n, len(w.records))
		if n > w.done {
			a.suspects = max(0, a.suspects-(n-w.done))
			a.in += int64(n - w.done)
			s.rateIn.add(n-w.done, s.now)
			a.records -= n - w.done
			was := w.done
			if w.done = n; a.agent.Fires != nil {
				s.fired(a, w.records[was:n])
			} else {
				s.advance(a, w, was)
			}
		}
		if n == len(w.records) {
			if i == 0 { // most often
				a.works = a.works[1:]
			} else {
				a.works = append(a.works[:i:i], a.works[i+1:]...)
			}
			a.pace = min(2*a.pace, maxGiven)
		}
		return
	}
}

// advance notes that a work is done so far, after it was so up to the record of that number.
func (s *partitionState) advance(a *agentSlot, w *given, was int) {
	s.dry = false
	if a.source < 0 {
		if a.agent.Role == plan.Timer {
			s.fill.fired(a.agent.Name, w.at.UnixMilli())
			a.due = a.agent.Next(w.at)
		} else { // a task has ended: once is enough, unless this is rolled back
			a.done.add(0, 1)
		}
		if s.probe != nil {
			s.probe.noteTried(slices.Index(s.agents, a), -1)
		}
		if !a.refused { // else the broker has the last word
			s.succeeded(a)
		}
		return
	}
	done := offsets{w.start, w.end}
	if w.done < len(w.records) {
		r := w.records[w.done]
		done.to = r.B.Records[r.I].Offset
	}
	if w.spans == nil && a.done.add(done.from, done.to) {
		s.fill.moved = true
	}
	for _, x := range a.moves {
		x.moveTo(w.records[was:w.done])
	}
	for _, x := range w.spans[min(was, len(w.spans)):min(w.done, len(w.spans))] {
		if a.done.add(x.from, x.to) {
			s.fill.moved = true
		}
	}
	if s.careful == nil && a.failed >= 0 && a.done.has(a.failed) || a.failed < 0 && a.attempts > 0 { // carefully, a shard may still fail it: see carefulWhole
		s.succeeded(a)
	} else if a.half {
		a.half = false
	}
}

// throughOne notes that record i of a work is done, though not all before it are.
func (s *partitionState) throughOne(a *agentSlot, id int64, i int) {
	for _, w := range a.works {
		if w.id != id || i < w.done {
			continue
		}
		r := w.records[i]
		from, to := r.B.Records[r.I].Offset, w.end
		if i+1 < len(w.records) {
			next := w.records[i+1]
			to = next.B.Records[next.I].Offset
		}
		if a.done.add(from, to) {
			s.fill.moved, s.dry = true, false
		}
		return
	}
}

// maybeDry tells the committer that all is done that there was to do, so that it need not wait for the next interval.
func (s *partitionState) maybeDry() {
	if s.phase != running || s.dry || !s.fill.moved && !s.whole.moved || s.seal != nil || s.offer != nil || s.careful != nil || !s.isIdle() {
		return
	}
	s.becomeDry()
}

// isIdle says whether agents have done all that there was to do.
func (s *partitionState) isIdle() bool {
	for _, a := range s.agents {
		if len(a.works) > 0 && a.agent.Role != plan.Task {
			return false
		}
		if a.source >= 0 && a.batch-s.sources[a.source].first < int64(len(s.sources[a.source].batches)) && s.throttledUntil(a).IsZero() {
			return false
		}
	}
	return true
}

func (s *partitionState) becomeDry() {
	if !s.dry {
		s.dry = true
		s.emit(toCommitter{Dry{s.grant.Slot, s.grant.Incarnation}})
	}
}
