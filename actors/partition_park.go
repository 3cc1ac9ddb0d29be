package actors

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// parked is a record that waits while others of its agent go on: for its next attempt, or, of the same key, behind one that does.
type parked struct {
	rec      plan.Rec
	offset   int64
	attempts int       // failures of it
	retry    time.Time // not before
	given    bool      // it is with the agent
	held     bool      // it has failed in an outage, which counts for no record
	why      error     // its last failure; nil: it waits behind another
}

// maxRanges is how many ranges of done offsets beyond the first gap the metadata of a committed offset has room for, for each of the
// agents of a source: one at least, or there is no such plan.
func maxRanges(stage *plan.Stage, source int) int {
	if source < 0 || source >= len(stage.Sources) {
		return 1
	}
	agents, room := stage.Metadata(source)
	return max(room/kafka.RangeSize/max(len(agents), 1), 1)
}

// checkRoom refuses progress that does not fit into the metadata of offsets any more: what the agents had done out of order before others were
// added to the topology.
func (s *partitionState) checkRoom() error {
	for i, p := range s.positions(s.snapshot(), nil, nil) {
		meta, err := kafka.ParseMeta(p.Metadata)
		if err != nil {
			return err
		}
		_, room := s.stage.Metadata(i)
		most, ranges := "", 0
		for name, a := range meta.Agents {
			for _, x := range a.Beyond {
				room -= len(strconv.FormatInt(x, 10)) + 1
			}
			if len(a.Beyond)/2 > ranges || ranges == 0 {
				most, ranges = name, len(a.Beyond)/2
			}
		}
		if room < 0 {
			return fmt.Errorf("topic %s/%d: %w (%d characters): agent %s has done %d ranges of records beyond others that wait, and the topology names more agents or timers now; "+
				"run it as it was until `node status` shows no record that waits for its next attempt, then add them, or add them with topology.StartAt(topology.Latest)",
				p.Topic, p.Partition, kafka.ErrMetadata, kafka.MaxMetadata, most, ranges)
		}
	}
	return nil
}

// mayPark says whether a record that has failed may wait by itself.
func (s *partitionState) mayPark(a *agentSlot, rec plan.Rec, policy *plan.Policy) bool {
	return policy.KeyOrder && rec.B != nil && a.source >= 0 && (len(a.parked) < a.ranges || a.parkedAt(rec.B.Records[rec.I].Offset) >= 0)
}

// park lets a record wait, in the order of offsets.
func (a *agentSlot) park(p parked) {
	i, found := a.searchParked(p.offset)
	if found {
		a.parked[i] = p
		return
	}
	a.parked = slices.Insert(a.parked, i, p)
}

func (a *agentSlot) searchParked(offset int64) (int, bool) {
	return slices.BinarySearchFunc(a.parked, offset, func(p parked, at int64) int {
		switch {
		case p.offset < at:
			return -1
		case p.offset > at:
			return 1
		}
		return 0
	})
}

// parkedAt is the index of a parked record; -1: it is not.
func (a *agentSlot) parkedAt(offset int64) int {
	if i, ok := a.searchParked(offset); ok {
		return i
	}
	return -1
}

// holds says whether the record at an agent's cursor waits: it is parked, or must wait behind one of its key, and is parked now.
// full says that it must wait, but that there is no room: the agent stops before it.
func (a *agentSlot) holds(b *kafka.Batch, i int) (held, full bool) {
	offset := b.Records[i].Offset
	if a.parkedAt(offset) >= 0 {
		return true, false
	}
	if !a.keyWaits(b, i) {
		return false, false
	}
	if len(a.parked) >= a.ranges {
		return false, true
	}
	a.park(parked{rec: plan.Rec{B: b, I: i}, offset: offset})
	return true, false
}

// keyWaits says whether a record has the key of a parked one.
func (a *agentSlot) keyWaits(b *kafka.Batch, i int) bool {
	key := b.Key(i)
	return slices.ContainsFunc(a.parked, func(p parked) bool { return string(p.rec.B.Key(p.rec.I)) == string(key) })
}

// dueParked is the index of the parked record whose turn has come: the first of its key, and its pause is over. -1: none.
func (s *partitionState) dueParked(a *agentSlot) int {
	for i, p := range a.parked {
		if p.given || p.retry.After(s.now) || a.waitsBehind(i) {
			continue
		}
		return i
	}
	return -1
}

// waitsBehind says whether a parked record waits for an earlier one of its key.
func (a *agentSlot) waitsBehind(i int) bool {
	key := a.parked[i].rec.B.Key(a.parked[i].rec.I)
	return slices.ContainsFunc(a.parked[:i], func(p parked) bool { return string(p.rec.B.Key(p.rec.I)) == string(key) })
}

// giveParked gives an agent a parked record alone.
func (s *partitionState) giveParked(i, at int) {
	a := s.agents[i]
	p := &a.parked[at]
	p.given = true
	a.limit.took(s.now, 1)
	w := &given{id: s.id(), records: []plan.Rec{p.rec}, start: p.offset, end: p.offset + 1}
	lane := 0
	if a.lanes > 1 {
		lane = laneOf(p.rec, a.lanes)
	}
	a.works, a.records = append(a.works, w), a.records+1
	s.emit(toAgent{i, Work{Incarnation: a.incarnation, ID: w.id, Lane: lane, Records: w.records, Hurry: s.hurries(a)}})
}

// giveDue gives out the parked records whose turn has come.
func (s *partitionState) giveDue() {
	for i, a := range s.agents {
		for len(a.parked) > 0 && s.canTake(a) {
			at := s.dueParked(a)
			if at < 0 || !s.allows(i, a.parked[at].offset) {
				break
			}
			s.giveParked(i, at)
		}
	}
}

// unpark forgets the parked records that are done for good: neither a shard nor the broker can fail them any more. Those of their keys
// come next.
func (s *partitionState) unpark(a *agentSlot) {
	a.parked = slices.DeleteFunc(a.parked, func(p parked) bool {
		if !a.committed.has(p.offset) {
			return false
		}
		if p.attempts > 0 || p.held {
			s.emit(recovered{a.agent.Name, s.sources[a.source].name(), p.offset, p.attempts + 1})
		}
		return true
	})
}

// keepOrder forgets, after a rollback, the parked records before which there are others of their key now: they come in their order,
// and those that fail count anew.
func (s *partitionState) keepOrder(a *agentSlot) {
	if len(a.parked) == 0 {
		return
	}
	last := a.parked[len(a.parked)-1].offset
	undone := map[string]int64{} // the first record of each key that is to be done again
	for _, b := range s.sources[a.source].batches {
		if b.Next <= a.done.upTo {
			continue
		}
		for i, r := range b.Records {
			if r.Offset > last {
				break
			}
			if a.done.has(r.Offset) || a.parkedAt(r.Offset) >= 0 {
				continue
			}
			if _, ok := undone[string(b.Key(i))]; !ok {
				undone[string(b.Key(i))] = r.Offset
			}
		}
	}
	a.parked = slices.DeleteFunc(a.parked, func(p parked) bool {
		first, ok := undone[string(p.rec.B.Key(p.rec.I))]
		return ok && first < p.offset
	})
}

// nextParked is when a parked record becomes due that is not yet; zero: none does.
func (a *agentSlot) nextParked(now time.Time) (at time.Time) {
	for _, p := range a.parked {
		if !p.given && p.retry.After(now) && (at.IsZero() || p.retry.Before(at)) {
			at = p.retry
		}
	}
	return at
}
