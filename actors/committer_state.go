package actors

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// Rhythm of the committer.
const (
	// minGap is the least time between two rounds: closer transactions make the coordinator push back.
	minGap = 20 * time.Millisecond
	// roundGrace is how long a round waits for partitions that have not answered; they are in the next one.
	roundGrace = 5 * time.Millisecond
	// commitTries is how often a transaction with a bundle may be aborted before the bundle is committed alone, and how
	// often it may fail alone, while others are committed, before it is rejected. A cluster that takes nothing from anybody is
	// an outage, and no record's fault.
	commitTries = 5
)

// What the committer asks of others.
type (
	askSeal struct { // of a partition
		slot        int32
		incarnation int64
		round       int64
	}
	decide struct { // tell a partition
		slot        int32
		incarnation int64
		decided     Decided
	}
	commitBundles struct{ bundles []*kafka.Bundle } // of the producer
	settleBundles struct{ bundles []*kafka.Bundle } // of the producer, after a pause
	retake        struct {                          // of the node
		slots []int32
		why   error
	}
	wakeAt struct{ at time.Time }
	giveUp struct{ err error } // end the node
)

// member is one partition that takes part.
type member struct {
	slot        int32
	incarnation int64
	bundle      *kafka.Bundle // offered, not decided
	alone       bool
	tries       int       // aborted commits of the bundle
	others      int       // transactions that had been committed when it was first to be committed alone
	asked       bool      // in the round under way
	due         time.Time // not before: after an abort
}

// committerState decides which bundles are committed when, and what their outcome means. It commits one set of bundles at
// a time. At its ends: begin (offers come), commit (the producer is busy), settle (an outcome is unknown).
type committerState struct {
	interval time.Duration
	members  map[int32]*member
	round    int64
	opened   time.Time     // the round under way; zero: none
	last     time.Time     // when the last round began
	early    bool          // a partition ran dry
	busy     bool          // the producer is at work
	settles  int           // tries to settle in a row
	doubt    kafka.Outcome // what is being settled
	commits  int           // transactions committed
	now      time.Time
	out      []any
}

func newCommitterState(interval time.Duration, now time.Time) *committerState {
	return &committerState{interval: interval, members: map[int32]*member{}, now: now, last: now}
}

// step handles one message and returns what it asks of others.
func (c *committerState) step(m committerMessage) []any {
	c.out = nil
	switch m := m.(type) {
	case Join:
		c.members[m.Slot] = &member{slot: m.Slot, incarnation: m.Incarnation}
	case Part:
		if p := c.members[m.Slot]; p != nil && p.incarnation == m.Incarnation {
			delete(c.members, m.Slot)
		}
	case Offer:
		c.onOffer(m)
	case Nothing:
		if p := c.member(m.Slot, m.Incarnation); p != nil && m.Round == c.round {
			p.asked = false
		}
	case Dry:
		c.early = c.early || c.member(m.Slot, m.Incarnation) != nil
	case Tick:
		c.now = m.Now
	case Done:
		c.now, c.busy = m.Now, false
		c.onDone(m)
	case Found:
		c.now, c.busy = m.Now, false
		c.onFound(m)
	}
	c.maybeOpen()
	c.maybeCommit()
	c.askWake()
	return c.out
}

func (c *committerState) member(slot int32, incarnation int64) *member {
	if p := c.members[slot]; p != nil && p.incarnation == incarnation {
		return p
	}
	return nil
}

func (c *committerState) onOffer(m Offer) {
	p := c.member(m.Bundle.Slot, m.Bundle.Incarnation)
	if p == nil {
		return // lost meanwhile
	}
	p.bundle, p.alone, p.tries, p.due, p.asked = m.Bundle, m.Alone, 0, time.Time{}, false
}

// maybeOpen begins a round when one is due: every partition that has nothing waiting is asked to seal.
func (c *committerState) maybeOpen() {
	if !c.opened.IsZero() || c.now.Before(c.due()) || len(c.members) == 0 {
		return
	}
	c.round++
	c.opened, c.last, c.early = c.now, c.now, false
	for _, p := range c.sorted() {
		if p.bundle == nil {
			p.asked = true
			c.out = append(c.out, askSeal{p.slot, p.incarnation, c.round})
		}
	}
}

// due is when the next round begins.
func (c *committerState) due() time.Time {
	if c.early {
		return c.last.Add(minGap)
	}
	return c.last.Add(c.interval)
}

// maybeCommit ends a round when all have answered or its grace is over, and commits what is there.
func (c *committerState) maybeCommit() {
	if !c.opened.IsZero() {
		waiting := slices.ContainsFunc(c.sorted(), func(p *member) bool { return p.asked })
		if waiting && c.now.Before(c.opened.Add(roundGrace)) {
			return
		}
		c.opened = time.Time{}
		for _, p := range c.members {
			p.asked = false
		}
	}
	if c.busy {
		return
	}
	var together []*kafka.Bundle
	for _, p := range c.sorted() {
		switch {
		case p.bundle == nil || c.now.Before(p.due):
		case p.alone:
			c.commit([]*kafka.Bundle{p.bundle})
			return
		default:
			together = append(together, p.bundle)
		}
	}
	if len(together) > 0 {
		c.commit(together)
	}
}

func (c *committerState) commit(bundles []*kafka.Bundle) {
	c.busy = true
	c.out = append(c.out, commitBundles{bundles})
}

// onDone handles the end of a commit.
func (c *committerState) onDone(m Done) {
	if m.Outcome.Verdict == kafka.Unknown && plant.Is("unknown outcome is aborted") {
		m.Outcome.Verdict = kafka.Aborted
	}
	if m.Outcome.Verdict == kafka.Unknown && plant.Is("unknown outcome is committed") {
		for _, b := range m.Bundles {
			c.committed(b)
		}
	}
	if errors.Is(m.Outcome.Err, kafka.ErrDenied) {
		c.out = append(c.out, giveUp{m.Outcome.Err})
		return
	}
	switch m.Outcome.Verdict {
	case kafka.Committed:
		c.commits++
		for _, b := range m.Bundles {
			c.committed(b)
		}
	case kafka.Aborted:
		c.onAborted(m)
	case kafka.Unknown:
		c.busy, c.settles, c.doubt = true, 0, m.Outcome
		c.out = append(c.out, settleBundles{m.Bundles})
	case kafka.Fenced:
		c.out = append(c.out, giveUp{fmt.Errorf("another process has this node's identity: %w; give each node a data directory of its own", m.Outcome.Err)})
	}
}

func (c *committerState) committed(b *kafka.Bundle) {
	if p := c.member(b.Slot, b.Incarnation); p != nil && p.bundle == b {
		p.bundle, p.alone = nil, false
		c.out = append(c.out, decide{p.slot, p.incarnation, Decided{Seq: b.Seq}})
	}
}

// onAborted lets the bundles wait for the next transaction. Those that cannot be told apart from a sick one are committed
// alone; one that is sick alone is rejected.
func (c *committerState) onAborted(m Done) {
	if len(m.Outcome.Lost) > 0 {
		c.lose(m.Outcome.Lost, m.Outcome.Err)
	}
	for _, b := range m.Bundles {
		if p := c.member(b.Slot, b.Incarnation); p != nil && p.bundle == b {
			c.onRefused(p, m.Outcome, len(m.Bundles) == 1)
		}
	}
}

// onRefused lets the bundle of a member wait for the next transaction, or rejects it. single says that it had one for itself.
func (c *committerState) onRefused(p *member, out kafka.Outcome, single bool) {
	if p.tries++; single && out.Sick || single && p.alone && p.tries > commitTries && c.commits > p.others {
		seq := p.bundle.Seq
		p.bundle, p.alone = nil, false
		c.out = append(c.out, decide{p.slot, p.incarnation, Decided{Seq: seq, Err: out.Err}})
		return
	}
	if !p.alone && (out.Sick || p.tries == commitTries) {
		p.alone, p.tries, p.others = true, 0, c.commits
	}
	p.due = c.now.Add(min(minGap<<min(p.tries, 10), time.Second))
}

func (c *committerState) lose(slots []int32, why error) {
	for _, s := range slots {
		delete(c.members, s)
	}
	c.out = append(c.out, retake{slots, why})
}

// onFound handles what became of bundles with an unknown outcome.
func (c *committerState) onFound(m Found) {
	if errors.Is(m.Err, kafka.ErrDuplicateIdentity) {
		c.out = append(c.out, giveUp{fmt.Errorf("another process has this node's identity: %w; give each node a data directory of its own", m.Err)})
		return
	}
	if errors.Is(m.Err, kafka.ErrDenied) {
		c.out = append(c.out, giveUp{m.Err})
		return
	}
	if m.Err != nil {
		c.settles++
		c.busy = true
		c.out = append(c.out, settleBundles{m.Bundles})
		return
	}
	var lost []int32
	for _, slot := range slices.Sorted(maps.Keys(m.State)) { // of slots without a bundle here, too
		if m.State[slot] == kafka.SlotLost {
			lost = append(lost, slot)
		}
	}
	for _, b := range m.Bundles {
		p := c.member(b.Slot, b.Incarnation)
		if p == nil || p.bundle != b {
			continue
		}
		slot := b.Slot
		if plant.Is("blind-4") {
			slot = m.Bundles[0].Slot
		}
		switch m.State[slot] {
		case kafka.SlotCommitted:
			c.committed(b)
		case kafka.SlotNotCommitted:
			if c.doubt.Sick {
				c.onRefused(p, c.doubt, len(m.Bundles) == 1)
			} else {
				p.due = c.now
			}
		case kafka.SlotLost: // see above
		}
	}
	if len(lost) > 0 {
		c.lose(lost, fmt.Errorf("another process has taken slots %v", lost))
	}
}

// askWake asks for the next Tick.
func (c *committerState) askWake() {
	if len(c.members) == 0 {
		return
	}
	at := c.due()
	if !c.opened.IsZero() {
		at = c.opened.Add(roundGrace)
	}
	for _, p := range c.members {
		if p.bundle != nil && !c.busy && p.due.After(c.now) && p.due.Before(at) {
			at = p.due
		}
	}
	c.out = append(c.out, wakeAt{at})
}

func (c *committerState) sorted() []*member {
	all := make([]*member, 0, len(c.members))
	for _, p := range c.members {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *member) int { return int(a.slot - b.slot) })
	return all
}
