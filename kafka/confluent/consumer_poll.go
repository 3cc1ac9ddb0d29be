package confluent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// A batch is handed over when it has so many records or bytes, or when there is nothing more to read just now.
	maxBatchRecords = 1000
	maxBatchBytes   = 1 << 20
	// maxGather is how many events are polled before commands get their turn.
	maxGather = 4 * maxBatchRecords
	// watermarkTimeoutMs bounds each question of explainReset.
	watermarkTimeoutMs = 3000
)

// Poll implements protocol.Consumer: it gathers what is there.
func (c *consumer) Poll(wait time.Duration) bool {
	if c.in != nil {
		return c.pollRuns(wait)
	}
	ev := c.rdk.Poll(int(wait.Milliseconds()))
	found := ev != nil
	for n := 0; ev != nil; n++ {
		c.on(ev)
		if n == maxGather || c.failed {
			break
		}
		ev = c.rdk.Poll(0)
	}
	c.Flush()
	return found
}

// pollRuns is Poll where records come in runs: what the client polls then is all the rest, rebalances first of all.
func (c *consumer) pollRuns(wait time.Duration) (found bool) {
	for n := 0; n < maxGather && !c.failed; n++ {
		ev := c.rdk.Poll(0)
		if ev == nil {
			break
		}
		found = true
		c.on(ev)
	}
	if !c.failed {
		if found {
			wait = 0
		}
		found = c.gather(wait) || found
	}
	c.Flush()
	return found
}

// gather takes the runs that are there.
func (c *consumer) gather(wait time.Duration) bool {
	runs := c.in.fetch(wait, maxGather)
	defer c.in.done()
	for i := range runs {
		r := &runs[i]
		switch r.err {
		case rdk.ErrNoError:
			c.onRun(r)
		case rdk.ErrPartitionEOF:
			c.onEOF(r.end())
		default:
			if c.source(r.topic, r.partition) != nil { // else late, after it was unassigned
				c.onError(r.fault())
			}
		}
	}
	return len(runs) > 0
}

func (c *consumer) onRun(r *catch) {
	s := c.source(r.topic, r.partition)
	if s == nil {
		return // late, after it was unassigned
	}
	for r.n > 0 {
		b := c.open(s)
		if n := c.in.fill(r, b, s.next, maxBatchRecords, maxBatchBytes); n > 0 {
			c.noteRepeated(s, n, s.next)
		}
		s.next = max(s.next, b.Next)
		if len(b.Records) >= maxBatchRecords || len(b.Arena) >= maxBatchBytes {
			c.hand(s)
		}
	}
}

// noteRepeated counts records that have come before, below the given offset.
func (c *consumer) noteRepeated(s *source, n int, below int64) {
	if s.repeated == 0 {
		c.log.Info("the consumer repeats itself; repeated records are dropped", "topic", s.tp.Topic, "partition", s.tp.Partition, "expected", below)
	}
	s.repeated += int64(n)
}

func (c *consumer) on(ev rdk.Event) {
	switch e := ev.(type) {
	case *rdk.Message:
		c.onMessage(e)
	case rdk.PartitionEOF:
		c.onEOF(rdk.TopicPartition(e))
	case rdk.Error:
		c.onError(e)
	case *rdk.Stats:
		c.says.take(c.log, e.String())
	}
}

// source returns what is assigned under a name, or nil.
func (c *consumer) source(topic string, partition int32) *source {
	if s := c.last; s != nil && s.tp.Partition == partition && s.tp.Topic == topic {
		return s
	}
	s := c.parts[kafka.TopicPartition{Topic: topic, Partition: partition}]
	if s != nil {
		c.last = s
	}
	return s
}

func (c *consumer) onMessage(m *rdk.Message) {
	if m.TopicPartition.Topic == nil {
		return
	}
	s := c.source(*m.TopicPartition.Topic, m.TopicPartition.Partition)
	if s == nil {
		return // late, after it was unassigned
	}
	if m.TopicPartition.Error != nil {
		c.events.Failed(fmt.Errorf("read %s/%d: %w", s.tp.Topic, s.tp.Partition, m.TopicPartition.Error), false)
		return
	}
	offset := int64(m.TopicPartition.Offset)
	if offset < s.next {
		c.noteRepeated(s, 1, s.next)
		return
	}
	timestamp := int64(-1)
	if m.TimestampType != rdk.TimestampNotAvailable {
		timestamp = m.Timestamp.UnixMilli()
	}
	b := c.open(s)
	b.Append(offset, timestamp, m.Key, m.Value, rawHeaders(m.Headers))
	s.next = offset + 1
	if len(b.Records) >= maxBatchRecords || len(b.Arena) >= maxBatchBytes {
		c.hand(s)
	}
}

// onEOF moves a source over the control and aborted records at the end of what may be read.
func (c *consumer) onEOF(at rdk.TopicPartition) {
	if at.Topic == nil {
		return
	}
	s := c.source(*at.Topic, at.Partition)
	if s == nil || int64(at.Offset) <= s.next {
		return
	}
	s.next = int64(at.Offset)
	c.open(s).Next = s.next
}

// open returns the batch that is being gathered for a source.
func (c *consumer) open(s *source) *kafka.Batch {
	if s.batch == nil {
		s.batch = &kafka.Batch{Topic: s.tp.Topic, Partition: s.tp.Partition, Next: s.next}
		if s.records > 0 && c.in == nil { // runs say how much they need; here a bit more room than the last one needed
			s.batch.Records = make([]kafka.Record, 0, min(s.records+s.records/4, maxBatchRecords))
			s.batch.Arena = make([]byte, 0, min(s.bytes+s.bytes/4, maxBatchBytes))
		}
		c.pending = append(c.pending, s)
	}
	return s.batch
}

// Flush implements protocol.Consumer.
func (c *consumer) Flush() {
	for _, s := range c.pending {
		c.hand(s)
	}
	clear(c.pending)
	c.pending = c.pending[:0]
}

func (c *consumer) hand(s *source) {
	b := s.batch
	if b == nil {
		return // full, and handed over before
	}
	s.batch, s.records, s.bytes = nil, len(b.Records), len(b.Arena)
	c.events.Batch(b)
}

func rawHeaders(headers []rdk.Header) []byte {
	var raw []byte
	for _, h := range headers {
		raw = kafka.AppendHeaders(raw, kafka.Header{Key: h.Key, Value: h.Value})
	}
	return raw
}

// fail reports a fatal error; Poll ends on it.
func (c *consumer) fail(err error) {
	c.failed = true
	c.events.Failed(err, true)
}

// onError judges an error of the consumer.
func (c *consumer) onError(e rdk.Error) {
	c.broken = c.broken || e.IsFatal()
	switch code := e.Code(); {
	case code == rdk.ErrAutoOffsetReset || code == rdk.ErrOffsetOutOfRange:
		c.fail(c.explainReset(e))
	case code == rdk.ErrFencedInstanceID:
		c.fail(fmt.Errorf("group %s has another member with the instance id %s: %w; give each node a data directory, or an --instance-id, of its own (%w)", c.cfg.Group, c.cfg.Instance, kafka.ErrDuplicateIdentity, e))
	case deniedKind(code) != "":
		c.fail(fmt.Errorf("consumer of group %s: %w", c.cfg.Group, c.denied(e)))
	case code == rdk.ErrAuthentication:
		c.fail(fmt.Errorf("consumer of group %s: %w", c.cfg.Group, c.driver.who.refused(e)))
	case e.IsFatal():
		c.fail(fmt.Errorf("consumer of group %s: %w", c.cfg.Group, e))
	case code == rdk.ErrUnknownTopicOrPart || code == rdk.ErrUnknownTopic || code == rdk.ErrUnknownPartition:
		c.events.Failed(fmt.Errorf("consumer of group %s: a topic it reads, or a partition, does not exist any more: %w; make it again and restart the node", c.cfg.Group, e), false)
	default:
		c.events.Failed(fmt.Errorf("consumer of group %s: %w", c.cfg.Group, e), false)
	}
}

// denied names the right that is missing: librdkafka does not say of which topic.
func (c *consumer) denied(e rdk.Error) error {
	rights := []kafka.Right{right("Read", kafka.OnGroup, c.cfg.Group)}
	for tp := range c.parts {
		if r := right("Read", kafka.OnTopic, tp.Topic); !slices.Contains(rights, r) {
			rights = append(rights, r)
		}
	}
	return c.driver.denied(e, rights...)
}

// explainReset finds the partition whose next offset is not in the log; librdkafka's error does not say it.
func (c *consumer) explainReset(cause error) error {
	var errs []error
	for _, s := range c.parts {
		low, high, err := c.rdk.QueryWatermarkOffsets(s.tp.Topic, s.tp.Partition, watermarkTimeoutMs)
		if err == nil && (s.next < low || s.next > high) {
			errs = append(errs, fmt.Errorf("offset %d of %s/%d is to be read next, but its log goes from %d to %d", s.next, s.tp.Topic, s.tp.Partition, low, high))
		}
	}
	return fmt.Errorf("group %s: records are gone that were not read yet, or the topic was made anew: %w; nothing is skipped silently: set the group's offset with kafka-consumer-groups --reset-offsets, and give the topic a longer retention",
		c.cfg.Group, errors.Join(append(errs, cause)...))
}
