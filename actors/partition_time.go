package actors

import (
	"slices"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Timers in event time are due by the time of their table: the latest timestamp of the records that agents are through with which declare it, its
// movers. They and the movers' records have one order, whatever happens in between: before a mover is given a record, all is called that is due by
// those before. So one mover at a time has something in hand, which ends with the first record by whose time a timer is due that the shard
// knows of; of those that the records set meanwhile the agent knows, and hands back what is behind (worker.handBack). The time is part of the
// epoch: it is committed with the records, beside their offsets, and goes back with them.

// moment is what a table's timers are due by.
func (s *partitionState) moment(x *timerSlot) int64 {
	if x.byEvents {
		return x.time
	}
	return s.now.UnixMilli()
}

// moveTo brings the time forward to that of records that are done.
func (x *timerSlot) moveTo(done []plan.Rec) {
	for _, r := range done {
		x.time = max(x.time, r.Millis())
	}
}

// isExact says whether it is known when the next timers in event time are due: their shards are through with what they have been sent.
func (s *partitionState) isExact() bool {
	return !slices.ContainsFunc(s.durable, func(x *timerSlot) bool {
		t := s.tables[x.table]
		return x.byEvents && t.applied < t.sent
	})
}

// isInTime says whether an agent may be given records, as far as timers in event time go: none of those is due that it brings forward, as all that
// was given out before has set them.
func (s *partitionState) isInTime(a *agentSlot) bool {
	if len(a.moves) == 0 || plant.Is("records overtake timers that are due") {
		return true
	}
	if !s.isExact() {
		return false
	}
	for _, x := range a.moves {
		if x.next <= x.time || s.firing != nil && s.firing.slot == x || len(s.agents[x.agent].works) > 0 {
			return false
		}
		if slices.ContainsFunc(x.movers, func(i int) bool { return len(s.agents[i].works) > 0 }) {
			return false
		}
	}
	return true
}

// makesDue says whether a timer is due by the time of a record of the agent.
func (a *agentSlot) makesDue(at int64) bool {
	return slices.ContainsFunc(a.moves, func(x *timerSlot) bool { return x.next <= at })
}

// sharesTime says whether two agents bring forward the time of the same timers.
func (a *agentSlot) sharesTime(b *agentSlot) bool {
	return slices.ContainsFunc(a.moves, func(x *timerSlot) bool { return slices.Contains(b.moves, x) })
}

// time is the latest that the timers have which an agent brings forward.
func (a *agentSlot) time() (at int64) {
	for _, x := range a.moves {
		at = max(at, x.time)
	}
	return at
}

// takeBack takes over the records that an agent hands back. It has nothing else in hand.
func (s *partitionState) takeBack(a *agentSlot, id int64) {
	if w := a.find(id); w != nil {
		a.limit.gaveBack(len(w.records) - w.done)
		s.seek(a)
	}
}

// tellTimes notes in what a bundle is made of what the times are by now.
func (s *partitionState) tellTimes(p *parts) {
	for _, x := range s.durable {
		if x.byEvents && !plant.Is("time of timers outside the bundle") {
			p.tells(s.tables[x.table].table.Name, x.time)
		}
	}
}

// takeTimesBack puts the times back to where they were when what is whole was.
func (s *partitionState) takeTimesBack() {
	kept := []map[string]int64{s.whole.clocks, s.clocks}
	if s.offer != nil {
		kept = append(kept, s.offer.clocks)
	}
	for _, x := range s.durable {
		if !x.byEvents {
			continue
		}
		x.time = 0
		for _, clocks := range kept {
			x.time = max(x.time, clocks[s.tables[x.table].table.Name])
		}
	}
}
