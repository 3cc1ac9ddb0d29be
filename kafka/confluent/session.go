package confluent

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/kafka"
)

// session implements kafka.Session with a client of its own.
type session struct {
	admin *admin // for the limits of topics
	id    string
	raw   *kgo.Client
}

// Session opens a client that writes under a transactional id, and ends what others have open under it.
func (a *admin) Session(ctx context.Context, id string) (kafka.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	raw, err := a.driver.session(a, id)
	if err != nil {
		return nil, err
	}
	for {
		_, _, err := raw.ProducerID(ctx)
		if err == nil {
			return &session{admin: a, id: id, raw: raw}, nil
		}
		again := errors.Is(err, kerr.ConcurrentTransactions) || kerr.IsRetriable(err)
		if ctx.Err() != nil || !again || !pause(ctx, fenceEvery) {
			raw.Close()
			return nil, fmt.Errorf("begin to write as %s: %w", id, a.driver.who.denied(err, right("Write", kafka.OnTransactionalID, id)))
		}
	}
}

func (d *Driver) session(a *admin, id string) (*kgo.Client, error) {
	return rawClient(d.cfg.Brokers, d.cfg.Settings, d.cfg.ClientID,
		kgo.TransactionalID(id), kgo.TransactionTimeout(kafka.TransactionTimeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytesFn(a.limit), kgo.RequiredAcks(kgo.AllISRAcks()))
}

// Commit writes records in one transaction.
func (s *session) Commit(ctx context.Context, names []string, out *kafka.Outputs) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.admin.learnLimits(ctx, names, out); err != nil {
		return err
	}
	if err := s.raw.BeginTransaction(); err != nil {
		return s.wrap(err)
	}
	_, err := s.admin.produce(ctx, s.raw, names, out)
	if err == nil {
		return s.wrap(s.raw.EndTransaction(ctx, kgo.TryCommit))
	}
	// Whatever went wrong: what is in the transaction must not stay. The session's end, or the next one, ends it too.
	_ = s.raw.EndTransaction(ctx, kgo.TryAbort)
	return s.wrap(err)
}

func (s *session) wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.InvalidProducerIDMapping):
		return fmt.Errorf("write as %s: %w (%w)", s.id, kafka.ErrSuperseded, err)
	}
	return fmt.Errorf("write as %s: %w", s.id, s.admin.driver.who.denied(err, right("Write", kafka.OnTransactionalID, s.id)))
}

// Close closes the connections.
func (s *session) Close() { s.raw.Close() }
