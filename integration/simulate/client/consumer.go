package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

const (
	heartbeat = 100 * time.Millisecond
	joinPoll  = 20 * time.Millisecond
	fetchMax  = 50 // records of one partition in a poll
)

// consumer is the model of librdkafka's consumer: a member of a group with static membership and cooperative assignment.
// The membership lives beside the goroutine that polls: what the group decides is put into ops, and handled in Poll.
type consumer struct {
	d      *Driver
	cfg    kafka.GroupConfig
	ev     protocol.Events
	topic  string
	member kafka.Member
	closed bool

	assigned func([]int32)
	revoked  func([]int32)

	ops    []func() // for the goroutine that polls
	owned  []int32  // partitions of the slots topic
	rejoin bool     // the membership is to join (again)
	joined bool     // has an assignment
	inside bool     // a callback runs
	lost   bool
	wedged bool // it unassigned what was not assigned, and never joins again

	sources []*fetched
}

// fetched is a topic-partition that is read.
type fetched struct {
	tp     kafka.TopicPartition
	at     int64
	paused bool
}

var _ protocol.Consumer = (*consumer)(nil)

func newConsumer(d *Driver, cfg kafka.GroupConfig, ev protocol.Events) *consumer {
	return &consumer{d: d, cfg: cfg, ev: ev, member: kafka.Member{Instance: cfg.Instance, Generation: -1}}
}

// Subscribe implements protocol.Consumer.
func (c *consumer) Subscribe(topic string, assigned, revoked func(slots []int32)) error {
	c.topic, c.assigned, c.revoked, c.rejoin = topic, assigned, revoked, true
	s := c.d.net.S
	s.Go(c.d.proc, "join", func() {
		for {
			s.Wait(func() bool { return c.closed || c.rejoin && !c.wedged })
			if c.closed {
				return
			}
			c.rejoin, c.joined = false, false
			if !c.join() {
				c.rejoin = true
				s.Sleep(context.Background(), joinPoll)
			}
		}
	})
	s.Go(c.d.proc, "heartbeat", func() {
		for !c.closed {
			s.Sleep(context.Background(), heartbeat)
			c.beat()
		}
	})
	return nil
}

// beat sends a heartbeat.
func (c *consumer) beat() {
	as := c.member
	if as.ID == "" || !c.joined || c.closed {
		return
	}
	_, err := ask(c.d, "Heartbeat", func() (done, error) {
		return done{}, c.d.net.B.Heartbeat(c.cfg.Group, as.ID, as.Instance, as.Generation)
	})
	if c.member != as || !c.joined || c.closed { // an answer that comes while the client joins again is out of date: it is discarded
		return
	}
	switch {
	case errors.Is(err, broker.RebalanceInProgress), errors.Is(err, broker.IllegalGeneration):
		// While a callback is due or runs the client does not join again: the next heartbeat finds the same.
		c.rejoin = c.rejoin || !c.rebalancing()
	case errors.Is(err, broker.UnknownMemberID):
		c.lose()
	case errors.Is(err, broker.FencedInstanceID):
		c.fenced(err)
	}
}

// rebalancing says whether a callback is due, or runs.
func (c *consumer) rebalancing() bool { return c.inside || len(c.ops) > 0 }

// fenced: another process has our instance id. That is fatal.
func (c *consumer) fenced(err error) {
	c.member.ID = ""
	c.wedged = true
	c.ops = append(c.ops, func() {
		c.ev.Failed(fmt.Errorf("the consumer was fenced: %w (%w)", kafka.ErrDuplicateIdentity, err), true)
	})
}

// lose: the group does not know us any more. The slots are lost; but during a rebalance the client claims them again.
func (c *consumer) lose() {
	c.member.ID = ""
	if c.rebalancing() { // seen to when that is over: see Poll
		return
	}
	if len(c.owned) == 0 || c.d.net.S.Chance("client: revoke skipped", 6000) {
		c.rejoin = true
		return
	}
	c.lost = true
	c.ops = append(c.ops, func() {
		owned := c.owned
		c.owned = nil
		c.call(c.revoked, owned)
		c.lost, c.rejoin = false, true
	})
}

// join joins the group, and puts what was assigned into ops. It says whether it got there.
func (c *consumer) join() bool {
	s := c.d.net.S
	owned := slices.Clone(c.owned)
	type result struct {
		id     string
		answer *broker.Joined
	}
	was := c.member.ID
	r, err := ask(c.d, "JoinGroup", func() (result, error) {
		id, answer, err := c.d.net.B.Join(c.cfg.Group, was, c.cfg.Instance, c.cfg.Advertise, owned)
		return result{id, answer}, err
	})
	if c.closed || !c.mayGoOn(err) {
		return c.closed || c.wedged
	}
	id, answer := r.id, r.answer
	for answer == nil {
		s.Sleep(context.Background(), joinPoll)
		if answer, err = c.d.net.B.JoinAnswer(c.cfg.Group, id, c.cfg.Instance); c.closed || !c.mayGoOn(err) {
			return c.closed || c.wedged
		}
	}
	c.member = kafka.Member{ID: id, Instance: c.cfg.Instance, Generation: answer.Generation}
	return c.sync(answer)
}

// mayGoOn handles an error of a request of the membership.
func (c *consumer) mayGoOn(err error) bool {
	switch {
	case err == nil:
		return true
	case errors.Is(err, broker.UnknownMemberID):
		c.member.ID = ""
	case errors.Is(err, broker.FencedInstanceID):
		c.fenced(err)
	}
	return false
}

func (c *consumer) sync(answer *broker.Joined) bool {
	s := c.d.net.S
	var all map[string][]int32
	if len(answer.Members) > 0 {
		all = assign(c.d.net.B, c.topic, answer.Members, s.Rand().IntN(2) == 0)
	}
	type result struct {
		slots []int32
		done  bool
	}
	for {
		r, err := ask(c.d, "SyncGroup", func() (result, error) {
			slots, ok, err := c.d.net.B.Sync(c.cfg.Group, c.member.ID, c.cfg.Instance, answer.Generation, all)
			return result{slots, ok}, err
		})
		if c.closed || !c.mayGoOn(err) && !errors.Is(err, errTransport) && !errors.Is(err, broker.NotCoordinator) {
			return c.closed || c.wedged
		}
		if err == nil && r.done {
			c.joined = true
			c.ops = append(c.ops, func() { c.apply(r.slots) })
			return true
		}
		s.Sleep(context.Background(), joinPoll)
	}
}

// assign is the leader's sticky, cooperative assignment: who claims a slot keeps it, as long as the shares are even; a slot
// that is to move is taken from its owner first, and given in the next round. Which of its slots a member loses is nobody's promise:
// the last ones or, with first set, the first ones.
func assign(b *broker.Broker, topic string, members []broker.JoinedMember, first bool) map[string][]int32 {
	st, _ := b.Describe(topic)
	members = slices.Clone(members)
	slices.SortFunc(members, func(x, y broker.JoinedMember) int { return compareStrings(x.Instance, y.Instance) })
	n := int(st.Partitions)
	owner := make([]int, n)
	for i := range owner {
		owner[i] = -1
	}
	least := n / len(members)
	extra := n % len(members)
	given := make([]int, len(members))
	claimed := make([]bool, n)
	for i, m := range members {
		claims := slices.Sorted(slices.Values(m.Owned))
		if first {
			slices.Reverse(claims)
		}
		for _, slot := range claims {
			if int(slot) >= n {
				continue
			}
			claimed[slot] = true
			limit := least
			if given[i] == least && extra > 0 {
				extra--
				limit++
			}
			if owner[slot] < 0 && given[i] < limit {
				owner[slot] = i
				given[i]++
			}
		}
	}
	for slot := range owner {
		if owner[slot] >= 0 {
			continue
		}
		to := 0
		for i := range members {
			if given[i] < given[to] {
				to = i
			}
		}
		if given[to]++; !claimed[slot] {
			owner[slot] = to
		}
	}
	all := map[string][]int32{}
	for slot, i := range owner {
		if i >= 0 {
			all[members[i].ID] = append(all[members[i].ID], int32(slot)) //nolint:gosec // small
		}
	}
	return all
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// apply takes over what was assigned, on the goroutine that polls.
func (c *consumer) apply(slots []int32) {
	var gone, fresh []int32
	for _, x := range c.owned {
		if !slices.Contains(slots, x) {
			gone = append(gone, x)
		}
	}
	for _, x := range slots {
		if !slices.Contains(c.owned, x) {
			fresh = append(fresh, x)
		}
	}
	if len(gone) > 0 {
		c.owned = slices.DeleteFunc(c.owned, func(x int32) bool { return slices.Contains(gone, x) })
		c.call(c.revoked, gone)
		c.rejoin = true // so that the others get them
	}
	if len(fresh) > 0 || len(gone) == 0 {
		c.owned = append(c.owned, fresh...)
		c.call(c.assigned, fresh)
	}
}

func (c *consumer) call(f func([]int32), slots []int32) {
	c.inside = true
	f(slots)
	c.inside = false
}

// Poll implements protocol.Consumer.
func (c *consumer) Poll(wait time.Duration) bool {
	s := c.d.net.S
	s.Yield()
	if len(c.ops) == 0 && !c.ready() {
		over := false
		cancel := s.After(c.d.proc, 4*wait, func() { over = true })
		s.Wait(func() bool { return over || len(c.ops) > 0 || c.ready() })
		cancel()
	}
	if len(c.ops) > 0 {
		op := c.ops[0]
		c.ops = c.ops[1:]
		op()
		if c.member.ID == "" && c.joined && !c.closed && !c.wedged && !c.rejoin {
			c.lose()
		}
		return true
	}
	return c.fetch()
}

// ready says whether there is something to read.
func (c *consumer) ready() bool {
	for _, f := range c.sources {
		if !f.paused && c.d.net.B.LSO(f.tp) > f.at {
			return true
		}
	}
	return false
}

func (c *consumer) fetch() (found bool) {
	for _, f := range slices.Clone(c.sources) {
		if f.paused || c.d.net.B.LSO(f.tp) <= f.at || c.d.net.S.Chance("fetch delayed", 1000) {
			continue
		}
		entries, next, err := c.d.net.B.Fetch(f.tp, f.at, kafka.ReadCommitted, 1+c.d.net.S.Rand().IntN(fetchMax))
		if errors.Is(err, broker.OffsetOutOfRange) && c.d.net.OutOfRange != nil {
			c.d.net.OutOfRange()
		}
		if err != nil {
			c.ev.Failed(fmt.Errorf("read %s/%d at %d: %w", f.tp.Topic, f.tp.Partition, f.at, err), errors.Is(err, broker.OffsetOutOfRange))
			continue
		}
		c.ev.Batch(batchOf(f.tp, entries, next))
		f.at, found = next, true
	}
	return found
}

func batchOf(tp kafka.TopicPartition, entries []*broker.Entry, next int64) *kafka.Batch {
	b := &kafka.Batch{Topic: tp.Topic, Partition: tp.Partition}
	for _, e := range entries {
		b.Append(e.Offset, e.Timestamp, e.Key, e.Value, e.RawHeaders)
	}
	b.Next = next
	return b
}

// Flush implements protocol.Consumer: nothing is gathered.
func (c *consumer) Flush() {}

// Member implements protocol.Consumer.
func (c *consumer) Member() (protocol.Member, error) {
	if c.closed {
		return protocol.Member{}, errors.New("the consumer is closed")
	}
	return protocol.Member{Member: c.member}, nil
}

// Lost implements protocol.Consumer.
func (c *consumer) Lost() bool { return c.lost }

// Assign implements protocol.Consumer.
func (c *consumer) Assign(from []kafka.Position) error {
	if !c.inside {
		c.lost = false // as in librdkafka
	}
	for _, pos := range from {
		if c.source(pos.TopicPartition) != nil {
			return fmt.Errorf("%s/%d is assigned already", pos.Topic, pos.Partition)
		}
		at := pos.Offset
		if at < 0 {
			at, _ = c.d.net.B.Start(pos.TopicPartition)
		}
		c.sources = append(c.sources, &fetched{tp: pos.TopicPartition, at: at})
	}
	return nil
}

func (c *consumer) source(tp kafka.TopicPartition) *fetched {
	for _, f := range c.sources {
		if f.tp == tp {
			return f
		}
	}
	return nil
}

// Unassign implements protocol.Consumer. One that is not assigned wedges the member: the client fails, and forgets to join.
func (c *consumer) Unassign(tps []kafka.TopicPartition) error {
	for _, tp := range tps {
		if c.source(tp) == nil {
			c.wedged = true
			return nil
		}
	}
	c.sources = slices.DeleteFunc(c.sources, func(f *fetched) bool { return slices.Contains(tps, f.tp) })
	return nil
}

// Pause implements protocol.Consumer.
func (c *consumer) Pause(tps []kafka.TopicPartition) error { return c.flow(tps, true) }

// Resume implements protocol.Consumer.
func (c *consumer) Resume(tps []kafka.TopicPartition) error { return c.flow(tps, false) }

func (c *consumer) flow(tps []kafka.TopicPartition, paused bool) error {
	for _, tp := range tps {
		if f := c.source(tp); f != nil {
			f.paused = paused
		}
	}
	return nil
}

// Close implements protocol.Consumer.
func (c *consumer) Close() {
	c.closed = true
	if owned := c.owned; len(owned) > 0 {
		c.owned = nil
		c.call(c.revoked, owned)
	}
	c.sources = nil
}
