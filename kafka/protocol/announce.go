package protocol

import (
	"context"
	"fmt"

	"github.com/troupe-stream/troupe/kafka"
)

// Announce implements kafka.Group. The mark is written as the member that took the slot, in the generation of the last callback, and not
// in that of the moment, in which the slot may be another's already without our knowing: who takes it from us does so in a later
// generation, and from then on the broker refuses ours. It also refuses ours while a rebalance that leaves us the slot is under way: that is no
// end, and tried again.
func (g *Group) Announce(ctx context.Context, slot int32, incarnation int64, t kafka.Trying) error {
	now, err := g.current()
	if err != nil {
		return fmt.Errorf("announce for slot %d: %w", slot, err)
	}
	as, over, err := g.commits.beginMark(slot, incarnation, now)
	if err != nil {
		return fmt.Errorf("announce for slot %d: %w", slot, err)
	}
	defer over()
	mark := kafka.Mark{Owners: []kafka.Owner{g.me}, Trying: t}
	if err := g.wire.Mark(ctx, as.Member, map[int32]kafka.Mark{slot: mark}); err != nil {
		return fmt.Errorf("announce for slot %d: %w", slot, err)
	}
	return nil
}

// beginMark begins to write the mark of a slot that is held, and returns as whom. Its end is to be told.
func (c *commits) beginMark(slot int32, incarnation int64, now Member) (as Member, over func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.granted[slot]
	switch {
	case !ok || g.incarnation != incarnation:
		return as, nil, kafka.ErrNotHeld
	case !now.Valid() || now.ID != g.member || now.ID != c.told.ID:
		return as, nil, fmt.Errorf("%w: it was granted to another member than this process is now (%q, generation %d)", kafka.ErrNotHeld, now.ID, now.Generation)
	case c.marking[slot] != nil:
		return as, nil, fmt.Errorf("slot %d is being marked already", slot)
	}
	done := make(chan struct{})
	c.marking[slot] = done
	return c.told, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.marking, slot)
		close(done)
	}, nil
}

// awaitMarks waits until no mark of these slots is being written by beginMark: what is on its way would come after what is written
// next, as the same member, and the broker would take it.
func (c *commits) awaitMarks(ctx context.Context, rt Runtime, slots []int32) error {
	for _, slot := range slots {
		c.mu.Lock()
		done := c.marking[slot]
		c.mu.Unlock()
		if done == nil {
			continue
		}
		if err := rt.Await(ctx, done); err != nil {
			return fmt.Errorf("wait for the mark of slot %d that is being written: %w", slot, err)
		}
	}
	return nil
}

// bar ends announcements for slots for good, and waits for those under way: each ends by itself within ten seconds.
func (g *Group) bar(slots []int32) error {
	for _, slot := range slots {
		g.commits.revoke(slot)
	}
	ctx, cancel := g.rt.WithTimeout(context.Background(), g.cfg.ReleaseTimeout)
	defer cancel()
	return g.commits.awaitMarks(ctx, g.rt, slots)
}
