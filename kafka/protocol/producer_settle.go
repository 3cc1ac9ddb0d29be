package protocol

import (
	"context"
	"fmt"
	"slices"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// Settle implements kafka.Producer.
func (p *Producer) Settle(ctx context.Context, bundles []*kafka.Bundle) (map[int32]kafka.Settled, error) {
	if err := p.reopen(ctx); err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	crashpoint.Hit("settle.reopened")
	// Of all that is ours, not of these bundles' slots alone: who has taken another one has fenced the producer before, and
	// the new one would commit for it like a zombie.
	all := slotsOf(bundles)
	for _, slot := range p.g.commits.slots() {
		if plant.Is("marks of other slots are not read again") {
			break
		}
		if !slices.Contains(all, slot) {
			all = append(all, slot)
		}
	}
	texts, err := p.wire.Marks(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	crashpoint.Hit("settle.marks-read")
	var sources []kafka.TopicPartition
	for _, b := range bundles {
		sources = append(sources, p.sources(b)...)
	}
	positions, err := p.wire.Offsets(ctx, sources)
	if err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	crashpoint.Hit("settle.offsets-read")
	settled := make(map[int32]kafka.Settled, len(bundles))
	for _, slot := range all {
		if err := p.twin(slot, texts[slot]); err != nil {
			return nil, fmt.Errorf("settle: %w", err)
		}
		if !p.isOurs(texts[slot]) {
			settled[slot] = kafka.SlotLost
		}
	}
	for _, b := range bundles {
		settled[b.Slot] = p.judge(b, texts[b.Slot], positions)
		p.log.Info("settled", "slot", b.Slot, "seq", b.Seq, "mark", texts[b.Slot], "state", settled[b.Slot])
	}
	p.g.commits.decided()
	return settled, nil
}

// reopen replaces the clients: opening the new one ends what the old one has open, and bumps the epoch, so that nothing of
// the old one that is still on its way counts.
func (p *Producer) reopen(ctx context.Context) error {
	if plant.Is("blind-8") && p.client != nil && p.client.twice == nil {
		return nil
	}
	if err := p.closeClient(); err != nil {
		p.log.Warn("close producer", "error", err)
	}
	c, plain, err := p.open(ctx)
	if err != nil {
		return err
	}
	p.client = &transactions{Transactor: c, plain: plain, p: p}
	return nil
}

// sources returns the partitions whose metadata may hold the slot's number: those that the bundle moves, and those that
// an earlier one may have moved.
func (p *Producer) sources(b *kafka.Bundle) []kafka.TopicPartition {
	tps := slices.Clone(p.g.commits.sourcesOf(b.Slot))
	for _, o := range b.Offsets {
		if !slices.Contains(tps, o.TopicPartition) {
			tps = append(tps, o.TopicPartition)
		}
	}
	return tps
}

func (p *Producer) judge(b *kafka.Bundle, text string, positions map[kafka.TopicPartition]kafka.Position) kafka.Settled {
	if !p.isOurs(text) {
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

// isOurs says whether a mark names this process, and no other.
func (p *Producer) isOurs(text string) bool {
	m, err := kafka.ParseMark(text)
	return plant.Is("marks are not read again") || plant.Is("generation trusted for a static member") || err == nil && m.IsOf(p.g.me)
}
