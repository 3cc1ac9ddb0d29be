package confluent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// transactionTimeoutMs is when the broker ends a transaction by itself, where the user's settings do not say.
	transactionTimeoutMs = 60000
	// commitTimeout bounds a commit, abortTimeout the abort that may follow.
	commitTimeout = 10 * time.Second
	abortTimeout  = 5 * time.Second
	// drainEvery is how often a producer looks whether all it sent is acknowledged.
	drainEvery = 500 * time.Microsecond
	// slowCommit is how long a commit takes at least if it was sent a second time, over a new connection:
	// reconnect.backoff.ms less its jitter of a quarter. The first one, held back somewhere, could commit the next
	// transaction.
	slowCommit        = 70 * time.Millisecond
	reconnectBackoff  = 100 // ms
	maxTimestamp      = math.MaxInt64 / int64(time.Millisecond)
	eventsChannelSize = 10000
)

// producer implements kafka.Producer.
type producer struct {
	d      *Driver
	g      *group
	topics []string
	log    *slog.Logger
	raw    *kgo.Client
	wire   groupWire

	client  *client        // nil: Settle did not get as far as opening a new one
	message rdk.Message    // scratch
	explain bool           // ask for delivery reports: the transaction before failed for a reason that was not told
	reports chan rdk.Event // of explain
}

var _ kafka.Producer = (*producer)(nil)

// OpenProducer opens the producer that belongs to a group of this driver. It ends the transaction that an earlier process
// of the same instance left open.
func (d *Driver) OpenProducer(ctx context.Context, g kafka.Group, topics []string) (kafka.Producer, error) {
	own, ok := g.(*group)
	if !ok {
		return nil, fmt.Errorf("open producer: the group is a %T, not one of this driver", g)
	}
	raw, err := d.openRaw(ctx)
	if err != nil {
		return nil, err
	}
	p := &producer{
		d: d, g: own, topics: slices.Clone(topics), raw: raw, wire: groupWire{raw, own.cfg.Group},
		log: d.log.With("group", own.cfg.Group, "instance", own.cfg.Instance),
	}
	if p.client, err = p.open(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return p, nil
}

func (p *producer) open(ctx context.Context) (*client, error) {
	if p.g.cfg.AtLeastOnce {
		return openPlain(p.d, p.log)
	}
	return openTransactional(ctx, p.d, p.log, transactionalID(p.g.cfg.Group, p.g.cfg.Instance))
}

// Commit implements kafka.Producer.
func (p *producer) Commit(ctx context.Context, bundles []*kafka.Bundle) kafka.Outcome {
	if p.client == nil {
		return kafka.Outcome{Verdict: kafka.Unknown, Err: errors.New("commit: the producer is closed; what the commit before came to must be settled first")}
	}
	now, err := p.g.now()
	if err != nil {
		return kafka.Outcome{Verdict: kafka.Aborted, Err: fmt.Errorf("commit: %w", err), Lost: slotsOf(bundles)}
	}
	if lost, err := p.g.commits.begin(bundles, now); err != nil {
		return kafka.Outcome{Verdict: kafka.Aborted, Err: err, Lost: lost}
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	commit := p.commitTransaction
	if p.g.cfg.AtLeastOnce {
		commit = p.commitPlain
	}
	out := commit(ctx, now, bundles)
	if out.Verdict != kafka.Unknown { // else Settle decides it
		p.g.commits.decided()
	}
	return out
}

func (p *producer) commitTransaction(ctx context.Context, now member, bundles []*kafka.Bundle) kafka.Outcome {
	if err := p.client.BeginTransaction(); err != nil {
		return p.unknown(bundles, fmt.Errorf("begin transaction: %w", err))
	}
	p.d.probe("begun")
	err := p.produceAll(ctx, bundles)
	if err == nil {
		p.d.probe("produced")
		// All is acknowledged before: a record that was refused shows here, while nothing is committed yet, and what
		// remains of the commit is one request, whose time tells whether it was sent once.
		err = p.client.SendOffsetsToTransaction(ctx, offsetsOf(bundles), now.metadata)
	}
	if err != nil {
		return p.abort(bundles, err)
	}
	p.d.probe("offsets")
	began := time.Now()
	err = p.client.CommitTransaction(ctx)
	took := time.Since(began)
	switch {
	case codeOf(err) == rdk.ErrInconsistent: // records failed on the client's side: the commit was never sent
		return p.abort(bundles, err)
	case err != nil:
		return p.unknown(bundles, fmt.Errorf("commit transaction: %w", err))
	case took > slowCommit:
		return p.unknown(bundles, fmt.Errorf("commit transaction: it took %v and may have been sent twice", took))
	}
	p.explain = false
	p.d.probe("committed")
	return kafka.Outcome{Verdict: kafka.Committed}
}

// abort ends a transaction whose commit has not begun.
func (p *producer) abort(bundles []*kafka.Bundle, cause error) kafka.Outcome {
	if reported := p.reported(); reported != nil {
		cause = errors.Join(reported, cause)
	}
	ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
	defer cancel()
	if err := p.client.AbortTransaction(ctx); err != nil {
		return p.unknown(bundles, errors.Join(cause, fmt.Errorf("abort transaction: %w", err)))
	}
	sick := isSick(cause)
	p.explain = !sick && codeOf(cause) == rdk.ErrInconsistent
	return kafka.Outcome{Verdict: kafka.Aborted, Err: cause, Sick: sick, Lost: p.lostBy(cause, bundles)}
}

// lostBy returns the slots of bundles if the error says that we are no member any more.
func (p *producer) lostBy(cause error, bundles []*kafka.Bundle) (lost []int32) {
	switch codeOf(cause) {
	case rdk.ErrUnknownMemberID, rdk.ErrFencedInstanceID:
		for _, b := range bundles {
			lost = append(lost, b.Slot)
		}
	}
	return lost
}

// unknown is the outcome of a transaction that cannot be told. One whose producer was fenced may have been fenced by who
// took a slot of ours, which is in order: only the marks tell whether another process has our identity.
func (p *producer) unknown(bundles []*kafka.Bundle, cause error) kafka.Outcome {
	out := kafka.Outcome{Verdict: kafka.Unknown, Err: cause}
	if !isFenced(cause) {
		return out
	}
	texts, err := p.wire.marks(context.Background(), slotsOf(bundles))
	if err != nil {
		out.Err = errors.Join(cause, err)
		return out
	}
	for slot, text := range texts {
		if err := p.twin(slot, text); err != nil {
			return kafka.Outcome{Verdict: kafka.Fenced, Err: errors.Join(err, cause)}
		}
	}
	return out
}

// twin returns an error if the mark of a slot names another process of our instance.
func (p *producer) twin(slot int32, text string) error {
	m, err := kafka.ParseMark(text)
	if err != nil {
		return nil //nolint:nilerr // a mark by another program names nobody
	}
	if other, ok := m.Twin(p.g.me); ok {
		return fmt.Errorf("slot %d of group %s is marked by %s, this process is %s: %w", slot, p.g.cfg.Group, other, p.g.me, kafka.ErrDuplicateIdentity)
	}
	return nil
}

// produceAll produces the outputs of bundles and waits until they are acknowledged or refused.
func (p *producer) produceAll(ctx context.Context, bundles []*kafka.Bundle) error {
	if p.reports = nil; p.explain {
		n := 0
		for _, b := range bundles {
			for _, o := range b.Outputs {
				n += o.Len()
			}
		}
		p.reports = make(chan rdk.Event, n)
	}
	for _, b := range bundles {
		for _, o := range b.Outputs {
			for i := range o.Len() {
				if err := p.produce(ctx, o, i); err != nil {
					return fmt.Errorf("produce for slot %d: %w", b.Slot, err)
				}
			}
		}
	}
	return p.client.drain(ctx)
}

// produce hands one record to the client, waiting while its queue is full.
func (p *producer) produce(ctx context.Context, o *kafka.Outputs, i int) error {
	r := &o.Records[i]
	if r.Topic < 0 || int(r.Topic) >= len(p.topics) {
		return sick(fmt.Errorf("topic %d is none of the plan's %d", r.Topic, len(p.topics)))
	}
	m := &p.message
	*m = rdk.Message{TopicPartition: rdk.TopicPartition{Topic: &p.topics[r.Topic], Partition: r.Partition}, Key: o.Key(i), Value: o.Value(i)}
	if r.Timestamp != 0 {
		if r.Timestamp > maxTimestamp || r.Timestamp < -maxTimestamp {
			return sick(fmt.Errorf("topic %s: a timestamp of %d ms since 1970 is out of range; are these microseconds?", p.topics[r.Topic], r.Timestamp))
		}
		m.Timestamp = time.UnixMilli(r.Timestamp)
	}
	if len(o.RawHeaders(i)) > 0 {
		for h := range o.Headers(i) {
			m.Headers = append(m.Headers, rdk.Header{Key: h.Key, Value: h.Value})
		}
	}
	for {
		err := p.client.Produce(m, p.reports)
		if err == nil {
			p.client.sent++
			return nil
		}
		if codeOf(err) != rdk.ErrQueueFull || !pause(ctx, time.Millisecond) {
			return fmt.Errorf("topic %s, partition %d, %d bytes: %w", p.topics[r.Topic], r.Partition, o.Size(i), err)
		}
	}
}

// reported returns the first failure among the delivery reports that were asked for, and forgets them.
func (p *producer) reported() error {
	for p.reports != nil {
		select {
		case ev := <-p.reports:
			if m, ok := ev.(*rdk.Message); ok && m.TopicPartition.Error != nil {
				return fmt.Errorf("topic %s, partition %d: %w", *m.TopicPartition.Topic, m.TopicPartition.Partition, m.TopicPartition.Error)
			}
		default:
			return nil
		}
	}
	return nil
}

// Close implements kafka.Producer.
func (p *producer) Close() error {
	err := p.closeClient()
	p.g.commits.decided()
	p.raw.Close()
	return err
}

func (p *producer) closeClient() error {
	c := p.client
	p.client = nil
	if c == nil {
		return nil
	}
	return c.close()
}

func offsetsOf(bundles []*kafka.Bundle) []rdk.TopicPartition {
	var tps []rdk.TopicPartition
	for _, b := range bundles {
		for i := range b.Offsets {
			o := &b.Offsets[i]
			tps = append(tps, rdk.TopicPartition{Topic: &o.Topic, Partition: o.Partition, Offset: rdk.Offset(o.Offset), Metadata: &o.Metadata})
		}
	}
	return tps
}

func slotsOf(bundles []*kafka.Bundle) []int32 {
	slots := make([]int32, len(bundles))
	for i, b := range bundles {
		slots[i] = b.Slot
	}
	return slots
}
