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

// Producer commits the bundles of a group: it implements kafka.Producer over a Transactor, or a Plain, and a Wire. A
// bundle is committed only while the grant it names is valid, and each commit is decided before the slots in it are
// taken anew.
type Producer struct {
	g    *Group
	log  *slog.Logger
	rt   Runtime
	wire Wire
	open func(context.Context, *Producer) (client, error)

	client client // nil: Settle did not get as far as opening a new one
}

var _ kafka.Producer = (*Producer)(nil)

// client is what bundles are committed through: transactions, or plain.
type client interface {
	// commit commits bundles; all of their grants are valid.
	commit(ctx context.Context, now Member, bundles []*kafka.Bundle) kafka.Outcome
	// settled says that nothing it was given before can still come to pass: it need not be replaced.
	settled() bool
	Close() error
}

// NewProducer makes the producer of a group that commits in transactions. open makes a client, and so ends the transaction
// that an earlier one of the same instance left open; it is called now, and each time that the client must be replaced.
// The wire is not closed with the group.
func NewProducer(ctx context.Context, g *Group, wire Wire, open func(ctx context.Context) (Transactor, error)) (*Producer, error) {
	return newProducer(ctx, g, wire, func(ctx context.Context, p *Producer) (client, error) {
		c, err := open(ctx)
		return &transactions{Transactor: c, p: p}, err
	})
}

// NewPlainProducer makes the producer of a group that commits at-least-once. open is called now, and each time that the
// client must be replaced. The wire is not closed with the group.
func NewPlainProducer(ctx context.Context, g *Group, wire Wire, open func(ctx context.Context) (Plain, error)) (*Producer, error) {
	return newProducer(ctx, g, wire, func(ctx context.Context, p *Producer) (client, error) {
		c, err := open(ctx)
		return plain{c, p}, err
	})
}

func newProducer(ctx context.Context, g *Group, wire Wire, open func(context.Context, *Producer) (client, error)) (*Producer, error) {
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
	return c.Close()
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
