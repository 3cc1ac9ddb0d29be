package confluent

import (
	"errors"
	"fmt"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// pollWait is how long one poll waits when there is nothing to read; so long may a command wait. After so many polls
	// without anything to do, one waits longer.
	pollWait      = 5 * time.Millisecond
	pollWaitQuiet = 25 * time.Millisecond
	quietPolls    = 40
	// A batch is handed over when it has so many records or bytes, or when there is nothing more to read just now.
	maxBatchRecords = 1000
	maxBatchBytes   = 1 << 20
	// maxGather is how many events are polled before commands get their turn.
	maxGather = 4096
	// watermarkTimeoutMs bounds each question of explainReset.
	watermarkTimeoutMs = 3000
)

// gather polls what is there, and hands it over in batches. It says whether there was something.
func (g *group) gather(wait time.Duration) bool {
	ev := g.consumer.Poll(int(wait.Milliseconds()))
	found := ev != nil
	for n := 0; ev != nil; n++ {
		g.on(ev)
		if n == maxGather || g.fatal != nil {
			break
		}
		ev = g.consumer.Poll(0)
	}
	g.handOver()
	return found
}

func (g *group) on(ev rdk.Event) {
	switch e := ev.(type) {
	case *rdk.Message:
		g.onMessage(e)
	case rdk.PartitionEOF:
		g.onEOF(rdk.TopicPartition(e))
	case rdk.Error:
		g.onError(e)
	}
}

// source returns what is assigned under a name, or nil.
func (g *group) source(topic string, partition int32) *source {
	if s := g.last; s != nil && s.tp.Partition == partition && s.tp.Topic == topic {
		return s
	}
	s := g.parts[kafka.TopicPartition{Topic: topic, Partition: partition}]
	if s != nil {
		g.last = s
	}
	return s
}

func (g *group) onMessage(m *rdk.Message) {
	if m.TopicPartition.Topic == nil {
		return
	}
	s := g.source(*m.TopicPartition.Topic, m.TopicPartition.Partition)
	if s == nil {
		return // late, after it was unassigned
	}
	if m.TopicPartition.Error != nil {
		g.h.Failed(fmt.Errorf("read %s/%d: %w", s.tp.Topic, s.tp.Partition, m.TopicPartition.Error), false)
		return
	}
	offset := int64(m.TopicPartition.Offset)
	if offset < s.next {
		if s.repeated++; s.repeated == 1 {
			g.log.Info("the consumer repeats itself; repeated records are dropped", "topic", s.tp.Topic, "partition", s.tp.Partition, "offset", offset, "expected", s.next)
		}
		return
	}
	timestamp := int64(-1)
	if m.TimestampType != rdk.TimestampNotAvailable {
		timestamp = m.Timestamp.UnixMilli()
	}
	b := g.open(s)
	b.Append(offset, timestamp, m.Key, m.Value, rawHeaders(m.Headers))
	s.next = offset + 1
	if len(b.Records) >= maxBatchRecords || len(b.Arena) >= maxBatchBytes {
		g.hand(s)
	}
}

// onEOF moves a source over the control and aborted records at the end of what may be read.
func (g *group) onEOF(at rdk.TopicPartition) {
	if at.Topic == nil {
		return
	}
	s := g.source(*at.Topic, at.Partition)
	if s == nil || int64(at.Offset) <= s.next {
		return
	}
	s.next = int64(at.Offset)
	g.open(s).Next = s.next
}

// open returns the batch that is being gathered for a source.
func (g *group) open(s *source) *kafka.Batch {
	if s.batch == nil {
		s.batch = &kafka.Batch{Topic: s.tp.Topic, Partition: s.tp.Partition, Next: s.next}
		if s.records > 0 { // a bit more room than the last one needed
			s.batch.Records = make([]kafka.Record, 0, min(s.records+s.records/4, maxBatchRecords))
			s.batch.Arena = make([]byte, 0, min(s.bytes+s.bytes/4, maxBatchBytes))
		}
		g.pending = append(g.pending, s)
	}
	return s.batch
}

// handOver hands over all batches that are being gathered.
func (g *group) handOver() {
	for _, s := range g.pending {
		g.hand(s)
	}
	clear(g.pending)
	g.pending = g.pending[:0]
}

func (g *group) hand(s *source) {
	b := s.batch
	if b == nil {
		return // full, and handed over before
	}
	s.batch, s.records, s.bytes = nil, len(b.Records), len(b.Arena)
	g.h.Batch(b)
}

func rawHeaders(headers []rdk.Header) []byte {
	var raw []byte
	for _, h := range headers {
		raw = kafka.AppendHeaders(raw, kafka.Header{Key: h.Key, Value: h.Value})
	}
	return raw
}

// onError judges an error of the consumer.
func (g *group) onError(e rdk.Error) {
	g.broken = g.broken || e.IsFatal()
	switch code := e.Code(); {
	case code == rdk.ErrAutoOffsetReset || code == rdk.ErrOffsetOutOfRange:
		g.fail(g.explainReset(e))
	case code == rdk.ErrFencedInstanceID:
		g.fail(fmt.Errorf("group %s has another member with the instance id %s: %w; give each node a data directory, or an --instance-id, of its own (%w)", g.cfg.Group, g.cfg.Instance, kafka.ErrDuplicateIdentity, e))
	case e.IsFatal():
		g.fail(fmt.Errorf("consumer of group %s: %w", g.cfg.Group, e))
	case code == rdk.ErrUnknownTopicOrPart || code == rdk.ErrUnknownTopic || code == rdk.ErrUnknownPartition:
		g.h.Failed(fmt.Errorf("consumer of group %s: a topic it reads, or a partition, does not exist any more: %w; make it again and restart the node", g.cfg.Group, e), false)
	default:
		g.h.Failed(fmt.Errorf("consumer of group %s: %w", g.cfg.Group, e), false)
	}
}

// explainReset finds the partition whose next offset is not in the log; librdkafka's error does not say it.
func (g *group) explainReset(cause error) error {
	var errs []error
	for _, s := range g.parts {
		low, high, err := g.consumer.QueryWatermarkOffsets(s.tp.Topic, s.tp.Partition, watermarkTimeoutMs)
		if err == nil && (s.next < low || s.next > high) {
			errs = append(errs, fmt.Errorf("offset %d of %s/%d is to be read next, but its log goes from %d to %d", s.next, s.tp.Topic, s.tp.Partition, low, high))
		}
	}
	return fmt.Errorf("group %s: records are gone that were not read yet, or the topic was made anew: %w; nothing is skipped silently: set the group's offset with kafka-consumer-groups --reset-offsets, and give the topic a longer retention",
		g.cfg.Group, errors.Join(append(errs, cause)...))
}
