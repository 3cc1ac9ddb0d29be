package client

import (
	"context"
	"fmt"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// plain is the model of librdkafka's idempotent producer, without transactions: what was written and not acknowledged is not
// written again, as long as the producer lives.
type plain struct {
	d      *Driver
	topics []string
	queue  []*kafka.Outputs
}

var _ protocol.Plain = (*plain)(nil)

// Produce implements protocol.Plain.
func (p *plain) Produce(_ context.Context, outs []*kafka.Outputs) error {
	p.queue = append(p.queue, outs...)
	return nil
}

// Flush implements protocol.Plain.
func (p *plain) Flush(ctx context.Context) error {
	tps, batches := batchesOf(p.topics, p.queue)
	p.queue = nil
	for _, tp := range tps {
		written := false
		_, err := again(ctx, p.d, "Produce", func() (done, error) {
			if written {
				return done{}, nil
			}
			_, err := p.d.net.B.Produce(tp, batches[tp])
			written = err == nil
			return done{}, err
		})
		if err != nil {
			return kind(fmt.Errorf("topic %s/%d: %w", tp.Topic, tp.Partition, err))
		}
	}
	return nil
}

// Broken implements protocol.Plain: it can always send.
func (p *plain) Broken() bool { return false }

// Close implements protocol.Plain.
func (p *plain) Close() error { return nil }

// batchesOf returns what is to be written: one batch per topic-partition, in the order in which these come.
func batchesOf(topics []string, outs []*kafka.Outputs) (tps []kafka.TopicPartition, batches map[kafka.TopicPartition][]broker.Record) {
	batches = map[kafka.TopicPartition][]broker.Record{}
	for _, o := range outs {
		for i, r := range o.Records {
			tp := kafka.TopicPartition{Topic: topics[r.Topic], Partition: r.Partition}
			if batches[tp] == nil {
				tps = append(tps, tp)
			}
			batches[tp] = append(batches[tp], broker.Record{Timestamp: r.Timestamp, Key: o.Key(i), Value: o.Value(i), RawHeaders: o.RawHeaders(i)})
		}
	}
	return tps, batches
}
