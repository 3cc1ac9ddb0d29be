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
	cfg    kafka.GroupConfig
	topics []string
}

var _ protocol.Plain = (*plain)(nil)

// Produce implements protocol.Plain.
func (p *plain) Produce(ctx context.Context, bundles []*kafka.Bundle) error {
	tps, batches := batchesOf(p.topics, bundles)
	for _, tp := range tps {
		written := false
		_, err := again(ctx, p.d, "Produce", func() (done, error) {
			if written {
				return done{}, nil
			}
			p.look(bundles)
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

// look tells of a write of somebody who has lost one of the slots, which nothing keeps from it.
func (p *plain) look(bundles []*kafka.Bundle) {
	if p.d.net.Stale == nil {
		return
	}
	marks := map[int32]string{}
	for _, pos := range p.d.net.B.Offsets(p.cfg.Group) {
		if pos.Topic == protocol.SlotsTopic(p.cfg.Group) {
			marks[pos.Partition] = pos.Metadata
		}
	}
	for _, b := range bundles {
		me := kafka.Owner{Instance: p.cfg.Instance, Nonce: p.cfg.Nonce}
		if m, err := kafka.ParseMark(marks[b.Slot]); err != nil || !m.IsOf(me) {
			_, twin := m.Twin(me)
			p.d.net.Stale(twin)
		}
	}
}

// Broken implements protocol.Plain: it can always send.
func (p *plain) Broken() bool { return false }

// Close implements protocol.Plain.
func (p *plain) Close() error { return nil }

// batchesOf returns what bundles write: one batch per topic-partition, in the order in which these come.
func batchesOf(topics []string, bundles []*kafka.Bundle) (tps []kafka.TopicPartition, batches map[kafka.TopicPartition][]broker.Record) {
	batches = map[kafka.TopicPartition][]broker.Record{}
	for _, b := range bundles {
		for _, o := range b.Outputs {
			for i, r := range o.Records {
				tp := kafka.TopicPartition{Topic: topics[r.Topic], Partition: r.Partition}
				if batches[tp] == nil {
					tps = append(tps, tp)
				}
				batches[tp] = append(batches[tp], broker.Record{Timestamp: r.Timestamp, Key: o.Key(i), Value: o.Value(i), RawHeaders: o.RawHeaders(i)})
			}
		}
	}
	return tps, batches
}
