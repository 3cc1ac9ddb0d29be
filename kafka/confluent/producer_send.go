package confluent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

const maxTimestamp = math.MaxInt64 / int64(time.Millisecond)

// sender sends the outputs of bundles through a client.
type sender struct {
	*client
	topics  []string       // of the plan, by their ids
	out     outlet         // nil: records go through the public API
	message rdk.Message    // scratch
	reports chan rdk.Event // delivery reports; nil: none are wanted here
}

// openSender gives a client the topics of a plan.
func openSender(c *client, topics []string) (sender, error) {
	s := sender{client: c, topics: topics}
	if !c.batched {
		return s, nil
	}
	var err error
	if s.out, err = openOutlet(c.Producer, topics); err != nil {
		return s, errors.Join(fmt.Errorf("open producer %s: %w", c.id, err), c.close())
	}
	return s, nil
}

// close ends the client.
func (s *sender) close() error {
	if s.out != nil && !s.stuck { // what hangs in the library is left behind whole
		s.out.close()
	}
	return s.client.close()
}

// produceAll hands outputs to the client.
func (s *sender) produceAll(ctx context.Context, outs []*kafka.Outputs) error {
	for _, o := range outs {
		if err := s.produceOutputs(ctx, o); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
	}
	return nil
}

func (s *sender) produceOutputs(ctx context.Context, o *kafka.Outputs) error {
	if s.out != nil {
		return s.produceRuns(ctx, o)
	}
	for i := range o.Len() {
		if err := s.produce(ctx, o, i); err != nil {
			return err
		}
	}
	return nil
}

// produceRuns hands all records to the client, waiting while its queue is full.
func (s *sender) produceRuns(ctx context.Context, o *kafka.Outputs) error {
	for i := range o.Records {
		if err := s.check(&o.Records[i]); err != nil {
			return err
		}
	}
	for i := 0; i < o.Len(); {
		n, err := s.out.produce(o, i)
		s.sent += int64(n)
		if i += n; err != nil && (codeOf(err) != rdk.ErrQueueFull || !pause(ctx, time.Millisecond)) {
			return s.refused(o, i, err)
		}
	}
	return nil
}

// check refuses what no broker would take.
func (s *sender) check(r *kafka.Output) error {
	if r.Topic < 0 || int(r.Topic) >= len(s.topics) {
		return sick(fmt.Errorf("topic %d is none of the plan's %d", r.Topic, len(s.topics)))
	}
	return sick(checkTime(s.topics[r.Topic], r.Timestamp))
}

// checkTime refuses a time, in milliseconds, that the clients cannot convert.
func checkTime(topic string, ms int64) error {
	if ms > maxTimestamp || ms < -maxTimestamp {
		return fmt.Errorf("topic %s: a timestamp of %d ms since 1970 is out of range; are these microseconds?", topic, ms)
	}
	return nil
}

func (s *sender) refused(o *kafka.Outputs, i int, err error) error {
	r := &o.Records[i]
	return fmt.Errorf("topic %s, partition %d, %d bytes: %w", s.topics[r.Topic], r.Partition, o.Size(i), err)
}

// produce hands one record to the client, waiting while its queue is full.
func (s *sender) produce(ctx context.Context, o *kafka.Outputs, i int) error {
	r := &o.Records[i]
	if err := s.check(r); err != nil {
		return err
	}
	m := &s.message
	*m = rdk.Message{TopicPartition: rdk.TopicPartition{Topic: &s.topics[r.Topic], Partition: r.Partition}, Key: o.Key(i), Value: o.Value(i)}
	if r.Timestamp != 0 {
		m.Timestamp = time.UnixMilli(r.Timestamp)
	}
	if len(o.RawHeaders(i)) > 0 {
		for h := range o.Headers(i) {
			m.Headers = append(m.Headers, rdk.Header{Key: h.Key, Value: h.Value})
		}
	}
	for {
		err := s.Produce(m, s.reports)
		if err == nil {
			s.sent++
			return nil
		}
		if codeOf(err) != rdk.ErrQueueFull || !pause(ctx, time.Millisecond) {
			return s.refused(o, i, err)
		}
	}
}

// plainSender implements protocol.Plain with librdkafka's idempotent producer.
type plainSender struct{ sender }

var _ protocol.Plain = (*plainSender)(nil)

func openPlainSender(d *Driver, log *slog.Logger, topics []string) (*plainSender, error) {
	c, err := openPlain(d, log)
	if err != nil {
		return nil, err
	}
	s, err := openSender(c, topics)
	if err != nil {
		return nil, err
	}
	return &plainSender{s}, nil
}

// Produce implements protocol.Plain.
func (p *plainSender) Produce(ctx context.Context, outs []*kafka.Outputs) error {
	return classify(p.produceAll(ctx, outs))
}

// Flush implements protocol.Plain.
func (p *plainSender) Flush(ctx context.Context) error {
	err := p.drain(ctx)
	if err == nil {
		err = p.awaitReports(ctx)
	}
	return classify(err)
}

// Broken implements protocol.Plain.
func (p *plainSender) Broken() bool { return p.GetFatalError() != nil }

// Close implements protocol.Plain.
func (p *plainSender) Close() error { return p.close() }

// awaitReports waits until every record that was sent is reported, and returns why some failed.
func (p *plainSender) awaitReports(ctx context.Context) error {
	if p.batched {
		return p.failures(ctx)
	}
	for p.acked.Load()+p.failed.Load() < p.sent {
		if !pause(ctx, drainEvery) {
			return fmt.Errorf("%d records are not acknowledged in time: %w", p.sent-p.acked.Load()-p.failed.Load(), ctx.Err())
		}
	}
	if n := p.failed.Swap(0); n > 0 {
		p.sent -= n
		return fmt.Errorf("%d records were not delivered: %w", n, *p.why.Load())
	}
	return nil
}
