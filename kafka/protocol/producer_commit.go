package protocol

import (
	"context"
	"errors"
	"fmt"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// transactions commits in transactions, and at-least-once sends beside them what is not of a changelog.
type transactions struct {
	Transactor
	plain Plain // nil: exactly-once
	p     *Producer
	// twice: a request of the transaction may have been sent twice. The first one may be held back somewhere, and be carried out in a
	// later transaction of this producer: an EndTxn would end that one, a TxnOffsetCommit would write old offsets in it. Only a new
	// producer, with a higher epoch, makes it void.
	twice error
}

// commit commits bundles; all of their grants are valid. Records are on their way while the offsets are added to the transaction. All are
// acknowledged before its end is asked for: one that was refused shows while nothing is committed yet.
func (t *transactions) commit(ctx context.Context, now Member, bundles []*kafka.Bundle) kafka.Outcome {
	if err := t.Begin(); err != nil {
		return t.unknown(bundles, fmt.Errorf("begin transaction: %w", err))
	}
	crashpoint.Hit("commit.begun")
	if plant.Is("offsets before the changelog") {
		if err := errors.Join(t.SendOffsets(ctx, bundles, now), t.Commit(ctx), t.Begin()); err != nil {
			return t.unknown(bundles, err)
		}
		if err := errors.Join(t.Produce(ctx, t.inside(bundles)), t.Flush(ctx), t.Commit(ctx)); err != nil {
			return t.unknown(bundles, err)
		}
		return kafka.Outcome{Verdict: kafka.Committed}
	}
	err := t.produce(ctx, bundles)
	given := err == nil
	if given {
		crashpoint.Hit("commit.produced")
		err = t.once("send offsets", func() error {
			if w, ok := t.p.wire.(plainCommitter); ok && plant.Is("plain commit of source offsets") {
				return w.Commit(ctx, now.Member, positionsOf(bundles))
			}
			return t.SendOffsets(ctx, bundles, now)
		})
	}
	if err := errors.Join(t.flush(ctx, bundles, given), err); err != nil {
		switch {
		case t.plain != nil && (t.plain.Broken() || ctx.Err() != nil): // it may still send what we gave up on
			return t.unknown(bundles, err)
		case KindOf(err) == Fenced: // librdkafka may abort what has nothing in it without a word to the broker, and go on with an epoch that is over
			return t.unknown(bundles, err)
		}
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

// produce hands over what is to be written. At-least-once, what is of no changelog goes outside of the transaction, and only if it has not
// been sent: a bundle may be committed again, since its transaction was aborted.
func (t *transactions) produce(ctx context.Context, bundles []*kafka.Bundle) error {
	if t.plain != nil {
		var outs []*kafka.Outputs
		for _, b := range bundles {
			for _, o := range b.Outputs {
				if !o.Journal && !b.Sent {
					outs = append(outs, o)
				}
			}
		}
		if err := t.plain.Produce(ctx, outs); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return t.Produce(ctx, t.inside(bundles))
}

// flush waits for what produce has handed over: for all of the bundles, or what it came to before it failed.
func (t *transactions) flush(ctx context.Context, bundles []*kafka.Bundle, all bool) error {
	err := t.Flush(ctx)
	if t.plain == nil || plant.Is("what is sent is not waited for") {
		return err
	}
	if sent := t.plain.Flush(ctx); sent != nil {
		return errors.Join(fmt.Errorf("send: %w", sent), err)
	}
	for _, b := range bundles {
		b.Sent = b.Sent || all
	}
	crashpoint.Hit("commit.sent")
	return err
}

// inside are the outputs that are part of the transaction: with at-least-once those of changelogs, which so agree with the offsets.
func (t *transactions) inside(bundles []*kafka.Bundle) (outs []*kafka.Outputs) {
	for _, b := range bundles {
		for _, o := range b.Outputs {
			if t.plain == nil || o.Journal {
				outs = append(outs, o)
			}
		}
	}
	return outs
}

// close closes the clients.
func (t *transactions) close() error {
	err := t.Close()
	if t.plain != nil {
		err = errors.Join(err, t.plain.Close())
	}
	return err
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

// plainCommitter commits offsets outside any transaction: for a planted fault.
type plainCommitter interface {
	Commit(ctx context.Context, as kafka.Member, positions []kafka.Position) error
}

func positionsOf(bundles []*kafka.Bundle) (positions []kafka.Position) {
	for _, b := range bundles {
		positions = append(positions, b.Offsets...)
	}
	return positions
}
