package protocol

import (
	"context"
	"errors"
	"fmt"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// transactions commits in transactions.
type transactions struct {
	Transactor
	p *Producer
	// twice: a request of the transaction may have been sent twice. The first one may be held back somewhere, and be carried out in a
	// later transaction of this producer: an EndTxn would end that one, a TxnOffsetCommit would write old offsets in it. Only a new
	// producer, with a higher epoch, makes it void.
	twice error
}

// settled says no: the transaction may be open, or its commit on its way.
func (t *transactions) settled() bool { return plant.Is("blind-8") && t.twice == nil }

func (t *transactions) commit(ctx context.Context, now Member, bundles []*kafka.Bundle) kafka.Outcome {
	if err := t.Begin(); err != nil {
		return t.unknown(bundles, fmt.Errorf("begin transaction: %w", err))
	}
	crashpoint.Hit("commit.begun")
	if plant.Is("offsets before the changelog") {
		if err := errors.Join(t.SendOffsets(ctx, bundles, now), t.Commit(ctx), t.Begin()); err != nil {
			return t.unknown(bundles, err)
		}
		if err := errors.Join(t.Produce(ctx, bundles), t.Commit(ctx)); err != nil {
			return t.unknown(bundles, err)
		}
		return kafka.Outcome{Verdict: kafka.Committed}
	}
	err := t.Produce(ctx, bundles)
	if err == nil {
		crashpoint.Hit("commit.produced")
		// All is acknowledged before: a record that was refused shows here, while nothing is committed yet.
		err = t.once("send offsets", func() error {
			if plant.Is("plain commit of source offsets") {
				return t.p.wire.Commit(ctx, now.Member, positionsOf(bundles))
			}
			return t.SendOffsets(ctx, bundles, now)
		})
	}
	if err != nil {
		return t.abort(bundles, err)
	}
	crashpoint.Hit("commit.offsets")
	err = t.once("commit transaction", func() error { return t.Commit(ctx) })
	switch {
	case KindOf(err) == Inconsistent: // records failed on the client's side: the commit was never sent
		return t.abort(bundles, err)
	case err != nil:
		return t.unknown(bundles, err)
	case t.twice != nil:
		return t.unknown(bundles, t.twice)
	}
	crashpoint.Hit("commit.committed")
	return kafka.Outcome{Verdict: kafka.Committed}
}

// once does what is one request of the client's, and notes whether it may have been sent twice.
func (t *transactions) once(what string, do func() error) error {
	doubt := t.Watch()
	err := do()
	if why := doubt(); why != nil && !plant.Is("slow success is success") &&
		(!plant.Is("slow success of offsets is success") || what != "send offsets") {
		t.twice = fmt.Errorf("%s: %w: %w", what, kafka.ErrSentTwice, why)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// abort ends a transaction whose commit has not begun.
func (t *transactions) abort(bundles []*kafka.Bundle, cause error) kafka.Outcome {
	ctx, cancel := t.p.rt.WithTimeout(context.Background(), abortTimeout)
	defer cancel()
	err := t.once("abort transaction", func() error { return t.Abort(ctx) })
	if err == nil {
		err = t.twice
	}
	if err != nil {
		// What the broker refused, it would refuse again: a transaction of which nothing was accepted cannot even be
		// aborted by this client (the broker knows of none).
		out := t.unknown(bundles, errors.Join(cause, err))
		out.Sick = isSick(cause)
		return out
	}
	crashpoint.Hit("commit.aborted")
	return kafka.Outcome{Verdict: kafka.Aborted, Err: cause, Sick: isSick(cause), Lost: lostBy(cause, bundles)}
}

// unknown is the outcome of a transaction that cannot be told. One whose producer was fenced may have been fenced by who
// took a slot of ours, which is in order: only the marks tell whether another process has our identity.
func (t *transactions) unknown(bundles []*kafka.Bundle, cause error) kafka.Outcome {
	out := kafka.Outcome{Verdict: kafka.Unknown, Err: cause}
	if KindOf(cause) != Fenced {
		return out
	}
	slots := slotsOf(bundles)
	texts, err := t.p.wire.Marks(context.Background(), slots)
	if err != nil {
		out.Err = errors.Join(cause, err)
		return out
	}
	for _, slot := range slots {
		if err := t.p.twin(slot, texts[slot]); err != nil {
			return kafka.Outcome{Verdict: kafka.Fenced, Err: errors.Join(err, cause)}
		}
	}
	return out
}

// plain commits at-least-once: outputs acknowledged first, then offsets.
type plain struct {
	Plain
	p *Producer
}

// settled says whether it can go on: what was given up before is known to be sent, or not.
func (c plain) settled() bool { return !c.Broken() }

func (c plain) commit(ctx context.Context, now Member, bundles []*kafka.Bundle) kafka.Outcome {
	if err := c.Produce(ctx, bundles); err != nil {
		if c.Broken() || ctx.Err() != nil { // it may still send what we gave up on
			return kafka.Outcome{Verdict: kafka.Unknown, Err: errors.Join(err, c.p.closeClient())}
		}
		return kafka.Outcome{Verdict: kafka.Aborted, Err: err, Sick: isSick(err)}
	}
	err := c.p.wire.Commit(ctx, now.Member, positionsOf(bundles))
	switch {
	case err == nil:
		return kafka.Outcome{Verdict: kafka.Committed}
	case KindOf(err) == Unanswered:
		return kafka.Outcome{Verdict: kafka.Unknown, Err: err}
	}
	// Some of the partitions may have been committed; they will be again, with the same numbers.
	return kafka.Outcome{Verdict: kafka.Aborted, Err: err, Sick: isSick(err), Lost: lostBy(err, bundles)}
}

func positionsOf(bundles []*kafka.Bundle) (positions []kafka.Position) {
	for _, b := range bundles {
		positions = append(positions, b.Offsets...)
	}
	return positions
}
