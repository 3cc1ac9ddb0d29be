package protocol

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// CommitTimeout bounds a commit, abortTimeout the abort that may follow.
	CommitTimeout = 10 * time.Second
	abortTimeout  = 5 * time.Second
)

// Producer commits the bundles of a group: it implements kafka.Producer over a Transactor and a Wire, and at-least-once
// a Plain. A bundle is committed only while the grant it names is valid, and each commit is decided before the slots in it
// are taken anew.
type Producer struct {
	g    *Group
	log  *slog.Logger
	rt   Runtime
	wire Wire
	open Open

	client *transactions // nil: Settle did not get as far as opening a new one
}

// Open makes the clients of a producer, and so ends the transaction that an earlier one of the same instance left open. With a
// Plain, commits are at-least-once: what agents send goes through it, and is there to be read before its transaction has ended.
type Open func(ctx context.Context) (Transactor, Plain, error)

var _ kafka.Producer = (*Producer)(nil)

// NewProducer makes the producer of a group. open is called now, and each time that the clients must be replaced. The wire is
// not closed with the group.
func NewProducer(ctx context.Context, g *Group, wire Wire, open Open) (*Producer, error) {
	p := &Producer{g: g, log: g.log, rt: g.rt, wire: wire, open: open}
	if err := p.reopen(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Commit implements kafka.Producer.
func (p *Producer) Commit(ctx context.Context, bundles []*kafka.Bundle) kafka.Outcome {
	if p.client == nil {
		return kafka.Outcome{Verdict: kafka.Unknown, Err: errors.New("commit: the producer is closed; what the commit before came to must be settled first")}
	}
	now, err := p.g.current()
	if err != nil {
		return kafka.Outcome{Verdict: kafka.Aborted, Err: fmt.Errorf("commit: %w", err), Lost: slotsOf(bundles)}
	}
	if lost, err := p.g.commits.begin(bundles, now); err != nil {
		return kafka.Outcome{Verdict: kafka.Aborted, Err: err, Lost: lost}
	}
	ctx, cancel := p.rt.WithTimeout(ctx, CommitTimeout)
	defer cancel()
	out := p.client.commit(ctx, now, bundles)
	if out.Verdict != kafka.Unknown { // else Settle decides it
		p.g.commits.decided()
	}
	return out
}

// twin returns an error if the mark of a slot names another process of our instance.
func (p *Producer) twin(slot int32, text string) error {
	m, err := kafka.ParseMark(text)
	if err != nil {
		return nil //nolint:nilerr // a mark by another program names nobody
	}
	if other, ok := m.Twin(p.g.me); ok {
		return fmt.Errorf("slot %d of group %s is marked by %s, this process is %s: %w", slot, p.g.cfg.Group, other, p.g.me, kafka.ErrDuplicateIdentity)
	}
	return nil
}

// Close implements kafka.Producer.
func (p *Producer) Close() error {
	err := p.closeClient()
	p.g.commits.decided()
	return err
}

func (p *Producer) closeClient() error {
	c := p.client
	p.client = nil
	if c == nil {
		return nil
	}
	return c.close()
}

// lostBy returns the slots of bundles if the error says that we are no member any more.
func lostBy(cause error, bundles []*kafka.Bundle) []int32 {
	if KindOf(cause) == NotMember {
		return slotsOf(bundles)
	}
	return nil
}

func slotsOf(bundles []*kafka.Bundle) []int32 {
	slots := make([]int32, len(bundles))
	for i, b := range bundles {
		slots[i] = b.Slot
	}
	return slots
}
