package protocol_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

var (
	all   = []string{"begin", "produce", "send-offsets", "flush", "commit"}
	undid = func(n int) []string { return append(all[:n:n], "abort") }
	// unsent is an abort before the offsets are added.
	unsent = []string{"begin", "produce", "flush", "abort"}
)

// outcome is what a commit comes to after a fault in one of its calls.
type outcome struct {
	call  string
	fault fault
	want  kafka.Outcome // but for Err
	calls []string
}

func check(t *testing.T, cfg kafka.GroupConfig, cases map[string]outcome) {
	t.Helper()
	t.Parallel()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in(t, cfg, func(w *world) {
				b := bundle(w.take(1)[0], 1)
				if c.call != "" {
					w.next(c.call, c.fault)
				}
				w.asked()
				out := w.prod.Commit(w.t.Context(), []*kafka.Bundle{b})
				require.Equal(w.t, c.calls, w.asked())
				if c.fault.err != nil {
					require.ErrorIs(w.t, out.Err, c.fault.err)
				}
				require.Equal(w.t, out.Verdict == kafka.Committed, out.Err == nil)
				out.Err = nil
				require.Equal(w.t, c.want, out)
				if out.Verdict != kafka.Unknown { // it is decided: the slot can be taken at once
					w.group.Retake([]int32{1}, errBroker)
					w.until("it is taken anew", func() bool { return len(w.grants) == 2 })
				}
			})
		})
	}
}

func TestOutcomesOfTransactions(t *testing.T) {
	refused := errors.Join(protocol.WithKind(errBroker, protocol.Sick), errors.New("some records failed"))
	check(t, kafka.GroupConfig{}, map[string]outcome{
		"committed":                     {"", fault{}, kafka.Outcome{}, all},
		"slow":                          {"commit", fault{takes: time.Second}, kafka.Outcome{}, all},
		"sent twice":                    {"commit", fault{twice: true}, kafka.Outcome{Verdict: kafka.Unknown}, all},
		"offsets sent twice":            {"send-offsets", fault{twice: true}, kafka.Outcome{Verdict: kafka.Unknown}, all},
		"offsets sent twice, refused":   {"send-offsets", fault{twice: true, err: kind(protocol.Sick)}, kafka.Outcome{Verdict: kafka.Unknown, Sick: true}, undid(4)},
		"records sent twice":            {"produce", fault{twice: true}, kafka.Outcome{}, all}, // they have numbers
		"never answered":                {"commit", fault{takes: -1}, kafka.Outcome{Verdict: kafka.Unknown}, all},
		"commit fails":                  {"commit", fault{err: errBroker}, kafka.Outcome{Verdict: kafka.Unknown}, all},
		"commit fails as sick":          {"commit", fault{err: kind(protocol.Sick)}, kafka.Outcome{Verdict: kafka.Unknown}, all},
		"commit was not sent":           {"commit", fault{err: kind(protocol.Inconsistent)}, kafka.Outcome{Verdict: kafka.Aborted}, undid(5)},
		"commit was not sent, and why":  {"commit", fault{err: protocol.WithKind(refused, protocol.Inconsistent)}, kafka.Outcome{Verdict: kafka.Aborted, Sick: true}, undid(5)},
		"begin fails":                   {"begin", fault{err: errBroker}, kafka.Outcome{Verdict: kafka.Unknown}, all[:1]},
		"produce fails":                 {"produce", fault{err: errBroker}, kafka.Outcome{Verdict: kafka.Aborted}, unsent},
		"a record is refused":           {"produce", fault{err: kind(protocol.Sick)}, kafka.Outcome{Verdict: kafka.Aborted, Sick: true}, unsent},
		"records are not acknowledged":  {"flush", fault{takes: -1}, kafka.Outcome{Verdict: kafka.Aborted}, undid(4)},
		"a record is refused later":     {"flush", fault{err: kind(protocol.Sick)}, kafka.Outcome{Verdict: kafka.Aborted, Sick: true}, undid(4)},
		"offsets fail":                  {"send-offsets", fault{err: errBroker}, kafka.Outcome{Verdict: kafka.Aborted}, undid(4)},
		"fenced before anything is in":  {"send-offsets", fault{err: kind(protocol.Fenced)}, kafka.Outcome{Verdict: kafka.Unknown}, append(all[:4:4], "marks [1]")},
		"offsets of a member no more":   {"send-offsets", fault{err: kind(protocol.NotMember)}, kafka.Outcome{Verdict: kafka.Aborted, Lost: []int32{1}}, undid(4)},
		"fenced, by who takes our slot": {"commit", fault{err: kind(protocol.Fenced)}, kafka.Outcome{Verdict: kafka.Unknown}, append(all[:5:5], "marks [1]")},
	})
}

// At-least-once, what agents send is acknowledged before the transaction begins.
func TestOutcomesAtLeastOnce(t *testing.T) {
	sent := []string{"begin", "send", "produce", "send-offsets", "flush", "flush-sent", "commit"}
	undone := append(sent[:6:6], "abort")
	check(t, kafka.GroupConfig{AtLeastOnce: true}, map[string]outcome{
		"committed":                    {"", fault{}, kafka.Outcome{}, sent},
		"slow":                         {"flush-sent", fault{takes: time.Second}, kafka.Outcome{}, sent},
		"a record fails":               {"flush-sent", fault{err: errBroker}, kafka.Outcome{Verdict: kafka.Aborted}, undone},
		"a record is refused":          {"flush-sent", fault{err: kind(protocol.Sick)}, kafka.Outcome{Verdict: kafka.Aborted, Sick: true}, undone},
		"a record is refused at once":  {"send", fault{err: kind(protocol.Sick)}, kafka.Outcome{Verdict: kafka.Aborted, Sick: true}, []string{"begin", "send", "flush", "flush-sent", "abort"}},
		"records are not acknowledged": {"flush-sent", fault{takes: -1}, kafka.Outcome{Verdict: kafka.Unknown}, sent[:6]},
		"a changelog refuses":          {"flush", fault{err: kind(protocol.Sick)}, kafka.Outcome{Verdict: kafka.Aborted, Sick: true}, undone},
		"commit never answered":        {"commit", fault{takes: -1}, kafka.Outcome{Verdict: kafka.Unknown}, sent},
	})
}

func TestAnAbortThatFailsIsUnknown(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		b := bundle(w.take(1)[0], 1)
		w.next("produce", fault{err: kind(protocol.Sick)})
		w.next("abort", fault{takes: -1})
		began := time.Now()
		out := w.prod.Commit(w.t.Context(), []*kafka.Bundle{b})
		require.Equal(w.t, kafka.Unknown, out.Verdict)
		require.ErrorIs(w.t, out.Err, errBroker)
		require.ErrorContains(w.t, out.Err, "abort transaction")
		require.Equal(w.t, 5*time.Second, time.Since(began).Round(time.Second))
		require.True(w.t, out.Sick, "what was refused would be refused again")
	})
}

func TestAFencedProducerLooksForItsTwin(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		grants := w.take(1, 2)
		bundles := []*kafka.Bundle{bundle(grants[0], 1), bundle(grants[1], 1)}
		w.next("commit", fault{err: kind(protocol.Fenced)}, fault{err: kind(protocol.Fenced)})
		w.next("marks", fault{err: errors.New("no coordinator")})
		out := w.prod.Commit(w.t.Context(), bundles)
		require.Equal(w.t, kafka.Unknown, out.Verdict)
		require.ErrorContains(w.t, out.Err, "no coordinator")
		w.marks[2] = "A/7"
		out = w.prod.Commit(w.t.Context(), bundles)
		require.Equal(w.t, kafka.Fenced, out.Verdict)
		require.ErrorIs(w.t, out.Err, kafka.ErrDuplicateIdentity)
		require.ErrorContains(w.t, out.Err, "slot 2 of group g is marked by A/7, this process is A/1")
		_, err := w.prod.Settle(w.t.Context(), bundles)
		require.ErrorIs(w.t, err, kafka.ErrDuplicateIdentity)
	})
}

func TestASuccessSentTwiceIsSettled(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		b := bundle(w.take(1)[0], 1)
		w.next("commit", fault{twice: true})
		out := w.prod.Commit(w.t.Context(), []*kafka.Bundle{b})
		require.ErrorContains(w.t, out.Err, "commit transaction: it may have been sent twice: a connection was lost")
		w.asked()
		state, err := w.prod.Settle(w.t.Context(), []*kafka.Bundle{b})
		require.NoError(w.t, err)
		require.Equal(w.t, map[int32]kafka.Settled{1: kafka.SlotCommitted}, state)
		require.Equal(w.t, []string{"close", "open", "marks [1]", "offsets"}, w.asked(), "the old producer ends before anything is read")
	})
}

// TestSettleJudges: marks first, then numbers.
func TestSettleJudges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mark string
		seq  int64
		want kafka.Settled
	}{
		"committed":             {"A/1", 5, kafka.SlotCommitted},
		"not committed":         {"A/1", 4, kafka.SlotNotCommitted},
		"of an earlier time":    {"A/1", 3, kafka.SlotLost},
		"of a later time":       {"A/1", 6, kafka.SlotLost},
		"taken from us":         {"B/1", 5, kafka.SlotLost},
		"being taken from us":   {"B/1 over A/1", 4, kafka.SlotLost},
		"released":              {"released", 5, kafka.SlotLost},
		"of another program":    {"!", 5, kafka.SlotLost},
		"no mark, nothing done": {"", 0, kafka.SlotLost},
		"no number":             {"A/1", 0, kafka.SlotLost},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, kafka.GroupConfig{}, func(w *world) {
				b := bundle(w.take(1)[0], 5)
				w.marks[1] = c.mark
				w.positions[source(1)] = kafka.Position{TopicPartition: source(1), Offset: 1, Metadata: kafka.Meta{Seq: c.seq}.Encode()}
				state, err := w.prod.Settle(w.t.Context(), []*kafka.Bundle{b})
				require.NoError(w.t, err)
				require.Equal(w.t, map[int32]kafka.Settled{1: c.want}, state)
			})
		})
	}
}

func TestSettleMayBeCalledAgain(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		bundles := []*kafka.Bundle{bundle(w.take(1)[0], 1)}
		w.next("commit", fault{err: errBroker})
		w.prod.Commit(w.t.Context(), bundles)
		for _, call := range []string{"open", "marks", "offsets"} {
			w.next(call, fault{err: errBroker})
			_, err := w.prod.Settle(w.t.Context(), bundles)
			require.ErrorIs(w.t, err, errBroker, call)
			if call == "open" {
				out := w.prod.Commit(w.t.Context(), bundles)
				require.Equal(w.t, kafka.Unknown, out.Verdict, "there is no producer")
			}
		}
		state, err := w.prod.Settle(w.t.Context(), bundles)
		require.NoError(w.t, err)
		require.Equal(w.t, map[int32]kafka.Settled{1: kafka.SlotCommitted}, state)
		require.Equal(w.t, kafka.Committed, w.prod.Commit(w.t.Context(), []*kafka.Bundle{bundle(w.grants[0], 2)}).Verdict)
	})
}

// What of a bundle is of changelogs is in the transaction, the rest before it, once: not again where the transaction was aborted, or was
// found not to have been committed.
func TestAtLeastOnceIsSentOnceByOneProcess(t *testing.T) {
	in(t, kafka.GroupConfig{AtLeastOnce: true}, func(w *world) {
		b := bundle(w.take(1)[0], 1)
		bundles := []*kafka.Bundle{b}
		w.next("flush-sent", fault{err: errBroker})
		require.Equal(w.t, kafka.Aborted, w.prod.Commit(w.t.Context(), bundles).Verdict)
		w.next("produce", fault{err: errBroker})
		require.Equal(w.t, kafka.Aborted, w.prod.Commit(w.t.Context(), bundles).Verdict)
		w.next("send-offsets", fault{err: errBroker})
		require.Equal(w.t, kafka.Aborted, w.prod.Commit(w.t.Context(), bundles).Verdict)
		w.next("begin", fault{err: errBroker})
		require.Equal(w.t, kafka.Unknown, w.prod.Commit(w.t.Context(), bundles).Verdict)
		w.asked()
		w.mu.Lock()
		clear(w.positions) // nothing was committed
		w.mu.Unlock()
		state, err := w.prod.Settle(w.t.Context(), bundles)
		require.NoError(w.t, err)
		require.Equal(w.t, map[int32]kafka.Settled{1: kafka.SlotNotCommitted}, state)
		require.Equal(w.t, []string{"close", "close-plain", "open", "marks [1]", "offsets"}, w.asked())
		require.Equal(w.t, kafka.Committed, w.prod.Commit(w.t.Context(), bundles).Verdict)
		first, rest := b.Outputs[:1], b.Outputs[1:]
		require.Equal(w.t, [][]*kafka.Outputs{rest, rest, rest, nil}, w.sent, "until all was acknowledged, and the changelog's with it handed over")
		require.Equal(w.t, [][]*kafka.Outputs{first, first, first, first}, w.produced)
	})
}

// What a broken client has not sent, or may still send, is settled with all else: by new clients.
func TestABrokenPlainClientIsReplaced(t *testing.T) {
	in(t, kafka.GroupConfig{AtLeastOnce: true}, func(w *world) {
		bundles := []*kafka.Bundle{bundle(w.take(1)[0], 1)}
		w.broken = true
		w.next("flush-sent", fault{err: errBroker})
		require.Equal(w.t, kafka.Unknown, w.prod.Commit(w.t.Context(), bundles).Verdict)
		w.broken = false
		w.asked()
		_, err := w.prod.Settle(w.t.Context(), bundles)
		require.NoError(w.t, err)
		require.Equal(w.t, []string{"close", "close-plain", "open", "marks [1]", "offsets"}, w.asked())
		require.Equal(w.t, kafka.Committed, w.prod.Commit(w.t.Context(), bundles).Verdict)
	})
}

// A bundle of a member that we are not any more is not committed, whatever the broker would say: a static member that
// comes back is taken for the old one. It is not begun, even if the rebalance is not seen yet.
func TestABundleOfAnotherMemberIsNotBegun(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		grants := w.take(1, 2)
		w.asked()
		for _, id := range []string{"A-2", ""} {
			w.con.joins(id)
			out := w.prod.Commit(w.t.Context(), []*kafka.Bundle{bundle(grants[0], 1), bundle(grants[1], 1)})
			require.Equal(w.t, kafka.Aborted, out.Verdict)
			require.Equal(w.t, []int32{1, 2}, out.Lost)
		}
		w.con.joins("A-1")
		require.Empty(w.t, w.asked())
	})
}

// A slot that is being taken anew, as the same member, may not be committed for meanwhile: the broker would accept it after
// the take has read the offsets.
func TestABundleOfASlotThatWasGivenUpIsNotBegun(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		b := bundle(w.take(1)[0], 1)
		w.next("marks", fault{takes: time.Second})
		w.asked()
		w.group.Retake([]int32{1}, errBroker)
		w.until("it is given up", func() bool { return len(w.calls) == 2 })
		out := w.prod.Commit(w.t.Context(), []*kafka.Bundle{b})
		require.Equal(w.t, kafka.Aborted, out.Verdict)
		require.ErrorContains(w.t, out.Err, "slots 1 were given up")
		require.Empty(w.t, out.Lost, "it is being taken already")
		require.Equal(w.t, []string{"unassign 1", "marks [1]"}, w.asked())
	})
}

func TestAClosedProducerHoldsNobodyBack(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		bundles := []*kafka.Bundle{bundle(w.take(1)[0], 1)}
		w.next("commit", fault{err: errBroker})
		w.prod.Commit(w.t.Context(), bundles)
		require.NoError(w.t, w.prod.Close())
		w.group.Retake([]int32{1}, errBroker)
		w.until("it is taken anew", func() bool { return len(w.grants) == 2 })
	})
}

func TestKinds(t *testing.T) {
	t.Parallel()
	require.NoError(t, protocol.WithKind(nil, protocol.Sick))
	require.Equal(t, protocol.Other, protocol.KindOf(nil))
	require.Equal(t, protocol.Other, protocol.KindOf(errBroker))
	require.Equal(t, protocol.Fenced, protocol.KindOf(errors.Join(errBroker, kind(protocol.Fenced), kind(protocol.Sick))))
	require.Equal(t, "produce: the broker says no", kind(protocol.Sick).Error())
}
