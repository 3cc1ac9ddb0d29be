package actors

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// senderState is a partition, at-least-once, whose agent sends a record for each of its own.
type senderState struct {
	t    *testing.T
	s    *partitionState
	next int64
	sent int // writes asked for
}

func newSenderState(t *testing.T) *senderState {
	t.Helper()
	topo := topology.New("test")
	in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.Each(topo, "work", in, func(*topology.Context, topology.Event[string, string]) error { return nil }, topology.Sends(out))
	x := &senderState{t: t, s: stateOf(t, topo, kafka.Meta{Seq: 1, Agents: map[string]kafka.Ahead{"work": {}}}, func(s *partitionState) { s.sends = true })}
	require.NotNil(t, x.s.sending, "what a partition before it has sent comes first")
	require.Empty(t, x.offers(x.step(SealRound{Round: 1})))
	x.step(Delivered{})
	return x
}

func (x *senderState) step(m partitionMessage) []any {
	out := x.s.step(m)
	for _, o := range out {
		if _, ok := o.(sendEarly); ok {
			x.sent++
		}
	}
	return out
}

// records has some arrive and be done. Each sends one of so many bytes.
func (x *senderState) records(n, size int) (out []any) {
	x.t.Helper()
	b := &kafka.Batch{Topic: "in"}
	for range n {
		b.Append(x.next, 1, []byte("k"), []byte("v"), nil)
		x.next++
	}
	for todo := worksOf(x.s, x.step(Arrived{0, b}), "work"); len(todo) > 0; {
		more := x.work(todo[0], size)
		out, todo = append(out, more...), append(todo[1:], worksOf(x.s, more, "work")...)
	}
	return out
}

// work has the records of a work done.
func (x *senderState) work(w Work, size int) []any {
	sent := new(kafka.Outputs)
	for range w.Records {
		sent.Append(1, 0, 1, []byte("k"), make([]byte, size), nil)
	}
	return x.step(Worked{Agent: 0, Incarnation: w.Incarnation, Work: w.ID, Done: len(w.Records), Finished: true, Out: sent})
}

// committing has the first record done and sent, and its bundle offered.
func (x *senderState) committing() kafka.Bundle {
	x.t.Helper()
	x.records(1, 10)
	x.step(Delivered{})
	return x.offered(x.step(SealRound{Round: 2}), 1, 0)
}

// offers are the bundles that are offered.
func (x *senderState) offers(out []any) (all []Offer) {
	for _, o := range out {
		if m, ok := o.(toCommitter); ok {
			if offer, ok := m.msg.(Offer); ok {
				all = append(all, offer)
			}
		}
	}
	return all
}

// offered is the one bundle that is, with as many records that the producer is to send.
func (x *senderState) offered(out []any, upTo int64, sends int) kafka.Bundle {
	x.t.Helper()
	all := x.offers(out)
	require.Len(x.t, all, 1)
	b := all[0].Bundle
	require.Equal(x.t, upTo, b.Offsets[0].Offset)
	n := 0
	for _, o := range b.Outputs {
		n += o.Len()
	}
	require.Equal(x.t, sends, n)
	return *b
}

// What was sent is not in the bundle, which is offered in a round, once it is written. What comes while it is committed is sent meanwhile.
func TestWhatIsSentWaitsForNoCommit(t *testing.T) {
	t.Parallel()
	x := newSenderState(t)
	require.Empty(t, x.offers(x.records(1, 10)))
	require.Equal(t, 1, x.sent, "at once")
	require.Empty(t, x.offers(x.step(SealRound{Round: 2})), "it is not written yet")
	b := x.offered(x.step(Delivered{}), 1, 0)
	x.records(1, 10)
	require.Equal(t, 2, x.sent)
	x.step(Delivered{})
	x.records(1, 10)
	require.Equal(t, 3, x.sent)
	x.step(Delivered{})
	require.Empty(t, x.offers(x.step(Decided{Seq: b.Seq})))
	x.offered(x.step(SealRound{Round: 3}), 3, 0)
}

// What could not be sent is in the bundle, and what comes after it is not sent before.
func TestWhatWasNotSentIsInTheBundle(t *testing.T) {
	t.Parallel()
	x := newSenderState(t)
	x.records(1, 10)
	x.records(1, 10)
	require.Equal(t, 1, x.sent, "one at a time")
	x.step(Delivered{errors.New("no leader")})
	require.Equal(t, 1, x.sent, "the first comes first")
	b := x.offered(x.step(SealRound{Round: 2}), 1, 1)
	require.Equal(t, 1, x.sent)
	x.step(Decided{Seq: b.Seq})
	require.Equal(t, 2, x.sent, "the second")
	x.step(Delivered{})
	x.offered(x.step(SealRound{Round: 3}), 2, 0)
}

// What is much comes with the bundle.
func TestWhatIsMuchIsNotSentEarly(t *testing.T) {
	t.Parallel()
	x := newSenderState(t)
	x.records(maxSent+1, 10)
	require.Zero(t, x.sent)
	b := x.offered(x.step(SealRound{Round: 2}), maxSent+1, maxSent+1)
	x.records(1, 10)
	require.Zero(t, x.sent, "not before the others")
	x.step(Decided{Seq: b.Seq})
	require.Equal(t, 1, x.sent)
}

// While commits do not come, no more is sent than an epoch may hold, and nothing more is given out when there is another.
func TestWhatIsSentIsBoundedWhileNothingIsCommitted(t *testing.T) {
	t.Parallel()
	x := newSenderState(t)
	b := x.committing()
	const size = 100_000
	for range 3 * maxEpoch / size {
		x.records(1, size)
		if x.s.sending != nil {
			x.step(Delivered{})
		}
	}
	require.InDelta(t, maxEpoch/size, x.sent, 5)
	require.InDelta(t, 2*maxEpoch/size, float64(x.s.agents[0].done.upTo), 10)
	require.Empty(t, x.s.whole.outs, "what is written is not kept")
	x.step(Decided{Seq: b.Seq})
	x.offered(x.step(SealRound{Round: 3}), int64(x.sent), 0)
}

// A rejected bundle takes back what was sent after it, and while that is on its way nothing else is offered.
func TestWhatIsSentIsTakenBack(t *testing.T) {
	t.Parallel()
	x := newSenderState(t)
	b := x.committing()
	x.records(1, 10)
	require.Equal(t, 2, x.sent)
	out := x.step(Decided{Seq: b.Seq, Err: errors.New("refused")})
	for range 2 {
		for _, w := range worksOf(x.s, out, "work") {
			require.Zero(t, w.Records[0].B.Records[w.Records[0].I].Offset)
			require.Len(t, w.Records, 1)
			out = x.work(w, 10)
		}
	}
	require.Empty(t, x.offers(out))
	require.Equal(t, 2, x.sent, "carefully, with its commit")
	x.offered(x.step(Delivered{errors.New("no leader")}), 1, 1)
}

// A partition that is to leave waits for what is on its way.
func TestWhatIsSentIsCommittedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, errors.New("no leader")} {
		x := newSenderState(t)
		x.records(1, 10)
		flushed := 0
		for _, o := range x.step(Leave{Now: x.s.now, Grace: time.Second}) {
			if to, ok := o.(toAgent); ok {
				flushed++
				m := to.msg.(Flush) //nolint:forcetypeassert // nothing else is asked of it
				require.Empty(t, x.offers(x.step(Worked{Agent: 0, Incarnation: m.Incarnation, Round: m.Round})))
			}
		}
		require.Equal(t, 1, flushed)
		require.Equal(t, stopping, x.s.phase)
		sends := 0
		if err != nil {
			sends = 1
		}
		b := x.offered(x.step(Delivered{err}), 1, sends)
		x.step(Decided{Seq: b.Seq})
		require.Equal(t, finishing, x.s.phase)
	}
}

// Nor does it end while something is on its way that a rejected bundle has taken back: the next owner sends it again, and in order.
func TestWhatIsTakenBackIsWaitedForAtTheEnd(t *testing.T) {
	t.Parallel()
	x := newSenderState(t)
	b := x.committing()
	x.records(1, 10)
	require.NotNil(t, x.s.sending)
	x.step(Leave{Now: x.s.now, Grace: time.Second})
	x.step(Worked{Agent: 0, Incarnation: x.s.agents[0].incarnation, Round: x.s.agents[0].flush})
	x.step(Decided{Seq: b.Seq, Err: errors.New("refused")})
	require.Equal(t, stopping, x.s.phase)
	require.Empty(t, x.offers(x.step(Delivered{})))
	require.Equal(t, finishing, x.s.phase)
}
