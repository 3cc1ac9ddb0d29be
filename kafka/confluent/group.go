package confluent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/kafka"
)

// defaultReleaseTimeout is how long letting go of slots may take in a rebalance, where GroupConfig says nothing.
const defaultReleaseTimeout = 10 * time.Second

// errStopped ends what a group has under way when its Run ends.
var errStopped = errors.New("the node has left its group")

// group implements kafka.Group. Everything in the last block of its fields belongs to the goroutine of Run; other
// goroutines queue what they want done there.
type group struct {
	d    *Driver
	cfg  kafka.GroupConfig
	me   kafka.Owner
	log  *slog.Logger
	raw  *kgo.Client
	wire groupWire
	done chan struct{} // closed when the consumer is: ends what serves it

	commits *commits

	// gate guards the consumer against being used while it is closed.
	gate     sync.RWMutex
	closed   bool
	consumer *rdk.Consumer

	mu       sync.Mutex
	commands []func()

	// Of Run's goroutine.
	h           kafka.GroupHandler
	closing     bool
	undo        []kafka.TopicPartition // what the revoke callback unassigns while closing
	member      member                 // as of the last assign callback
	slots       map[int32]*slot
	incarnation int64
	held        map[int32]bool // slots that this process has marked as its own, and not let go of in order
	fatal       error
	broken      bool // the fatal error is the consumer's own
	parts       map[kafka.TopicPartition]*source
	last        *source // of the record before
	pending     []*source
}

var _ kafka.Group = (*group)(nil)

// slot is one partition of the slots topic that the group has granted us.
type slot struct {
	id       int32
	take     *take
	tries    int // failed takes in a row
	granted  bool
	grant    kafka.Grant
	sources  []kafka.TopicPartition
	assigned []kafka.TopicPartition // in the consumer
}

// source is one topic-partition that is assigned in the consumer.
type source struct {
	tp       kafka.TopicPartition
	next     int64 // the lowest offset that was not read yet: a consumer may repeat itself
	batch    *kafka.Batch
	records  int // of the batch before: how much room to make for the next
	bytes    int
	repeated int64
}

// OpenGroup makes the consumer of a group. It joins only in Run. It waits ten seconds at most for a broker to answer.
func (d *Driver) OpenGroup(cfg kafka.GroupConfig) (kafka.Group, error) {
	me := kafka.Owner{Instance: cfg.Instance, Nonce: cfg.Nonce}
	if err := me.Validate(); err != nil {
		return nil, fmt.Errorf("open group %s: %w", cfg.Group, err)
	}
	if cfg.Group == "" {
		return nil, errors.New("open group: it has no name")
	}
	if cfg.ReleaseTimeout <= 0 {
		cfg.ReleaseTimeout = defaultReleaseTimeout
	}
	raw, err := d.openRaw(context.Background())
	if err != nil {
		return nil, err
	}
	g := &group{
		d: d, cfg: cfg, me: me, raw: raw, wire: groupWire{raw, cfg.Group}, done: make(chan struct{}),
		log:     d.log.With("group", cfg.Group, "instance", cfg.Instance),
		commits: &commits{granted: map[int32]grantOf{}}, slots: map[int32]*slot{}, held: map[int32]bool{},
		parts: map[kafka.TopicPartition]*source{},
	}
	if err := g.openConsumer(); err != nil {
		raw.Close()
		return nil, fmt.Errorf("open consumer of group %s: %w", cfg.Group, err)
	}
	return g, nil
}

func (g *group) openConsumer() error {
	cm, err := g.d.config(roleGroup)
	if err != nil {
		return err
	}
	own(cm, map[string]rdk.ConfigValue{
		"group.id": g.cfg.Group, "group.instance.id": g.cfg.Instance, "group.protocol": "classic",
		"partition.assignment.strategy": "cooperative-sticky", "isolation.level": "read_committed",
		"enable.auto.commit": false, "enable.auto.offset.store": false, "auto.offset.reset": "error",
		"enable.partition.eof": true, "go.events.channel.enable": false, "go.application.rebalance.enable": false,
	})
	if g.cfg.Advertise != "" {
		own(cm, map[string]rdk.ConfigValue{"client.id": g.cfg.Advertise})
	}
	unless(cm, map[string]rdk.ConfigValue{
		"session.timeout.ms": 45000, "heartbeat.interval.ms": 3000, "fetch.wait.max.ms": 50, "fetch.queue.backoff.ms": 5,
		"queued.max.messages.kbytes": 65536, "queued.min.messages": 100000, "fetch.message.max.bytes": 4 << 20,
	})
	c, err := rdk.NewConsumer(cm)
	if err != nil {
		return err
	}
	go forward(g.log, c.Logs(), g.done)
	if _, err := memberOf(c, g.cfg.Group, g.cfg.Instance); err != nil {
		within(closeTimeout, func() { _ = c.Close() })
		close(g.done)
		return err
	}
	g.consumer = c
	return nil
}

// now returns who this process is in the group at this moment. Any goroutine may call it.
func (g *group) now() (member, error) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	if g.closed {
		return member{}, errStopped
	}
	return memberOf(g.consumer, g.cfg.Group, g.cfg.Instance)
}

// Run implements kafka.Group.
func (g *group) Run(ctx context.Context, h kafka.GroupHandler) error {
	g.h = h
	if err := g.consumer.SubscribeTopics([]string{g.wire.slotsTopic()}, g.onRebalance); err != nil {
		g.fail(fmt.Errorf("subscribe to %s: %w", g.wire.slotsTopic(), err))
	}
	for quiet := 0; ctx.Err() == nil && g.fatal == nil; quiet++ {
		wait := pollWait
		if quiet > quietPolls {
			wait = pollWaitQuiet
		}
		if g.execute() || g.gather(wait) {
			quiet = 0
		}
	}
	g.stop()
	return g.fatal
}

// fail reports a fatal error once; Run ends on it.
func (g *group) fail(err error) {
	if g.fatal != nil {
		return
	}
	g.fatal = err
	g.h.Failed(err, true)
}

// queue has f executed on Run's goroutine, between two polls. It does not block.
func (g *group) queue(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commands = append(g.commands, f)
}

// execute executes what is queued, and says whether there was something.
func (g *group) execute() bool {
	g.mu.Lock()
	commands := g.commands
	g.commands = nil
	g.mu.Unlock()
	for _, f := range commands {
		f()
	}
	return len(commands) > 0
}

// Assign implements kafka.Group.
func (g *group) Assign(grant kafka.Grant, from []kafka.Position) {
	from = slices.Clone(from)
	g.queue(func() { g.assign(grant, from) })
}

func (g *group) assign(grant kafka.Grant, from []kafka.Position) {
	s := g.slots[grant.Slot]
	if s == nil || !s.granted || s.grant.Incarnation != grant.Incarnation {
		return // gone meanwhile
	}
	var tps []rdk.TopicPartition
	for _, pos := range from {
		if !slices.Contains(s.sources, pos.TopicPartition) || g.parts[pos.TopicPartition] != nil {
			g.log.Error("assign a partition that is no source of the slot or is assigned already", "slot", s.id, "topic", pos.Topic, "partition", pos.Partition)
			continue
		}
		offset := rdk.Offset(pos.Offset)
		if pos.Offset < 0 {
			offset = rdk.OffsetBeginning
		}
		tps = append(tps, rdk.TopicPartition{Topic: &pos.Topic, Partition: pos.Partition, Offset: offset})
		g.parts[pos.TopicPartition] = &source{tp: pos.TopicPartition, next: max(pos.Offset, 0)}
		s.assigned = append(s.assigned, pos.TopicPartition)
	}
	if len(tps) == 0 {
		return
	}
	err := g.consumer.IncrementalAssign(tps)
	if err == nil {
		err = g.consumer.Resume(tps) // librdkafka may remember a pause from an earlier assignment
	}
	if err != nil {
		g.fail(fmt.Errorf("assign the sources of slot %d: %w", s.id, err))
	}
}

// Pause implements kafka.Group.
func (g *group) Pause(tps ...kafka.TopicPartition) { g.flow("pause", g.consumer.Pause, tps) }

// Resume implements kafka.Group.
func (g *group) Resume(tps ...kafka.TopicPartition) { g.flow("resume", g.consumer.Resume, tps) }

func (g *group) flow(what string, do func([]rdk.TopicPartition) error, tps []kafka.TopicPartition) {
	tps = slices.Clone(tps)
	g.queue(func() {
		known := slices.DeleteFunc(tps, func(tp kafka.TopicPartition) bool { return g.parts[tp] == nil })
		if len(known) == 0 {
			return
		}
		if err := do(clientPartitions(known)); err != nil {
			g.h.Failed(fmt.Errorf("%s %v: %w", what, known, err), false)
		}
	})
}

// Retake implements kafka.Group.
func (g *group) Retake(slots []int32, why error) {
	slots = slices.Clone(slots)
	g.queue(func() {
		slots = slices.DeleteFunc(slots, func(id int32) bool { return g.slots[id] == nil || !g.slots[id].granted })
		g.retake(slots, why)
	})
}

// stop lets go of all slots, closes the consumer and leaves the group.
func (g *group) stop() {
	g.handOver()
	all := g.owned()
	if g.fatal == nil {
		g.undo = g.release(all)
	} else {
		g.undo = g.lose(all, g.fatal)
	}
	who := g.member
	if now, err := g.now(); err == nil && now.valid() {
		who = now
	}
	g.gate.Lock()
	g.closed, g.closing = true, true
	g.gate.Unlock()
	g.closeConsumer()
	close(g.done)
	if !g.cfg.KeepSlots && who.valid() && !errors.Is(g.fatal, kafka.ErrDuplicateIdentity) {
		if err := g.wire.leave(context.Background(), who.Member); err != nil {
			g.log.Warn("leaving the group failed: its slots move on only after the session timeout", "err", err)
		}
	}
	g.raw.Close()
}

// closeConsumer closes the consumer, but not one that met a fatal error of its own: librdkafka refuses to close that, and
// the Go client waits for it forever.
func (g *group) closeConsumer() {
	end := g.consumer.Close
	if g.broken {
		end = g.consumer.Unsubscribe
	}
	if !within(closeTimeout, func() { _ = end() }) {
		g.log.Warn("the consumer did not close in time and is left behind", "timeout", closeTimeout)
	}
}

// owned returns the ids of all slots, in order.
func (g *group) owned() []int32 {
	ids := make([]int32, 0, len(g.slots))
	for id := range g.slots {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func clientPartitions(tps []kafka.TopicPartition) []rdk.TopicPartition {
	out := make([]rdk.TopicPartition, len(tps))
	for i, tp := range tps {
		out[i] = rdk.TopicPartition{Topic: &tp.Topic, Partition: tp.Partition}
	}
	return out
}
