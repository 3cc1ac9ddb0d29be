package actors

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Whatever arrives, ends and fails when: in no span of time an agent is given more records than its limit says, and it is given all of them, without anything but the
// wake-ups that the partition asks for.
func TestThrottleAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		const total = 60
		n, per := rapid.IntRange(1, 7).Draw(rt, "n"), time.Duration(rapid.IntRange(1, 500).Draw(rt, "ms"))*time.Millisecond
		topo := topology.New("test")
		in := topology.NewTopic(topo, "in", codec.String, codec.String)
		nothing := func(*topology.Context, topology.Event[string, string]) error { return nil }
		topology.Each(topo, "slow", topology.Throttle(in, n, per), nothing, topology.OnFailure(topology.Policy{Attempts: 2, KeyOrder: rapid.Bool().Draw(rt, "key order"), Then: topology.Skip}))
		topology.Each(topo, "free", in, nothing)
		s := stateOf(t, topo, kafka.Meta{Seq: 1})
		var given []time.Time // to the agent that is throttled
		var wake time.Time
		works, offers, tried, free := []Work{}, []Offer{}, map[int64]int{}, 0
		do := func(out []any) {
			for _, w := range worksOf(s, out, "free") {
				free += len(w.Records)
				out = append(out, s.step(Worked{Agent: 1, Incarnation: w.Incarnation, Work: w.ID, Done: len(w.Records), Finished: true})...)
			}
			for _, w := range worksOf(s, out, "slow") {
				works = append(works, w)
				for _, r := range w.Records {
					tried[r.B.Records[r.I].Offset]++
					given = append(given, s.now)
				}
			}
			for _, x := range out {
				if o, ok := x.(toCommitter); ok {
					if offer, ok := o.msg.(Offer); ok {
						offers = append(offers, offer)
					}
				}
				if x, ok := x.(wakeAt); ok && (wake.IsZero() || x.at.Before(wake)) {
					wake = x.at
				}
			}
			for i := n; i < len(given); i++ {
				require.GreaterOrEqual(rt, given[i].Sub(given[i-n]), per, "records %d to %d of those that were given", i-n, i)
			}
		}
		arrived := int64(0)
		for steps := 0; arrived < total || s.agents[0].done.upTo < total; steps++ {
			require.Less(rt, steps, 5000, "it comes to nothing")
			what := rapid.IntRange(0, 3).Draw(rt, "what")
			switch {
			case what == 0 && arrived < total:
				m := min(rapid.Int64Range(1, 20).Draw(rt, "records"), total-arrived)
				b := &kafka.Batch{Topic: "in", Next: arrived + m}
				for i := range m {
					b.Append(arrived+i, 1, fmt.Appendf(nil, "k%d", (arrived+i)%5), []byte("v"), nil)
				}
				arrived += m
				do(s.step(Arrived{0, b}))
			case what == 1 && len(works) > 0:
				w := works[0]
				works = works[1:]
				if w.Incarnation == s.agents[0].incarnation {
					do(s.step(AgentFailed{Agent: 0, Incarnation: w.Incarnation, Work: w.ID, Turn: 1, Err: errors.New("unlucky")}))
				}
			case len(works) > 0:
				w := works[0]
				works = works[1:]
				if w.Incarnation == s.agents[0].incarnation {
					do(s.step(Worked{Agent: 0, Incarnation: w.Incarnation, Work: w.ID, Done: len(w.Records), Finished: true}))
				}
			case arrived == total:
				do(s.step(SealRound{int64(steps + 1)}))
				for ; len(offers) > 0; offers = offers[1:] { // records of a key go on once the one before is committed
					do(s.step(Decided{Seq: offers[0].Bundle.Seq}))
				}
				if len(works) > 0 || s.agents[0].done.upTo == total {
					continue
				}
				require.False(rt, wake.IsZero(), "nothing would ever happen")
				require.True(rt, wake.After(s.now) || s.agents[0].backing, "it is woken for nothing")
				s.now, wake = maxTime(s.now, wake), time.Time{}
				do(s.step(Wake{s.now}))
			}
		}
		require.Equal(rt, total, free, "others are held back")
		for at := range int64(total) {
			require.Positive(rt, tried[at], "offset %d", at)
		}
	})
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// A clock that is set back holds nothing back for longer than a span.
func TestThrottleAndAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.Each(topo, "slow", topology.Throttle(in, 2, time.Second), func(*topology.Context, topology.Event[string, string]) error { return nil })
	s := stateOf(t, topo, kafka.Meta{Seq: 1})
	require.Len(t, worksOf(s, s.step(Arrived{0, records(5)}), "slow")[0].Records, 2)
	s.now = s.now.Add(-time.Hour)
	s.step(Resume{})
	back := s.now
	require.Equal(t, back.Add(time.Second), s.throttledUntil(s.agents[0]))
	s.now = back.Add(time.Second - 1)
	require.Empty(t, worksOf(s, s.step(Resume{}), "slow"))
	s.now = back.Add(time.Second)
	require.Len(t, worksOf(s, s.step(Wake{s.now}), "slow")[0].Records, 2)
}
