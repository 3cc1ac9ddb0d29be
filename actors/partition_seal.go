package actors

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// onSealRound begins to seal: first the agents are asked for what they have not reported, then the shards.
func (s *partitionState) onSealRound(m SealRound) {
	s.asked = m.Round
	if s.offer != nil || s.seal != nil || s.sending != nil || s.phase != running || s.careful != nil || s.sends && s.whole.moved { // the last: what is not whole yet is sent before
		s.maybeOffer()
		return
	}
	flushes := 0
	for i, a := range s.agents {
		if len(a.works) > 0 && !a.backing && !s.isFed(a) { // the latter are waited for
			flushes++
			a.flush, a.answers = s.id(), a.lanes
			s.emit(toAgent{i, Flush{Incarnation: a.incarnation, Round: a.flush}})
		}
	}
	if flushes == 0 && !s.fill.moved && !s.whole.moved {
		s.nothing()
		return
	}
	s.seal = &sealing{round: m.Round, flushes: flushes}
	if flushes == 0 {
		s.sealTrees()
	}
}

// nothing answers a round that finds nothing.
func (s *partitionState) nothing() {
	if s.asked != 0 {
		s.emit(toCommitter{Nothing{s.grant.Slot, s.grant.Incarnation, s.asked}})
		s.asked = 0
	}
}

// onFlushed counts the agents' answers to a seal or a stop.
func (s *partitionState) onFlushed() {
	if s.phase == stopping && s.flushed > 0 {
		if s.flushed--; s.flushed == 0 {
			s.sealLast()
		}
		return
	}
	if s.seal == nil || s.seal.flushes == 0 {
		return
	}
	if s.seal.flushes--; s.seal.flushes == 0 {
		s.sealTrees()
	}
}

// sealShards ends the epoch being filled. What was forwarded to the shards before is in it, FIFO mailboxes see to that.
func (s *partitionState) sealShards() {
	if s.seal == nil {
		s.seal = &sealing{}
	}
	x := s.seal
	x.flushes, x.drains, x.epoch, x.parts, s.fill = 0, false, s.epoch, s.fill, new(parts)
	x.upTo, x.done = make([]int64, len(s.tables)), s.snapshot()
	s.tellTimes(x.parts)
	s.epoch++
	for i, t := range s.tables {
		if x.upTo[i] = t.sent; t.touched {
			t.touched = false
			x.shards++
			s.emit(toShard{i, Seal{s.undo, x.epoch}})
		}
	}
	if x.shards == 0 {
		s.becomeWhole()
	}
}

// snapshot is what the agents have done by now.
func (s *partitionState) snapshot() []progress {
	done := make([]progress, len(s.agents))
	for i, a := range s.agents {
		if done[i] = a.done; !plant.Is("blind-3") {
			done[i] = a.done.clone()
		}
	}
	return done
}

func (s *partitionState) onApplied(m Applied) {
	if m.Undo != s.undo || s.phase == undoing {
		return
	}
	s.tables[m.Table].applied = m.Count
	s.noteMoments(m.Table, m.Expires, m.Due)
	if m.Out != nil && m.Out.Len() > 0 {
		s.tables[m.Table].out += int64(m.Out.Len())
		s.rateOut.add(m.Out.Len(), s.now)
	}
	if s.seal != nil && s.seal.parts != nil && m.Count <= s.seal.upTo[m.Table] {
		s.seal.parts.add(m.Out)
	} else {
		s.fill.add(m.Out)
	}
	if s.careful != nil {
		s.maybeSealCarefully()
	}
}

func (s *partitionState) onSealed(m Sealed) {
	if m.Undo != s.undo || s.seal == nil || s.seal.parts == nil || m.Epoch != s.seal.epoch {
		return
	}
	s.seal.parts.add(m.Out)
	s.seal.parts.tells(s.tables[m.Table].table.Name, m.Clock)
	if m.Out != nil {
		s.tables[m.Table].journaled += int64(m.Out.Len())
	}
	if s.seal.shards--; s.seal.shards == 0 {
		s.becomeWhole()
	}
}

// becomeWhole: nothing of the sealed epoch can fail any more, but the broker's refusal.
func (s *partitionState) becomeWhole() {
	x := s.seal
	s.seal, s.wholeEpoch = nil, x.epoch
	if x.early {
		s.handOver(x.parts)
	}
	s.whole.merge(x.parts)
	for i, a := range s.agents {
		if a.whole = x.done[i]; plant.Is("blind-1") {
			a.whole = a.done.clone()
		}
	}
	if s.careful != nil {
		s.carefulWhole()
	}
	if !x.early || s.asked != 0 { // else it is offered when the committer asks
		s.maybeOffer()
	}
	if s.phase == stopping {
		s.maybeFinish()
	}
}

// maybeOffer offers what is whole to the committer, if it has no bundle of ours.
func (s *partitionState) maybeOffer() {
	if s.offer != nil || s.sending != nil || s.seal != nil && s.phase != stopping {
		return
	}
	if s.phase != running && s.phase != stopping {
		s.nothing()
		return
	}
	if !s.whole.moved {
		s.nothing()
		return
	}
	alone := s.careful != nil && s.careful.commitEach
	w := s.whole
	s.whole, s.seq, s.dry = new(parts), s.seq+1, false
	done := make([]progress, len(s.agents))
	for i, a := range s.agents {
		done[i] = a.whole.clone()
	}
	b := &kafka.Bundle{Slot: s.grant.Slot, Incarnation: s.grant.Incarnation, MemberID: s.grant.MemberID, Seq: s.seq, Outputs: w.outs}
	timers := map[string]int64{}
	maps.Copy(timers, s.timers)
	maps.Copy(timers, w.timers)
	clocks := map[string]int64{}
	maps.Copy(clocks, s.clocks)
	maps.Copy(clocks, w.clocks)
	b.Offsets = s.positions(done, timers, clocks)
	if at := slices.IndexFunc(b.Offsets, func(p kafka.Position) bool { return len(p.Metadata) > kafka.MaxMetadata }); at >= 0 { // the broker would refuse it, which is no record's fault
		s.emit(failNode{fmt.Errorf("topic %s/%d: %w (%d of %d characters): give the topology fewer agents at this topic, or shorter names; when it starts again, it goes on where it was",
			b.Offsets[at].Topic, s.partition, kafka.ErrMetadata, len(b.Offsets[at].Metadata), kafka.MaxMetadata)})
	}
	s.offer = &offered{bundle: b, epoch: s.wholeEpoch, done: done, timers: timers, clocks: clocks, sends: w.sends, bytes: w.bytes}
	s.emit(toCommitter{Offer{Bundle: b, Round: s.asked, Alone: alone}})
	s.asked = 0
}

// positions are the committed offsets of a bundle: for each source the lowest of its agents', and the rest as metadata.
func (s *partitionState) positions(done []progress, timers, clocks map[string]int64) []kafka.Position {
	var all []kafka.Position
	for i, q := range s.sources[:len(s.stage.Sources)] {
		meta := kafka.Meta{Seq: s.seq}
		if i == 0 && len(timers) > 0 && !plant.Is("timer outside the bundle") {
			meta.Timers = timers
		}
		if i == 0 && len(clocks) > 0 && !plant.Is("clock of a table outside the bundle") {
			meta.Clocks = clocks
		}
		lowest := int64(-1)
		for j, a := range s.agents {
			if a.source == i && (lowest < 0 || done[j].upTo < lowest) {
				lowest = done[j].upTo
			}
		}
		if lowest < 0 {
			lowest = q.idle
		}
		for j, a := range s.agents {
			if a.source == i {
				if meta.Agents == nil {
					meta.Agents = map[string]kafka.Ahead{}
				}
				meta.Agents[a.agent.Of] = done[j].ahead(lowest)
			}
		}
		all = append(all, kafka.Position{
			TopicPartition: kafka.TopicPartition{Topic: q.topic.Name, Partition: s.partition}, Offset: lowest, Metadata: meta.Encode(),
		})
	}
	return all
}

// onDecided: the bundle is committed, or will never be.
func (s *partitionState) onDecided(m Decided) {
	if s.offer == nil || s.offer.bundle.Seq != m.Seq || s.phase == gone {
		return
	}
	o := s.offer
	s.offer = nil
	if m.Err != nil {
		s.seq--
		s.onRejected(m.Err)
		s.fill.moved = s.fill.moved || s.beginning
		return
	}
	s.beginning = false
	for i, a := range s.agents {
		a.committed = o.done[i]
		if a.refused && (o.timers[a.agent.Name] > s.timers[a.agent.Name] || a.agent.Role == plan.Task && a.committed.upTo > 0) {
			a.refused = false
			s.succeeded(a)
		}
	}
	s.timers, s.clocks, s.committedEpoch = o.timers, o.clocks, o.epoch
	for i := range s.tables {
		s.emit(toShard{i, Settle{o.epoch}})
	}
	if s.careful != nil {
		s.carefulCommitted()
	}
	for _, a := range s.agents {
		s.unpark(a)
	}
	s.trim()
	if s.careful != nil || s.phase == stopping {
		s.maybeOffer()
	}
	if s.phase == stopping {
		s.maybeFinish()
	}
}

// onLeave stops giving out records, and waits for the handlers that are running, for a while.
func (s *partitionState) onLeave(m Leave) {
	switch s.phase {
	case running, undoing:
	case restoring:
		s.finish()
		return
	default:
		return
	}
	s.now = m.Now
	s.leaveBy, s.flushed = m.Now.Add(m.Grace), 0
	s.firing = nil
	wasUndoing := s.phase == undoing
	s.phase = stopping
	if wasUndoing || s.careful != nil {
		s.leaveRest()
		return
	}
	for i, a := range s.agents {
		if a.backing || s.isFed(a) { // the latter finish what has been begun
			continue
		}
		s.flushed++
		a.flush, a.answers = s.id(), a.lanes
		s.emit(toAgent{i, Flush{Incarnation: a.incarnation, Round: a.flush, Final: true}})
	}
	if s.flushed == 0 {
		s.sealLast()
	}
}

// leaveRest goes on with a stop: what is whole is committed, the rest is the next owner's.
func (s *partitionState) leaveRest() {
	s.dropUnsealed()
	s.flushed = 0
	s.maybeOffer()
	s.maybeFinish()
}

// abandon goes on without the handlers that have not ended in time: their records are for the next owner.
func (s *partitionState) abandon() {
	s.flushed = 0
	if s.flows() { // a tree that is half done
		s.leaveBy = time.Time{}
		s.leaveRest()
		return
	}
	for _, a := range s.agents {
		if a.flush != 0 {
			a.incarnation, a.flush = a.incarnation+1, 0
		}
	}
	s.sealLast()
}

// sealLast seals what is left. An earlier seal may be under way: then it comes after.
func (s *partitionState) sealLast() {
	if !s.flows() {
		s.leaveBy = time.Time{} // nothing more to wait for by the clock
	}
	if s.seal != nil && s.seal.parts != nil {
		return // becomeWhole comes back here
	}
	s.seal = nil
	s.sealTrees()
}

// maybeFinish ends a stop once nothing is left to commit.
func (s *partitionState) maybeFinish() {
	if s.flushed > 0 || s.seal != nil || s.offer != nil || s.sending != nil {
		return
	}
	if s.fill.moved {
		s.sealLast()
		return
	}
	if s.whole.moved {
		s.maybeOffer()
		return
	}
	s.finish()
}

func (s *partitionState) finish() {
	s.phase = finishing
	s.emit(finishShards{true})
}

// isBusy says whether the partition has anything that is not committed.
func (s *partitionState) isBusy() bool {
	return s.offer != nil || s.sending != nil || s.seal != nil || s.fill.moved || s.whole.moved || s.flows() || slices.ContainsFunc(s.agents, func(a *agentSlot) bool {
		return a.backing || len(a.parked) > 0 || (a.source >= 0 || a.agent.Fires != nil) && len(a.works) > 0
	}) || s.firing != nil || s.phase == running && s.firstDue() != nil
}
