package actors

import (
	"errors"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

// shardState keeps a shard's part of the protocol of epochs and undos; the values themselves are in state. After a failure
// it does nothing but undo.
type shardState struct {
	table     int // index in the stage
	state     tables.Shard
	guard     func(calls bool, f func() error) (string, error) // runs user code and turns what it does into an error
	undo      int64                                            // number of the last undo
	failed    bool
	group     func() // a function hangs: those of the group are lost too; nil: it is alone
	lost      bool   // a function hangs, and may still change the state: nobody else touches it any more
	sealed    int64  // the last epoch sealed
	committed int64  // the last epoch committed
}

// step handles one message of the partition and returns the answer, nil if there is none.
func (s *shardState) step(m shardMessage) partitionMessage {
	if s.lost {
		if m, ok := m.(Answer); ok {
			m.Reply(errHung)
		}
		return nil
	}
	switch m := m.(type) {
	case Apply:
		return s.onApply(m)
	case Seal:
		return s.onSeal(m)
	case Undo:
		s.undo, s.failed = m.Number, false
		s.state.Undo(m.Epoch)
		s.sealed = min(s.sealed, m.Epoch)
		return Undone{s.table, s.undo, s.state.NextExpiry(), s.state.NextDue()}
	case Collect:
		if m.Undo != s.undo || s.failed {
			return nil
		}
		return Collected{s.table, s.undo, m.Number, s.state.CollectDue(m.UpTo, m.Limit), s.state.NextDue()}
	case Settle:
		s.state.Committed(m.Epoch)
		s.committed = max(s.committed, m.Epoch)
	case Answer:
		_, err := s.guard(s.state.CallsFor(m.Query), func() error { s.state.Answer(m.Query); return nil })
		m.Reply(err)
		if errors.Is(err, errHung) {
			return s.fail(err, "")
		}
	case Replay, Restored: // the shell's
	}
	return nil
}

func (s *shardState) onApply(m Apply) partitionMessage {
	if m.Undo != s.undo || s.failed {
		return nil
	}
	out := new(kafka.Outputs)
	if stack, err := s.guard(s.state.Calls(m.Ops), func() error { return s.state.Apply(m.Epoch, m.Ops, out) }); err != nil {
		return s.fail(err, stack) // the function that has failed, or hangs, may still be at it
	}
	m.Ops.Free()
	return Applied{s.table, s.undo, m.Count, out, s.state.NextExpiry(), s.state.NextDue()}
}

func (s *shardState) onSeal(m Seal) partitionMessage {
	if m.Undo != s.undo || s.failed {
		return nil
	}
	out := new(kafka.Outputs)
	if stack, err := s.guard(true, func() error { return s.state.Seal(m.Epoch, out) }); err != nil {
		return s.fail(err, stack)
	}
	s.sealed = m.Epoch
	return Sealed{s.table, s.undo, m.Epoch, out, s.state.Clock()}
}

func (s *shardState) fail(err error, stack string) partitionMessage {
	s.failed, s.lost = true, errors.Is(err, errHung)
	if s.lost && s.group != nil {
		s.group()
	}
	return ShardFailed{Table: s.table, Undo: s.undo, Err: err, Stack: stack, Lost: s.lost}
}
