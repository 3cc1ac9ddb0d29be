package confluent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// errClosed is why a consumer that is closed is nobody in its group.
var errClosed = errors.New("the node has left its group")

// maxHeld is how many sources are held back at once when they are paused; others are paused in librdkafka. The queue of each may fill to queued.max.messages.kbytes.
const maxHeld = 4

// consumer implements protocol.Consumer with librdkafka's. What it is assigned it reads in batches. Everything in the last
// block of its fields belongs to the goroutine that polls.
type consumer struct {
	cfg    kafka.GroupConfig
	driver *Driver
	log    *slog.Logger
	rdk    *rdk.Consumer
	met    *acquaintance
	in     intake // nil: records come through the public API
	events protocol.Events
	says   *figures
	done   chan struct{} // closed when the consumer is: ends what serves it

	// gate guards the consumer against being used while it is closed.
	gate   sync.RWMutex
	closed bool

	// Of the goroutine that polls.
	failed  bool // a fatal error was reported, or will be by the group: nothing more is gathered
	broken  bool // the client itself met a fatal error
	parts   map[kafka.TopicPartition]*source
	last    *source // of the record before
	held    int     // sources that are
	pending []*source
}

var _ protocol.Consumer = (*consumer)(nil)

// source is one topic-partition that is assigned in the consumer.
type source struct {
	tp       kafka.TopicPartition
	next     int64 // the lowest offset that was not read yet: a consumer may repeat itself
	held     bool  // paused, and what librdkafka has fetched of it is kept
	batch    *kafka.Batch
	records  int // of the batch before: how much room to make for the next
	bytes    int
	repeated int64
}

// group is the membership of a node, with the client for the requests beside it.
type group struct {
	*protocol.Group
	cfg   kafka.GroupConfig
	close func()
}

var _ kafka.Group = (*group)(nil)

// OpenGroup makes the consumer of a group. It joins only in Run. It waits ten seconds at most for a broker to answer.
func (d *Driver) OpenGroup(cfg kafka.GroupConfig) (kafka.Group, error) {
	raw, err := rawClient(d.cfg.Brokers, d.cfg.Settings, d.cfg.ClientID)
	if err != nil {
		return nil, err
	}
	log := d.log.With("topology", cfg.Group, "node", cfg.Instance)
	g, err := protocol.NewGroup(cfg, log, protocol.Real{}, groupWire{&requester{raw, d.who}, cfg.Group}, func(events protocol.Events) (protocol.Consumer, error) {
		if err := d.reach(context.Background(), raw); err != nil {
			return nil, err
		}
		c, err := openConsumer(d, cfg, log, events)
		if err != nil {
			return nil, fmt.Errorf("open consumer of group %s: %w", cfg.Group, err)
		}
		return c, nil
	})
	if err != nil {
		raw.Close()
		return nil, err
	}
	return &group{g, cfg, raw.Close}, nil
}

// Run implements kafka.Group.
func (g *group) Run(ctx context.Context, h kafka.GroupHandler) error {
	defer g.close()
	return g.Group.Run(ctx, h)
}

func openConsumer(d *Driver, cfg kafka.GroupConfig, log *slog.Logger, events protocol.Events) (*consumer, error) {
	cm, err := d.config(roleGroup)
	if err != nil {
		return nil, err
	}
	own(cm, map[string]rdk.ConfigValue{
		"group.id": cfg.Group, "group.instance.id": cfg.Instance, "group.protocol": "classic",
		"partition.assignment.strategy": "cooperative-sticky", "isolation.level": "read_committed",
		"enable.auto.commit": false, "enable.auto.offset.store": false, "auto.offset.reset": "error",
		"enable.partition.eof": true, "go.events.channel.enable": false, "go.application.rebalance.enable": false,
	})
	if cfg.Advertise != "" {
		own(cm, map[string]rdk.ConfigValue{"client.id": fmt.Sprintf("%v@%s", (*cm)["client.id"], cfg.Advertise)})
	}
	unless(cm, map[string]rdk.ConfigValue{
		"session.timeout.ms": 45000, "heartbeat.interval.ms": 1000, "statistics.interval.ms": figuresEvery, "fetch.wait.max.ms": 50, "fetch.queue.backoff.ms": 5,
		"queued.max.messages.kbytes": 65536, "queued.min.messages": 20000, "fetch.message.max.bytes": 2 << 20,
	})
	client, err := rdk.NewConsumer(cm)
	if err != nil {
		return nil, err
	}
	c := &consumer{cfg: cfg, driver: d, log: log, rdk: client, met: newAcquaintance(client), events: events, says: &d.figures, done: make(chan struct{}), parts: map[kafka.TopicPartition]*source{}}
	go forward(log, client.Logs(), c.done)
	batched, err := d.batched()
	if err == nil && batched {
		c.in, err = openIntake(client)
	}
	if err == nil {
		_, err = c.Member()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Subscribe implements protocol.Consumer. The callback of librdkafka must lead to IncrementalAssign or
// IncrementalUnassign: without that the Go client would do so with the slots' own partitions.
func (c *consumer) Subscribe(topic string, assigned, revoked func(slots []int32)) error {
	return c.rdk.SubscribeTopics([]string{topic}, func(_ *rdk.Consumer, ev rdk.Event) error {
		switch e := ev.(type) {
		case rdk.AssignedPartitions:
			assigned(partitionIDs(e.Partitions))
		case rdk.RevokedPartitions:
			revoked(partitionIDs(e.Partitions))
		}
		return nil // the binding ignores it
	})
}

// Member implements protocol.Consumer.
func (c *consumer) Member() (protocol.Member, error) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	if c.closed {
		return protocol.Member{}, errClosed
	}
	return memberOf(c.rdk, c.cfg.Group, c.cfg.Instance)
}

// Lost implements protocol.Consumer.
func (c *consumer) Lost() bool { return c.rdk.AssignmentLost() }

// Assign implements protocol.Consumer.
func (c *consumer) Assign(from []kafka.Position) error {
	var tps []rdk.TopicPartition // nil if there is nothing
	for _, pos := range from {
		offset := rdk.Offset(pos.Offset)
		if pos.Offset < 0 {
			offset = rdk.OffsetBeginning
		}
		tps = append(tps, rdk.TopicPartition{Topic: &pos.Topic, Partition: pos.Partition, Offset: offset})
		c.parts[pos.TopicPartition] = &source{tp: pos.TopicPartition, next: max(pos.Offset, 0)}
		if c.in == nil {
			continue
		}
		if err := c.in.take(pos.TopicPartition); err != nil {
			c.failed = true
			return err
		}
	}
	err := c.rdk.IncrementalAssign(tps)
	if err == nil && len(tps) > 0 {
		err = c.rdk.Resume(tps) // librdkafka may remember a pause from an earlier assignment
	}
	if err == nil {
		c.met.with(tps)
	}
	c.failed = c.failed || err != nil
	return err
}

// Unassign implements protocol.Consumer.
func (c *consumer) Unassign(tps []kafka.TopicPartition) error {
	for _, tp := range tps {
		c.release(tp) // what librdkafka has of it comes, and is seen to be late
		if c.in != nil {
			c.in.leave(tp)
		}
		delete(c.parts, tp)
	}
	c.last = nil
	kept := c.pending[:0]
	for _, s := range c.pending {
		if c.parts[s.tp] == s {
			kept = append(kept, s)
		}
	}
	clear(c.pending[len(kept):])
	c.pending = kept
	err := c.rdk.IncrementalUnassign(clientPartitions(tps))
	c.failed = c.failed || err != nil
	return err
}

// Pause implements protocol.Consumer. librdkafka throws away what it has fetched of a partition that it pauses, and fetches it again later. So a few
// are only held back: where many partitions are paused, each has little in the queue that they share, and what it has is thrown away.
func (c *consumer) Pause(tps []kafka.TopicPartition) error {
	var rest []kafka.TopicPartition
	for _, tp := range tps {
		switch s := c.parts[tp]; {
		case s == nil || s.held:
		case c.in != nil && c.held < maxHeld:
			c.in.hold(tp)
			s.held = true
			c.held++
		default:
			rest = append(rest, tp)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return c.rdk.Pause(clientPartitions(rest))
}

// Resume implements protocol.Consumer.
func (c *consumer) Resume(tps []kafka.TopicPartition) error {
	rest := slices.DeleteFunc(slices.Clone(tps), c.release)
	if len(rest) == 0 {
		return nil
	}
	return c.rdk.Resume(clientPartitions(rest))
}

// release lets the records of a partition come, if they are held back.
func (c *consumer) release(tp kafka.TopicPartition) bool {
	s := c.parts[tp]
	if s == nil || !s.held {
		return false
	}
	c.in.release(tp)
	s.held = false
	c.held--
	return true
}

// Close implements protocol.Consumer. A consumer that met a fatal error of its own is not closed: librdkafka refuses that,
// and the Go client waits for it forever.
func (c *consumer) Close() {
	c.gate.Lock()
	c.closed = true
	c.gate.Unlock()
	c.met.end()
	if c.in != nil {
		c.in.close()
	}
	end := c.rdk.Close
	if c.broken {
		end = c.rdk.Unsubscribe
	}
	if !closesInTime(func() { _ = end() }) {
		c.log.Warn("the consumer did not close in time and is left behind", "timeout", closeTimeout)
	}
	c.says.forget(c.rdk.String())
	close(c.done)
}

func clientPartitions(tps []kafka.TopicPartition) []rdk.TopicPartition {
	out := make([]rdk.TopicPartition, len(tps))
	for i, tp := range tps {
		out[i] = rdk.TopicPartition{Topic: &tp.Topic, Partition: tp.Partition}
	}
	return out
}

func partitionIDs(tps []rdk.TopicPartition) []int32 {
	ids := make([]int32, len(tps))
	for i, tp := range tps {
		ids[i] = tp.Partition
	}
	return ids
}
