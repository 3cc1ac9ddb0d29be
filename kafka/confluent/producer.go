package confluent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// producer is the producer of a node, with the client for the requests beside it.
type producer struct {
	*protocol.Producer
	close func()
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
	topics = slices.Clone(topics)
	wire := groupWire{raw, own.cfg.Group}
	log := d.log.With("topology", own.cfg.Group, "node", own.cfg.Instance)
	id := transactionalID(own.cfg.Group, own.cfg.Instance)
	p, err := protocol.NewProducer(ctx, own.Group, wire, func(ctx context.Context) (protocol.Transactor, protocol.Plain, error) {
		c, err := openTransactional(ctx, d, log, id, topics, func(ctx context.Context) error { return wire.Fence(ctx, own.cfg.Instance) })
		if err != nil {
			return nil, nil, err
		}
		s, err := openSender(c, topics)
		if err != nil {
			return nil, nil, err
		}
		t := &transactor{sender: s, group: own.cfg.Group}
		if !own.cfg.AtLeastOnce {
			return t, nil, nil
		}
		plain, err := openPlainSender(d, log, topics)
		if err != nil {
			return nil, nil, errors.Join(err, t.Close())
		}
		return t, plain, nil
	})
	if err != nil {
		raw.Close()
		return nil, err
	}
	return &producer{p, raw.Close}, nil
}

// Close implements kafka.Producer.
func (p *producer) Close() error {
	defer p.close()
	return p.Producer.Close()
}

// transactor implements protocol.Transactor with librdkafka's producer.
type transactor struct {
	sender
	group   string
	explain bool // ask for delivery reports: the transaction before failed for a reason that was not told
	// again adds the same offsets again: in a transaction that has failed it only says why.
	again func(context.Context) error
}

var _ protocol.Transactor = (*transactor)(nil)

// Begin implements protocol.Transactor.
func (t *transactor) Begin() error {
	ctx, cancel := context.WithTimeout(context.Background(), protocol.CommitTimeout)
	defer cancel()
	return classify(t.denied(t.bounded(ctx, "begin transaction", t.BeginTransaction)))
}

// Produce implements protocol.Transactor. Through the public API, which tells of failed records only when it is asked to end the transaction, or
// to add offsets, it waits for all of them, so that the latter fails.
func (t *transactor) Produce(ctx context.Context, outs []*kafka.Outputs) error {
	if t.batched {
		t.again = nil
		_ = t.failures(ctx) // of a transaction before, which was aborted
		return classify(t.produceAll(ctx, outs))
	}
	if t.reports = nil; t.explain {
		n := 0
		for _, o := range outs {
			n += o.Len()
		}
		t.reports = make(chan rdk.Event, n)
	}
	err := t.produceAll(ctx, outs)
	if err == nil {
		err = t.drain(ctx)
	}
	return t.explained(err)
}

// Flush implements protocol.Transactor. The batched client tells why a record was not delivered: that is reported whether or not it was asked
// for. Records that were purged say only that the transaction has failed; it tells why itself, when offsets are sent.
func (t *transactor) Flush(ctx context.Context) error {
	if !t.batched {
		return nil
	}
	err := t.drain(ctx)
	failed := t.failures(ctx)
	if isPurged(failed) {
		var why error
		if t.again != nil {
			why = t.again(ctx)
		}
		return errors.Join(why, failed, classify(err))
	}
	return classify(errors.Join(failed, err))
}

// SendOffsets implements protocol.Transactor.
func (t *transactor) SendOffsets(ctx context.Context, bundles []*kafka.Bundle, as protocol.Member) error {
	metadata, ok := as.Metadata.(*rdk.ConsumerGroupMetadata)
	if !ok {
		return fmt.Errorf("send offsets: the group's metadata is a %T, not of this client", as.Metadata)
	}
	t.again = func(ctx context.Context) error { return t.SendOffsets(ctx, bundles, as) }
	err := t.bounded(ctx, "send offsets", func() error {
		return t.SendOffsetsToTransaction(ctx, offsetsOf(bundles), metadata)
	})
	if err == nil {
		return nil
	}
	return t.explained(t.driver.denied(err, t.rights(bundles)...))
}

// Commit implements protocol.Transactor.
func (t *transactor) Commit(ctx context.Context) error {
	err := t.denied(t.bounded(ctx, "commit transaction", func() error { return t.CommitTransaction(ctx) }))
	if codeOf(err) == rdk.ErrInconsistent { // it was not sent; why records failed may be known
		return protocol.WithKind(t.explained(err), protocol.Inconsistent)
	}
	if err == nil {
		t.explain = false
	}
	return classify(err)
}

// Abort implements protocol.Transactor.
func (t *transactor) Abort(ctx context.Context) error {
	return classify(t.denied(t.bounded(ctx, "abort transaction", func() error { return t.AbortTransaction(ctx) })))
}

// Watch implements protocol.Transactor.
func (t *transactor) Watch() func() error { return t.watch() }

// denied names the right that ending a transaction needs, if that is missing.
func (t *transactor) denied(err error) error {
	return t.driver.who.denied(err, right("Write", kafka.OnTransactionalID, t.id))
}

// Close implements protocol.Transactor.
func (t *transactor) Close() error { return t.close() }

// rights are those that a transaction with bundles needs. That of a record which the broker would not have added to the
// transaction shows only when the offsets are sent.
func (t *transactor) rights(bundles []*kafka.Bundle) []kafka.Right {
	rights := []kafka.Right{{Op: "Read", Kind: kafka.OnGroup, Name: t.group}, {Op: "Write", Kind: kafka.OnTransactionalID, Name: t.id}}
	add := func(op, topic string) {
		if r := (kafka.Right{Op: op, Kind: kafka.OnTopic, Name: topic}); !slices.Contains(rights, r) {
			rights = append(rights, r)
		}
	}
	for _, b := range bundles {
		for i := range b.Offsets {
			add("Read", b.Offsets[i].Topic)
		}
		for _, o := range b.Outputs {
			for i := range o.Records {
				if id := o.Records[i].Topic; id >= 0 && int(id) < len(t.topics) {
					add("Write", t.topics[id])
				}
			}
		}
	}
	return rights
}

// explained adds to the error of a transaction that is to be aborted what the delivery reports say. If they are not
// there, and the error does not tell, they are asked for the next time.
func (t *transactor) explained(err error) error {
	if err == nil {
		return nil
	}
	if reported := t.reported(); reported != nil {
		err = errors.Join(reported, err)
	}
	t.explain = !isSick(err) && codeOf(err) == rdk.ErrInconsistent
	return classify(err)
}

// reported returns the first failure among the delivery reports that were asked for, and forgets them.
func (t *transactor) reported() error {
	for t.reports != nil {
		select {
		case ev := <-t.reports:
			if m, ok := ev.(*rdk.Message); ok && m.TopicPartition.Error != nil {
				return t.undelivered(m.TopicPartition)
			}
		default:
			return nil
		}
	}
	return nil
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
