package actors

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// turns are the exclusive turns of a node: one slot at a time gives out what has killed processes, so that a death tells which it was.
type turns struct {
	holder  int32
	held    bool
	waiting map[int32]int64 // the number of the turn that a slot has asked for
}

// ask notes that a slot asks for a turn.
func (t *turns) ask(slot int32, number int64) {
	if t.waiting == nil {
		t.waiting = map[int32]int64{}
	}
	t.waiting[slot] = number
}

// end takes a slot's turn away, or its request.
func (t *turns) end(slot int32) {
	delete(t.waiting, slot)
	if t.held && t.holder == slot {
		t.held = false
	}
}

// next gives the turn to the waiting slot of the lowest number, if nobody has it. All nodes do, so that several do not die in turn of
// different slots.
func (t *turns) next() (slot int32, number int64, ok bool) {
	if t.held && !plant.Is("narrow windows are not exclusive") || len(t.waiting) == 0 {
		return 0, 0, false
	}
	slot = slices.Min(slices.Collect(maps.Keys(t.waiting)))
	number = t.waiting[slot]
	delete(t.waiting, slot)
	t.holder, t.held = slot, true
	return slot, number, true
}

// What a partition asks of its node about what it gives out after a death.
type (
	announceSlot struct {
		slot        int32
		incarnation int64
		trying      kafka.Trying
	}
	askedTurn struct {
		slot        int32
		incarnation int64
		number      int64
	}
	endedTurn struct {
		slot        int32
		incarnation int64
	}
	// notHeld says that a slot cannot be announced for.
	notHeld struct {
		slot        int32
		incarnation int64
		why         error
	}
)

// own is the slot with that incarnation; nil: it is gone.
func (r *root) own(slot int32, incarnation int64) *ownedSlot {
	if o := r.parts[slot]; o != nil && o.grant.Incarnation == incarnation {
		return o
	}
	return nil
}

func (r *root) onAskedTurn(m askedTurn) {
	if r.own(m.slot, m.incarnation) != nil {
		r.turns.ask(m.slot, m.number)
		r.giveTurn()
	}
}

func (r *root) onEndedTurn(m endedTurn) {
	if r.own(m.slot, m.incarnation) != nil {
		r.turns.end(m.slot)
		r.giveTurn()
	}
}

// giveTurn gives the exclusive turn to the next slot, if it is free.
func (r *root) giveTurn() {
	slot, number, ok := r.turns.next()
	if !ok {
		return
	}
	crashpoint.Hit("probe.turn")
	r.site.ground.Send(r.parts[slot].pid, Turn{number})
}

// announce writes the mark of a slot, beside everything else. It is tried until the node ends or the slot is not held any more.
func (r *root) announce(c actor.Context, m announceSlot) {
	o := r.own(m.slot, m.incarnation)
	if o == nil {
		return
	}
	const least, most = 50 * time.Millisecond, 2 * time.Second
	g, self, to := r.site.ground, c.Self(), o.pid
	log := r.log.With("slot", m.slot)
	crashpoint.Hit("probe.announcing")
	g.Go(func() {
		for wait := least; ; wait = min(2*wait, most) {
			err := r.group.Announce(r.ctx, m.slot, m.incarnation, m.trying)
			switch {
			case err == nil:
				crashpoint.Hit("probe.announced")
				g.Send(to, Announced{})
				return
			case errors.Is(err, kafka.ErrNotHeld):
				g.Send(self, notHeld{m.slot, m.incarnation, err})
				return
			case r.ctx.Err() != nil:
				return
			}
			if wait == most { // a rebalance is under way else
				log.Warn("records wait: the slot's mark cannot be written", "again_after", wait, "error", err)
			}
			if !g.Sleep(r.ctx, wait) {
				return
			}
		}
	})
}

// onNotHeld takes a slot anew that the client does not hold as the partition does, unless it is let go of anyway.
func (r *root) onNotHeld(c actor.Context, m notHeld) {
	if r.own(m.slot, m.incarnation) == nil || slices.ContainsFunc(r.releases, func(x *release) bool { return x.waiting[m.slot] == m.incarnation }) {
		return
	}
	r.retake(c, []int32{m.slot}, fmt.Errorf("announce what is given out: %w", m.why))
}
