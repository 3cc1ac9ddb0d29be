package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// transactor is the model of librdkafka's transactional producer: transactions of version 1, retries inside.
type transactor struct {
	d      *Driver
	cfg    kafka.GroupConfig
	topics []string
	id     broker.Producer
	seqs   map[kafka.TopicPartition]int32
	fatal  error
	failed bool // a batch of the transaction may or may not be written: its number cannot be used again
	begun  bool
	ending bool // Commit was sent
	queue  []*kafka.Outputs
}

var _ protocol.Transactor = (*transactor)(nil)

// initTimeout bounds the opening of a producer.
const initTimeout = 30 * time.Second

func openTransactor(ctx context.Context, d *Driver, cfg kafka.GroupConfig, topics []string) (*transactor, error) {
	t := &transactor{d: d, cfg: cfg, topics: topics}
	return t, t.init(ctx)
}

func (t *transactor) init(ctx context.Context) error {
	ctx, cancel := t.d.rt.WithTimeout(ctx, initTimeout)
	defer cancel()
	for {
		own := transactionalID(t.cfg.Group, t.cfg.Instance)
		id, err := ask(t.d, "InitProducerId", ofTxn(t.d, own, "InitProducerId", func() (broker.Producer, error) {
			return t.d.net.B.InitProducerID(own, transactionTimeout)
		}))
		if err == nil {
			t.id, t.seqs, t.failed = id, map[kafka.TopicPartition]int32{}, false
			return nil
		}
		if !passes(err) || !t.d.net.S.Sleep(ctx, backoff) {
			return fmt.Errorf("open producer: %w", err)
		}
	}
}

// Begin implements protocol.Transactor.
func (t *transactor) Begin() error {
	if t.fatal != nil {
		return t.fatal
	}
	if t.begun {
		return errors.New("a transaction is open already")
	}
	t.begun, t.ending = true, false
	return nil
}

// check keeps what is fatal.
func (t *transactor) check(err error) error {
	err = kind(err)
	if protocol.KindOf(err) == protocol.Fenced {
		t.fatal = err
	}
	return err
}

// Produce implements protocol.Transactor: records are written at once, or only when they are waited for, behind what comes between.
func (t *transactor) Produce(ctx context.Context, outs []*kafka.Outputs) error {
	t.queue = outs
	if len(outs) > 0 && t.d.net.S.Chance("client: records wait", 1000) { // for room in its queue, since brokers are busy
		t.d.net.S.Sleep(ctx, time.Duration(t.d.net.S.Rand().Int64N(int64(400*time.Millisecond))))
	}
	if t.d.net.S.Rand().IntN(2) == 0 {
		return t.Flush(ctx)
	}
	return nil
}

// Flush implements protocol.Transactor: one batch per topic-partition.
func (t *transactor) Flush(ctx context.Context) error {
	if t.fatal != nil {
		return t.fatal
	}
	tps, batches := batchesOf(t.topics, t.queue)
	t.queue = nil
	if len(tps) == 0 {
		return nil
	}
	id := t.id
	added := 0
	for i, tp := range tps {
		if i >= added { // as they come: some at a time
			n := 1 + t.d.net.S.Rand().IntN(len(tps)-i)
			if _, err := again(ctx, t.d, "AddPartitionsToTxn", ofTxn(t.d, id.ID, "AddPartitionsToTxn", func() (done, error) {
				return done{}, t.d.net.B.AddPartitions(id, tps[i:i+n]...)
			})); err != nil {
				return t.check(err)
			}
			added = i + n
		}
		seq, records := t.seqs[tp], batches[tp]
		if _, err := again(ctx, t.d, "Produce", func() (done, error) {
			return done{}, t.d.net.B.ProduceTxn(id, tp, seq, records)
		}); err != nil {
			t.failed = true
			return t.check(fmt.Errorf("topic %s/%d: %w", tp.Topic, tp.Partition, err))
		}
		t.seqs[tp] = seq + int32(len(records)) //nolint:gosec // small
	}
	return nil
}

// SendOffsets implements protocol.Transactor.
func (t *transactor) SendOffsets(ctx context.Context, bundles []*kafka.Bundle, as protocol.Member) error {
	id := t.id
	if _, err := again(ctx, t.d, "AddOffsetsToTxn", ofTxn(t.d, id.ID, "AddOffsetsToTxn", func() (done, error) {
		return done{}, t.d.net.B.AddOffsets(id, t.cfg.Group)
	})); err != nil {
		return t.check(err)
	}
	var positions []kafka.Position
	for _, b := range bundles {
		positions = append(positions, b.Offsets...)
	}
	_, err := again(ctx, t.d, "TxnOffsetCommit", func() (done, error) {
		return done{}, t.d.net.B.TxnOffsetCommit(id, t.cfg.Group, as.Member, positions)
	})
	return t.check(err)
}

// Commit implements protocol.Transactor. A request whose connection broke is sent again, on another one, and what that is
// answered is the result: the first may still be on its way.
func (t *transactor) Commit(ctx context.Context) error {
	if t.fatal != nil {
		return t.fatal
	}
	t.ending = true
	err := t.end(ctx, true)
	if err == nil {
		t.begun = false
		if t.d.net.S.Chance("answer never comes: EndTxn", 30) {
			t.d.net.S.Sleep(ctx, askTimeout)
			return errors.New("EndTxn timed out")
		}
	}
	return err
}

func (t *transactor) end(ctx context.Context, commit bool) error {
	id := t.id
	_, err := again(ctx, t.d, "EndTxn", ofTxn(t.d, id.ID, "EndTxn", func() (done, error) { return done{}, t.d.net.B.EndTxn(id, commit) }))
	return t.check(err)
}

// Abort implements protocol.Transactor.
func (t *transactor) Abort(ctx context.Context) error {
	switch {
	case t.fatal != nil:
		return t.fatal
	case t.ending:
		return errors.New("abort: the commit was sent already")
	}
	err := t.end(ctx, false)
	if err != nil && !errors.Is(err, broker.InvalidTxnState) { // nothing was begun at the broker
		return err
	}
	if t.failed { // as librdkafka does: a new epoch, with numbers from the beginning
		if err := t.init(ctx); err != nil {
			return err
		}
	}
	t.begun = false
	return nil
}

// Watch implements protocol.Transactor. Connections without a request may be lost as well.
func (t *transactor) Watch() func() error {
	lost := func() int { return t.d.lost["AddOffsetsToTxn"] + t.d.lost["TxnOffsetCommit"] + t.d.lost["EndTxn"] }
	before := lost()
	return func() error {
		if lost() != before || t.d.net.S.Chance("idle connection lost", 5) {
			return errTransport
		}
		return nil
	}
}

// Close implements protocol.Transactor.
func (t *transactor) Close() error { return nil }
