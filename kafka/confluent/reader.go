package confluent

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// readerBatch is how many records a batch of a reader holds at most.
	readerBatch = 1000
	// readerBytes is how many bytes of records close a batch.
	readerBytes = 1 << 20
	// watermarkWait is how long the broker may take to say what a partition has, once it has refused an offset.
	watermarkWait = 2 * time.Second
	// readerSlice is how long one poll may hold the reader: Assign, Remove and Close wait for it.
	readerSlice = 20 * time.Millisecond
)

// errReaderClosed is what a closed reader answers.
var errReaderClosed = errors.New("the reader is closed")

// reader implements kafka.Reader with a consumer that never joins its group. One mutex serializes all use of the
// consumer: so no record of an assignment that was removed can follow the Remove, and none is polled after Close, which
// would crash the process.
type reader struct {
	driver   *Driver
	mu       sync.Mutex
	consumer *rdk.Consumer
	met      *acquaintance
	in       intake // nil: records come through the public API
	closed   bool
	done     chan struct{} // ends the forwarding of log lines
	parts    map[kafka.TopicPartition]*reading
	full     []*kafka.Batch // given before anything else
	ready    []*reading     // those with something to give, in the order it came
	last     *reading       // of the last record: most often of the next one too
}

// reading is one assigned topic-partition.
type reading struct {
	tp      kafka.TopicPartition
	next    int64 // the lowest offset that may come; the position, for messages
	batch   *kafka.Batch
	arena   int // size of the last arena: the next is likely as large
	queued  bool
	headers []byte
}

var _ kafka.Reader = (*reader)(nil)

// openReader makes a reader. It connects on its own; a broker that is away shows in Poll.
func openReader(d *Driver) (kafka.Reader, error) {
	if err := checkBrokers(d.cfg.Brokers); err != nil {
		return nil, err
	}
	cm, err := d.config(roleGroup)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"session.timeout.ms", "heartbeat.interval.ms"} {
		delete(*cm, name) // of the membership, which a reader has none of
	}
	own(cm, map[string]rdk.ConfigValue{
		"group.id":             d.cfg.ClientID + "-reader", // required, never joined, nothing committed
		"isolation.level":      "read_committed",
		"enable.auto.commit":   false,
		"enable.partition.eof": true, "enable.auto.offset.store": false,
		"auto.offset.reset": "error",
	})
	unless(cm, map[string]rdk.ConfigValue{
		"fetch.wait.max.ms": 20, "fetch.queue.backoff.ms": 5, "fetch.message.max.bytes": 512 << 10,
		"queued.min.messages": 20000, "queued.max.messages.kbytes": 65536,
	})
	c, err := rdk.NewConsumer(cm)
	if err != nil {
		return nil, fmt.Errorf("open reader: %w", secretless(d.cfg.Settings, err))
	}
	r := &reader{driver: d, consumer: c, met: newAcquaintance(c), done: make(chan struct{}), parts: map[kafka.TopicPartition]*reading{}}
	go forward(d.log, c.Logs(), r.done)
	batched, err := d.batched()
	if err == nil && batched {
		r.in, err = openIntake(c)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open reader: %w", err), r.Close())
	}
	return r, nil
}

// Assign adds a topic-partition from an offset on; one that is assigned already begins anew at that offset.
func (r *reader) Assign(tp kafka.TopicPartition, from int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errReaderClosed
	}
	if from < 0 {
		return fmt.Errorf("read %s/%d from offset %d: it must not be below 0", tp.Topic, tp.Partition, from)
	}
	if err := r.remove(tp); err != nil {
		return err
	}
	var err error
	if r.in != nil {
		err = r.in.take(tp)
	}
	tps := []rdk.TopicPartition{{Topic: &tp.Topic, Partition: tp.Partition, Offset: rdk.Offset(from)}}
	if err == nil {
		err = r.consumer.IncrementalAssign(tps)
	}
	if err != nil {
		if r.in != nil {
			r.in.leave(tp)
		}
		return fmt.Errorf("read %s/%d from offset %d: %w", tp.Topic, tp.Partition, from, err)
	}
	r.met.with(tps)
	r.parts[tp] = &reading{tp: tp, next: from}
	return nil
}

// Remove takes a topic-partition away, and what was read of it and not given yet. One that is not assigned is ignored.
func (r *reader) Remove(tp kafka.TopicPartition) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	return r.remove(tp)
}

func (r *reader) remove(tp kafka.TopicPartition) error {
	p, ok := r.parts[tp]
	if !ok {
		return nil
	}
	delete(r.parts, tp)
	if r.in != nil {
		r.in.leave(tp)
	}
	p.batch, r.last = nil, nil // a place in ready without a batch is skipped
	r.full = slices.DeleteFunc(r.full, func(b *kafka.Batch) bool { return b.Topic == tp.Topic && b.Partition == tp.Partition })
	if err := r.consumer.IncrementalUnassign([]rdk.TopicPartition{{Topic: &tp.Topic, Partition: tp.Partition}}); err != nil {
		return fmt.Errorf("stop reading %s/%d: %w", tp.Topic, tp.Partition, err)
	}
	return nil
}

// Close ends the reader. A Poll under way ends within some milliseconds.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	defer close(r.done)
	r.met.end()
	if r.in != nil {
		r.in.close()
	}
	var err error
	if !closesInTime(func() { err = r.consumer.Close() }) {
		return fmt.Errorf("close reader: the client did not end within %v", closeTimeout)
	}
	return err
}

// Poll returns the next batch, nil if none came within the wait.
func (r *reader) Poll(wait time.Duration) (*kafka.Batch, error) {
	for end := time.Now().Add(wait); ; {
		poll := r.poll
		if r.in != nil {
			poll = r.pollRuns
		}
		b, err := poll(min(time.Until(end), readerSlice))
		if b != nil || err != nil || !time.Now().Before(end) {
			return b, err
		}
	}
}

// poll gathers events until a batch is full or, if there is any, no more are at hand.
func (r *reader) poll(wait time.Duration) (*kafka.Batch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ms := int(max(wait, 0).Milliseconds())
	for range readerBatch { // so that a swarm of small partitions cannot keep a batch back
		if r.closed {
			return nil, errReaderClosed
		}
		switch e := r.consumer.Poll(ms).(type) {
		case nil:
			return r.give(), nil
		case *rdk.Message:
			if e.TopicPartition.Error != nil {
				return nil, r.failed(e.TopicPartition, e.TopicPartition.Error)
			}
			if r.take(e) {
				return r.give(), nil
			}
		case rdk.PartitionEOF:
			r.end(rdk.TopicPartition(e))
		case rdk.Error:
			if err := r.fault(e); err != nil {
				return nil, err
			}
		}
		ms = 0
	}
	return r.give(), nil
}

// pollRuns is poll where records come in runs.
func (r *reader) pollRuns(wait time.Duration) (*kafka.Batch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errReaderClosed
	}
	if b := r.give(); b != nil {
		return b, nil
	}
	if e, ok := r.consumer.Poll(0).(rdk.Error); ok {
		if err := r.fault(e); err != nil {
			return nil, err
		}
	}
	runs := r.in.fetch(wait, readerBatch)
	defer r.in.done()
	var faults []error // records that came with one are given by the next poll
	for i := range runs {
		run := &runs[i]
		switch run.err {
		case rdk.ErrNoError:
			r.takeRun(run)
		case rdk.ErrPartitionEOF:
			r.end(run.end())
		default:
			faults = append(faults, r.fault(run.fault()))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return r.give(), nil
}

// takeRun adds records to the batch of their topic-partition.
func (r *reader) takeRun(run *catch) {
	p := r.reading(rdk.TopicPartition{Topic: &run.topic, Partition: run.partition})
	if p == nil {
		return // of an assignment that is gone
	}
	for run.n > 0 {
		b := r.open(p)
		r.in.fill(run, b, p.next, readerBatch, readerBytes)
		p.next = max(p.next, b.Next)
		if b.Len() >= readerBatch || len(b.Arena) >= readerBytes {
			r.full, p.batch = append(r.full, b), nil
		}
	}
}

// give returns the oldest batch.
func (r *reader) give() *kafka.Batch {
	if len(r.full) > 0 {
		b := r.full[0]
		r.full = slices.Delete(r.full, 0, 1)
		return b
	}
	for len(r.ready) > 0 {
		p := r.ready[0]
		r.ready, p.queued = r.ready[1:], false
		if b := p.batch; b != nil {
			p.batch, p.arena = nil, len(b.Arena)
			return b
		}
	}
	return nil
}

// reading returns the state of the topic-partition of an event; nil if it is not assigned.
func (r *reader) reading(tp rdk.TopicPartition) *reading {
	if p := r.last; p != nil && p.tp.Partition == tp.Partition && p.tp.Topic == *tp.Topic {
		return p
	}
	r.last = r.parts[kafka.TopicPartition{Topic: *tp.Topic, Partition: tp.Partition}]
	return r.last
}

// open returns the batch being filled.
func (r *reader) open(p *reading) *kafka.Batch {
	if p.batch == nil {
		p.batch = &kafka.Batch{Topic: p.tp.Topic, Partition: p.tp.Partition, Next: p.next}
		if r.in == nil { // runs say how much they need
			p.batch.Arena = make([]byte, 0, p.arena+p.arena/8)
		}
	}
	if !p.queued {
		p.queued = true
		r.ready = append(r.ready, p)
	}
	return p.batch
}

// take adds a record to its batch, and says whether that is full.
func (r *reader) take(m *rdk.Message) (full bool) {
	p := r.reading(m.TopicPartition)
	offset := int64(m.TopicPartition.Offset)
	if p == nil || offset < p.next {
		return false // of an assignment that is gone, or read before
	}
	b := r.open(p)
	if b.Records == nil {
		b.Records = make([]kafka.Record, 0, readerBatch)
	}
	p.headers = p.headers[:0]
	for _, h := range m.Headers {
		p.headers = kafka.AppendHeaders(p.headers, kafka.Header{Key: h.Key, Value: h.Value})
	}
	at := int64(-1)
	if m.TimestampType != rdk.TimestampNotAvailable {
		at = m.Timestamp.UnixMilli()
	}
	b.Append(offset, at, m.Key, m.Value, p.headers)
	p.next = b.Next
	return b.Len() >= readerBatch || len(b.Arena) >= readerBytes
}

// end moves a topic-partition's position to the end that the broker showed, over control and aborted records.
func (r *reader) end(tp rdk.TopicPartition) {
	p := r.reading(tp)
	if p == nil {
		return
	}
	b := r.open(p)
	p.next = max(p.next, int64(tp.Offset))
	b.Next = p.next
}

// fault returns an error that reading cannot get over. The others librdkafka mends itself: it connects again.
func (r *reader) fault(e rdk.Error) error {
	switch e.Code() {
	case rdk.ErrAutoOffsetReset, rdk.ErrOffsetOutOfRange:
		return r.outOfRange(e)
	case rdk.ErrTopicAuthorizationFailed:
		var rights []kafka.Right
		for tp := range r.parts {
			rights = append(rights, kafka.Right{Op: "Read", Kind: kafka.OnTopic, Name: tp.Topic})
		}
		return fmt.Errorf("read: %w", r.driver.denied(e, rights...))
	case rdk.ErrAuthentication:
		return fmt.Errorf("read: %w", r.driver.who.refused(e))
	case rdk.ErrUnknownTopic, rdk.ErrUnknownTopicOrPart, rdk.ErrUnknownPartition,
		rdk.ErrBadMsg, rdk.ErrBadCompression:
		return fmt.Errorf("read: %w", e)
	}
	if e.IsFatal() {
		return fmt.Errorf("read: %w", e)
	}
	return nil
}

// outOfRange names the topic-partition that has no longer, or not yet, the offset that it is to be read from: librdkafka
// does not say it.
func (r *reader) outOfRange(e rdk.Error) error {
	for tp, p := range r.parts {
		low, high, err := r.consumer.QueryWatermarkOffsets(tp.Topic, tp.Partition, int(watermarkWait.Milliseconds()))
		if err == nil && (p.next < low || p.next > high) {
			return fmt.Errorf("read %s/%d from offset %d: out of range, it has %d to %d: records were deleted or the topic was made anew: %w",
				tp.Topic, tp.Partition, p.next, low, high, e)
		}
	}
	return fmt.Errorf("read: an offset is out of range: records were deleted or a topic was made anew: %w", e)
}

// failed names the topic-partition of an error.
func (r *reader) failed(tp rdk.TopicPartition, err error) error {
	topic := ""
	if tp.Topic != nil {
		topic = *tp.Topic
	}
	return fmt.Errorf("read %s/%d at offset %v: %w", topic, tp.Partition, tp.Offset, err)
}
