package protocol

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// commits keeps the takes and the commits of one process apart. Nothing at the broker does: a bundle of a slot that this
// process has given up and is taking anew, as the same member, would be accepted after the take has read the offsets.
type commits struct {
	mu      sync.Mutex
	granted map[int32]grantOf       // what may be committed for
	running chan struct{}           // closed when the commit under way is decided; nil: there is none
	marking map[int32]chan struct{} // of slots whose mark is being written: closed when that has ended
	told    Member                  // who the group's last callback said we are
}

// joined notes who we are, as a callback has told: in that generation the slots that are granted are ours, unless they are revoked.
func (c *commits) joined(as Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = as
}

type grantOf struct {
	incarnation int64
	member      string // that took it
	sources     []kafka.TopicPartition
}

// grant lets bundles of a slot's incarnation be committed.
func (c *commits) grant(slot int32, incarnation int64, member string, sources []kafka.TopicPartition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted[slot] = grantOf{incarnation, member, sources}
}

// revoke ends that. A commit under way goes on.
func (c *commits) revoke(slot int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.granted, slot)
}

// begin begins a commit, unless some bundles may not be committed. Then it returns an error and, of their slots, those
// that are to be given up: the others are already.
func (c *commits) begin(bundles []*kafka.Bundle, now Member) (lost []int32, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var gone []int32
	for _, b := range bundles {
		switch {
		case c.granted[b.Slot].incarnation != b.Incarnation:
			gone = append(gone, b.Slot)
		case !now.Valid() || now.ID != b.MemberID && !plant.Is("generation trusted for a static member"):
			lost = append(lost, b.Slot)
		}
	}
	switch {
	case len(lost) > 0:
		return lost, fmt.Errorf("commit: slots %s were granted to another member than this process is now (%q, generation %d)", slotNames(lost), now.ID, now.Generation)
	case len(gone) > 0:
		return nil, fmt.Errorf("commit: slots %s were given up", slotNames(gone))
	}
	if c.running == nil {
		c.running = make(chan struct{})
	}
	return nil, nil
}

// decided says that the outcome of the commit under way is known, or that nobody will ask for it.
func (c *commits) decided() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		close(c.running)
		c.running = nil
	}
}

// await waits until the commit that is under way now, if any, is decided.
func (c *commits) await(ctx context.Context, rt Runtime) error {
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	if running == nil {
		return nil
	}
	if err := rt.Await(ctx, running); err != nil {
		return fmt.Errorf("wait for this process's own commit: %w", err)
	}
	return nil
}

// holds says whether bundles of a slot's incarnation may be committed.
func (c *commits) holds(slot int32, incarnation int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.granted[slot]
	return ok && g.incarnation == incarnation
}

// slots returns the slots that may be committed for, in order.
func (c *commits) slots() []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.granted))
}

// sourcesOf returns the source partitions of a slot that may be committed for.
func (c *commits) sourcesOf(slot int32) []kafka.TopicPartition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.granted[slot].sources
}
