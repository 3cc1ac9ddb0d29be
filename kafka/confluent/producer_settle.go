package confluent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/kafka"
)

// commitPlain is at-least-once: outputs acknowledged first, then offsets.
func (p *producer) commitPlain(ctx context.Context, now member, bundles []*kafka.Bundle) kafka.Outcome {
	c := p.client
	err := p.produceAll(ctx, bundles)
	if err == nil {
		err = p.awaitReports(ctx)
	}
	if err != nil {
		if c.GetFatalError() != nil || ctx.Err() != nil { // it may still send what we gave up on
			err = errors.Join(err, p.closeClient())
			return kafka.Outcome{Verdict: kafka.Unknown, Err: err}
		}
		return kafka.Outcome{Verdict: kafka.Aborted, Err: err, Sick: isSick(err)}
	}
	var positions []kafka.Position
	for _, b := range bundles {
		positions = append(positions, b.Offsets...)
	}
	err = p.wire.commit(ctx, now.Member, positions)
	switch {
	case err == nil:
		return kafka.Outcome{Verdict: kafka.Committed}
	case codeOf(err) == rdk.ErrNoError: // no answer
		return kafka.Outcome{Verdict: kafka.Unknown, Err: err}
	}
	// Some of the partitions may have been committed; they will be again, with the same numbers.
	return kafka.Outcome{Verdict: kafka.Aborted, Err: err, Sick: isSick(err), Lost: p.lostBy(err, bundles)}
}

// awaitReports waits until every record that was sent is reported, and returns why some failed.
func (p *producer) awaitReports(ctx context.Context) error {
	c := p.client
	for c.acked.Load()+c.failed.Load() < c.sent {
		if !pause(ctx, drainEvery) {
			return fmt.Errorf("%d records are not acknowledged in time: %w", c.sent-c.acked.Load()-c.failed.Load(), ctx.Err())
		}
	}
	if n := c.failed.Swap(0); n > 0 {
		c.sent -= n
		return fmt.Errorf("%d records were not delivered: %w", n, *c.why.Load())
	}
	return nil
}

// Settle implements kafka.Producer.
func (p *producer) Settle(ctx context.Context, bundles []*kafka.Bundle) (map[int32]kafka.Settled, error) {
	if err := p.reopen(ctx); err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	texts, err := p.wire.marks(ctx, slotsOf(bundles))
	if err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	var sources []kafka.TopicPartition
	for _, b := range bundles {
		sources = append(sources, p.sources(b)...)
	}
	positions, err := p.wire.fetch(ctx, true, sources)
	if err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	settled := make(map[int32]kafka.Settled, len(bundles))
	for _, b := range bundles {
		if err := p.twin(b.Slot, texts[b.Slot]); err != nil {
			return nil, fmt.Errorf("settle: %w", err)
		}
		settled[b.Slot] = p.judge(b, texts[b.Slot], positions)
		p.log.Info("settled", "slot", b.Slot, "seq", b.Seq, "mark", texts[b.Slot], "state", settled[b.Slot])
	}
	p.g.commits.decided()
	return settled, nil
}

// reopen replaces the producer: opening the new one ends what the old one has open, and bumps the epoch, so that
// nothing of the old one that is still on its way counts.
func (p *producer) reopen(ctx context.Context) error {
	if p.g.cfg.AtLeastOnce && p.client != nil && p.client.GetFatalError() == nil {
		return nil
	}
	if err := p.closeClient(); err != nil {
		p.log.Warn("close producer", "err", err)
	}
	c, err := p.open(ctx)
	if err != nil {
		return err
	}
	p.client, p.reports, p.explain = c, nil, false
	return nil
}

// sources returns the partitions whose metadata may hold the slot's number: those that the bundle moves, and those that
// an earlier one may have moved.
func (p *producer) sources(b *kafka.Bundle) []kafka.TopicPartition {
	tps := slices.Clone(p.g.commits.sourcesOf(b.Slot))
	for _, o := range b.Offsets {
		if !slices.Contains(tps, o.TopicPartition) {
			tps = append(tps, o.TopicPartition)
		}
	}
	return tps
}

func (p *producer) judge(b *kafka.Bundle, text string, positions map[kafka.TopicPartition]kafka.Position) kafka.Settled {
	m, err := kafka.ParseMark(text)
	if err != nil || !m.IsOf(p.g.me) {
		return kafka.SlotLost
	}
	var seq int64
	for _, tp := range p.sources(b) {
		seq = max(seq, kafka.SeqOf(positions[tp].Metadata))
	}
	switch seq {
	case b.Seq:
		return kafka.SlotCommitted
	case b.Seq - 1:
		return kafka.SlotNotCommitted
	}
	return kafka.SlotLost
}
