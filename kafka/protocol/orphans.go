package protocol

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// orphansEvery is how often a group is looked at for slots that nobody has.
const orphansEvery = 5 * time.Second

// GroupState is what the broker says of a group.
type GroupState struct {
	Stable  bool
	Slots   int32 // partitions of the slots topic
	Members []MemberState
}

// MemberState is a member with what it was assigned.
type MemberState struct {
	ID, Instance string
	Slots        []int32
}

// orphans returns the slots that were assigned to nobody though the group is at rest.
//
// A static member that gives up a slot in a cooperative rebalance, dies before it has joined again to say so, and comes
// back, is given its last assignment without a rebalance: nobody is ever told that the slot is free.
func (s GroupState) orphans() (free []int32) {
	if !s.Stable || len(s.Members) == 0 || plant.Is("orphans stay orphans") {
		return nil
	}
	for slot := range s.Slots {
		if !slices.ContainsFunc(s.Members, func(m MemberState) bool { return slices.Contains(m.Slots, slot) }) {
			free = append(free, slot)
		}
	}
	return free
}

// mover is the member that costs the group the least when it leaves and joins again.
func (s GroupState) mover() MemberState {
	return slices.MinFunc(s.Members, func(a, b MemberState) int {
		return cmp.Or(len(a.Slots)-len(b.Slots), cmp.Compare(a.Instance, b.Instance))
	})
}

// maybeLook looks at the group now and then, beside Run's goroutine.
func (g *Group) maybeLook() {
	if now := g.rt.Now(); !g.looking && now.Sub(g.looked) >= orphansEvery {
		g.looking, g.looked = true, now
		g.rt.Go(func() {
			state, err := g.wire.Describe(context.Background())
			g.queue(func() { g.onState(state, err) })
		})
	}
}

// onState makes the group assign its slots again if some were nobody's at the last two looks: of all members, the one
// with the fewest slots leaves, and joins again when it notices.
func (g *Group) onState(state GroupState, err error) {
	g.looking = false
	if err != nil {
		g.log.Debug("the group cannot be looked at", "error", err)
		return
	}
	before := g.orphans
	g.orphans = state.orphans()
	if len(g.orphans) == 0 || !slices.Equal(before, g.orphans) || g.fatal != nil {
		return
	}
	g.orphans = nil
	if who := state.mover(); who.ID == g.member.ID {
		g.log.Warn("slots belong to nobody: this member leaves and joins again, so that they are assigned", "slots", state.orphans())
		g.move(kafka.Member{ID: who.ID, Instance: who.Instance})
	}
}

// move has this member leave the group. It lets go of its slots in order first: nothing is lost or suspect when they are given out anew. If the
// group does not let it go, it takes them again; as it does with those that its consumer still has when it has joined again.
func (g *Group) move(who kafka.Member) {
	g.consumer.Flush()
	all := g.owned()
	if undo := g.release(all); len(undo) > 0 {
		g.unassign(undo)
	}
	g.tellJoined()
	if err := g.wire.Leave(context.Background(), who); err != nil {
		g.log.Warn("leaving the group for a new assignment failed; tried again later", "error", err)
		g.start(all)
		return
	}
	for _, id := range all {
		g.left[id] = true
	}
}
