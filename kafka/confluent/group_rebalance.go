package confluent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
)

// releaseGrace is how much longer than its context a handler's Release is waited for.
const releaseGrace = time.Second

// errReleaseTimeout is why slots are lost that were not let go of in time.
var errReleaseTimeout = errors.New("the slot was not let go of in order within the release timeout")

// onRebalance is librdkafka's rebalance callback; it runs inside Poll and inside Close. Whatever happens it calls
// IncrementalAssign or IncrementalUnassign: without that the Go client would do so with the slots' own partitions.
func (g *group) onRebalance(c *rdk.Consumer, ev rdk.Event) error {
	_, revoke := ev.(rdk.RevokedPartitions)
	if g.closing {
		if revoke {
			undo := g.undo
			g.undo = nil
			return c.IncrementalUnassign(clientPartitions(undo))
		}
		return c.IncrementalAssign(nil)
	}
	g.handOver()
	now, err := memberOf(c, g.cfg.Group, g.cfg.Instance)
	if err != nil {
		g.fail(fmt.Errorf("rebalance of group %s: %w", g.cfg.Group, err))
	}
	switch e := ev.(type) {
	case rdk.AssignedPartitions:
		g.onAssigned(now, partitionIDs(e.Partitions))
	case rdk.RevokedPartitions:
		g.onRevoked(now, partitionIDs(e.Partitions))
	}
	return nil // the binding ignores it
}

func (g *group) onAssigned(now member, ids []int32) {
	g.log.Info("slots assigned", "slots", ids, "generation", now.Generation, "member", now.ID)
	if err := g.consumer.IncrementalAssign(nil); err != nil { // nothing is read before a slot is taken
		g.fail(fmt.Errorf("accept slots %s: %w", slotNames(ids), err))
	}
	same := g.member.ID == now.ID
	g.member = now
	if !same && len(g.slots) > 0 {
		// A static member that comes back claims what it had, and its generation is valid: it vouches for nothing.
		g.retake(g.owned(), fmt.Errorf("this process is member %s of the group now, not the one that took them", now.ID))
	}
	g.start(slices.DeleteFunc(ids, func(id int32) bool { return g.slots[id] != nil }))
}

func (g *group) onRevoked(now member, ids []int32) {
	lost := g.consumer.AssignmentLost() || !now.valid() || now.ID != g.member.ID || g.fatal != nil
	g.log.Info("slots revoked", "slots", ids, "generation", now.Generation, "member", now.ID, "lost", lost)
	ids = slices.DeleteFunc(ids, func(id int32) bool { return g.slots[id] == nil })
	var undo []kafka.TopicPartition
	if lost {
		undo = g.lose(ids, fmt.Errorf("group %s has taken slots %s from this process: its session has ended", g.cfg.Group, slotNames(ids)))
	} else {
		undo = g.release(ids)
	}
	g.unassign(undo)
}

// release lets go of slots in order: the handler finishes and commits, then they are marked released. It returns what is
// to be unassigned.
func (g *group) release(ids []int32) []kafka.TopicPartition {
	var granted, bare []int32
	for _, id := range ids {
		s := g.slots[id]
		s.cancel()
		switch {
		case s.granted && len(s.sources) > 0:
			granted = append(granted, id)
		case s.granted:
			bare = append(bare, id)
		}
	}
	released := g.askRelease(granted)
	g.markReleased(append(bare, released...))
	undo := g.drop(ids)
	if rest := slices.DeleteFunc(granted, func(id int32) bool { return slices.Contains(released, id) }); len(rest) > 0 {
		g.log.Warn("slots were not let go of in order; who takes them fences this process", "slots", rest, "timeout", g.cfg.ReleaseTimeout)
		g.h.Lost(rest, errReleaseTimeout)
	}
	return undo
}

func (g *group) askRelease(ids []int32) []int32 {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.cfg.ReleaseTimeout)
	defer cancel()
	answer := make(chan []int32, 1)
	asked := slices.Clone(ids)
	within(g.cfg.ReleaseTimeout+releaseGrace, func() { answer <- g.h.Release(ctx, asked) })
	select {
	case released := <-answer:
		return slices.DeleteFunc(slices.Clone(released), func(id int32) bool { return !slices.Contains(ids, id) })
	default:
		return nil
	}
}

// markReleased says on the slots that nobody writes for them, as the member of now.
func (g *group) markReleased(ids []int32) {
	if len(ids) == 0 {
		return
	}
	marks := make(map[int32]kafka.Mark, len(ids))
	for _, id := range ids {
		marks[id] = kafka.Released()
	}
	now, err := g.now()
	if err == nil {
		err = g.wire.mark(context.Background(), now.Member, marks)
	}
	if err != nil {
		g.log.Warn("slots cannot be marked as released; who takes them fences this process", "slots", ids, "err", err)
		return
	}
	for _, id := range ids {
		delete(g.held, id)
	}
}

// lose gives up slots at once and tells the handler. It returns what is to be unassigned.
func (g *group) lose(ids []int32, why error) []kafka.TopicPartition {
	var granted []int32
	for _, id := range ids {
		if s := g.slots[id]; s.granted && len(s.sources) > 0 {
			granted = append(granted, id)
		}
	}
	undo := g.drop(ids)
	if len(granted) > 0 {
		g.log.Warn("slots lost", "slots", granted, "why", why)
		g.h.Lost(granted, why)
	}
	return undo
}

// retake gives up slots at once and takes them anew.
func (g *group) retake(ids []int32, why error) {
	if undo := g.lose(ids, why); len(undo) > 0 {
		g.unassign(undo)
	}
	g.start(ids)
}

// drop forgets slots and returns what was assigned for them.
func (g *group) drop(ids []int32) (undo []kafka.TopicPartition) {
	for _, id := range ids {
		if s := g.slots[id]; s != nil {
			s.cancel()
			g.commits.revoke(id)
			delete(g.slots, id)
			undo = append(undo, s.assigned...)
		}
	}
	for _, tp := range undo {
		delete(g.parts, tp)
	}
	g.last = nil
	g.pending = slices.DeleteFunc(g.pending, func(s *source) bool { return g.parts[s.tp] != s })
	return undo
}

// unassign takes partitions from the consumer: those that were assigned, and only those. One that is not assigned would
// make it fail whole, and wedge the member. In a revoke callback it must be called once, with none if need be.
func (g *group) unassign(tps []kafka.TopicPartition) {
	if err := g.consumer.IncrementalUnassign(clientPartitions(tps)); err != nil {
		g.fail(fmt.Errorf("unassign %v: %w", tps, err))
	}
}

// cancel ends the taking of a slot, if it is under way, and waits for that. Its requests end with its context.
func (s *slot) cancel() {
	s.take.cancel()
	<-s.take.over
}

func partitionIDs(tps []rdk.TopicPartition) []int32 {
	ids := make([]int32, len(tps))
	for i, tp := range tps {
		ids[i] = tp.Partition
	}
	return ids
}
