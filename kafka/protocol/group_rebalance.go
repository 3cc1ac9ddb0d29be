package protocol

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// releaseGrace is how much longer than its context a handler's Release is waited for.
const releaseGrace = time.Second

// errReleaseTimeout is why slots are lost that were not let go of in time.
var errReleaseTimeout = errors.New("the slot was not let go of in order within the release timeout")

// onAssigned is the consumer's callback for slots that the group has granted.
func (g *Group) onAssigned(ids []int32) {
	if g.closing {
		_ = g.consumer.Assign(nil) // it is being closed whatever comes of it
		return
	}
	now := g.rebalance()
	// Who has left and joins again before its consumer has noticed may keep what it had, and is told of no more than what is new.
	for _, id := range slices.Sorted(maps.Keys(g.left)) {
		if !slices.Contains(ids, id) {
			ids = append(slices.Clip(ids), id)
		}
	}
	clear(g.left)
	g.log.Info("slots assigned", "slots", ids, "generation", now.Generation, "member", now.ID)
	if err := g.consumer.Assign(nil); err != nil { // nothing is read before a slot is taken
		g.fail(fmt.Errorf("accept slots %s: %w", slotNames(ids), err))
	}
	same := g.member.ID == now.ID || plant.Is("generation trusted for a static member")
	g.member = now
	g.commits.joined(now)
	if !same && len(g.slots) > 0 {
		// A static member that comes back claims what it had, and its generation is valid: it vouches for nothing.
		g.retake(g.owned(), fmt.Errorf("this process is member %s of the group now, not the one that took them", now.ID))
	}
	g.start(slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return g.slots[id] != nil }))
	g.tellJoined()
}

// tellJoined tells a handler that wants to know what the group has decided.
func (g *Group) tellJoined() {
	if h, ok := g.h.(kafka.JoinHandler); ok {
		h.Joined(g.member.ID, g.owned())
	}
}

// onRevoked is the consumer's callback for slots that the group takes away.
func (g *Group) onRevoked(ids []int32) {
	if g.closing {
		undo := g.undo
		g.undo = nil
		_ = g.consumer.Unassign(undo) // it is being closed whatever comes of it
		return
	}
	now := g.rebalance()
	lost := g.consumer.Lost() || !now.Valid() || now.ID != g.member.ID && !plant.Is("generation trusted for a static member") || g.fatal != nil
	g.log.Info("slots revoked", "slots", ids, "generation", now.Generation, "member", now.ID, "lost", lost)
	for _, id := range ids {
		delete(g.left, id)
	}
	ids = slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return g.slots[id] == nil })
	if lost {
		undo := g.lose(ids, fmt.Errorf("group %s has taken slots %s from this process: its session has ended", g.cfg.Group, slotNames(ids)))
		g.unassign(undo)
		crashpoint.Hit("lose.unassigned")
		g.tellJoined()
		return
	}
	undo := g.release(ids)
	g.unassign(undo)
	crashpoint.Hit("release.unassigned")
	g.tellJoined()
}

// rebalance begins a rebalance: all that was read goes to the handler first. It returns who we are now.
func (g *Group) rebalance() Member {
	g.consumer.Flush()
	now, err := g.consumer.Member()
	if err != nil {
		g.fail(fmt.Errorf("rebalance of group %s: %w", g.cfg.Group, err))
	}
	return now
}

// release lets go of slots in order: the handler finishes and commits, then they are marked released. It returns what is
// to be unassigned.
func (g *Group) release(ids []int32) []kafka.TopicPartition {
	var granted, bare []int32
	for _, id := range ids {
		s := g.slots[id]
		g.cancel(s)
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

func (g *Group) askRelease(ids []int32) []int32 {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := g.rt.WithTimeout(context.Background(), g.cfg.ReleaseTimeout)
	defer cancel()
	patience, end := g.rt.WithTimeout(context.Background(), g.cfg.ReleaseTimeout+releaseGrace)
	defer end()
	crashpoint.Hit("release.asked")
	var released []int32
	answered := make(chan struct{})
	asked := slices.Clone(ids)
	g.rt.Go(func() {
		defer close(answered)
		released = g.h.Release(ctx, asked)
	})
	if g.rt.Await(patience, answered) != nil {
		return nil
	}
	crashpoint.Hit("release.released")
	return slices.DeleteFunc(slices.Clone(released), func(id int32) bool { return !slices.Contains(ids, id) })
}

// markReleased says on the slots that nobody writes for them, if their marks are still ours: a static member that comes back with
// claims of its past is given slots in the very generation in which we are asked for them, and may have taken them. And it does so
// as the member that took them: one that we have become since, before any callback told us, vouches for nothing.
func (g *Group) markReleased(ids []int32) {
	if len(ids) == 0 {
		return
	}
	if err := g.bar(ids); err != nil {
		g.log.Warn("slots cannot be marked as released; who takes them fences this process", "slots", ids, "error", err)
		return
	}
	now, err := g.consumer.Member()
	if err == nil && slices.ContainsFunc(ids, func(id int32) bool { return g.slots[id].grant.MemberID != now.ID }) {
		err = fmt.Errorf("this process is member %s of the group now, not the one that took them", now.ID)
	}
	marks := make(map[int32]kafka.Mark, len(ids))
	if err == nil {
		marks, err = g.ours(ids)
	}
	if err == nil && len(marks) > 0 {
		err = g.wire.Mark(context.Background(), now.Member, marks)
	}
	if err != nil {
		g.log.Warn("slots cannot be marked as released; who takes them fences this process", "slots", ids, "error", err)
		return
	}
	crashpoint.Hit("release.marked")
	for _, id := range ids {
		delete(g.held, id)
	}
}

// ours returns the mark of release for those slots whose mark names this process alone.
func (g *Group) ours(ids []int32) (map[int32]kafka.Mark, error) {
	texts, err := g.wire.Marks(context.Background(), ids)
	if err != nil {
		return nil, err
	}
	marks := make(map[int32]kafka.Mark, len(ids))
	for _, id := range ids {
		if m, err := kafka.ParseMark(texts[id]); err == nil && m.IsOf(g.me) {
			marks[id] = m.LetGo()
		}
	}
	return marks, nil
}

// lose gives up slots at once and tells the handler. It returns what is to be unassigned.
func (g *Group) lose(ids []int32, why error) []kafka.TopicPartition {
	var granted []int32
	for _, id := range ids {
		if s := g.slots[id]; s.granted && len(s.sources) > 0 {
			granted = append(granted, id)
		}
	}
	crashpoint.Hit("lose.begun")
	undo := g.drop(ids)
	if len(granted) > 0 {
		g.log.Warn("slots lost", "slots", granted, "error", why)
		g.h.Lost(granted, why)
	}
	crashpoint.Hit("lose.told")
	return undo
}

// retake gives up slots at once and takes them anew.
func (g *Group) retake(ids []int32, why error) {
	undo := g.lose(ids, why)
	crashpoint.Hit("retake.lost")
	if len(undo) > 0 {
		g.unassign(undo)
	}
	crashpoint.Hit("retake.unassigned")
	g.start(ids)
}

// drop forgets slots and returns what was assigned for them.
func (g *Group) drop(ids []int32) (undo []kafka.TopicPartition) {
	for _, id := range ids {
		if s := g.slots[id]; s != nil {
			g.cancel(s)
			g.commits.revoke(id)
			delete(g.slots, id)
			undo = append(undo, s.assigned...)
		}
	}
	for _, tp := range undo {
		if plant.Is("blind-6") {
			continue
		}
		delete(g.assigned, tp)
	}
	return undo
}

// unassign takes partitions from the consumer: those that were assigned, and only those. One that is not assigned would
// make it fail whole, and wedge the member. In a revoke callback it must be called once, with none if need be.
func (g *Group) unassign(tps []kafka.TopicPartition) {
	if err := g.consumer.Unassign(tps); err != nil {
		g.fail(fmt.Errorf("unassign %v: %w", tps, err))
	}
}

// cancel ends the taking of a slot, if it is under way, and waits for that. Its requests end with its context.
func (g *Group) cancel(s *slot) {
	s.take.cancel()
	_ = g.rt.Await(context.Background(), s.take.over) // it has no end to report
}
