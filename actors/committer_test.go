package actors

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
)

// committerModel is what a test knows of a committer: a world of partitions and a producer around it.
type committerModel struct {
	t       *rapid.T
	c       *committerState
	now     time.Time
	parts   map[int32]*modelPart
	out     []*kafka.Bundle // with the producer
	settle  bool            // it is asked what became of them
	landed  bool            // they are committed, though nobody knows
	stuck   bool            // a transaction with something sick in it cannot be aborted
	opened  time.Time       // when partitions were asked to seal last
	seen    map[string]int
	decided map[*kafka.Bundle]int
}

// modelPart is a partition. It offers one bundle at a time.
type modelPart struct {
	slot, incarnation, seq int64
	joined                 bool
	offer                  *kafka.Bundle
	sick                   bool
	asked                  int64
}

// TestCommitterAnyOrder sends a committer whatever may reach it, in any order: each bundle is decided once, transactions do not
// overlap, a sick bundle is refused alone, an unknown outcome is looked into, and rounds keep their distance.
func TestCommitterAnyOrder(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	MeetAll(t, seen, []string{"committed", "aborted", "sick together", "rejected", "unknown", "sick and unknown", "settle failed", "slot lost", "early"}, func(t *rapid.T) {
		start := time.UnixMilli(1_700_000_000_000)
		m := &committerModel{
			t: t, now: start, opened: start, seen: seen, parts: map[int32]*modelPart{}, decided: map[*kafka.Bundle]int{},
			c: newCommitterState(100*time.Millisecond, start),
		}
		for slot := range int32(4) {
			m.parts[slot] = &modelPart{slot: int64(slot)}
		}
		m.stuck = rapid.Bool().Draw(t, "stuck")
		t.Repeat(map[string]func(*rapid.T){
			"join": m.join, "part": m.part, "offer": m.offer, "nothing": m.nothing, "dry": m.dry, "tick": m.tick,
			"done": m.done, "found": m.found, "stale": m.stale, "": func(*rapid.T) {},
		})
		m.finish()
	})
}

// step sends a message and checks all that is asked in return.
func (m *committerModel) step(msg committerMessage) {
	for _, x := range m.c.step(msg) {
		switch x := x.(type) {
		case askSeal:
			m.onAsk(x)
		case decide:
			m.onDecide(x)
		case commitBundles:
			m.onCommit(x.bundles)
		case settleBundles:
			require.NotNil(m.t, m.out, "asked about bundles that the producer does not have")
			require.Equal(m.t, m.out, x.bundles)
			m.settle = true
		case retake:
			for _, s := range x.slots {
				m.parts[s].joined, m.parts[s].offer = false, nil
			}
		case giveUp:
			m.t.Fatalf("gave up: %v", x.err)
		case wakeAt:
		}
	}
}

func (m *committerModel) onAsk(x askSeal) {
	p := m.parts[x.slot]
	require.True(m.t, p.joined, "slot %d was asked, which does not take part", x.slot)
	require.Equal(m.t, p.incarnation, x.incarnation)
	require.Nil(m.t, p.offer, "slot %d was asked, though it has a bundle waiting", x.slot)
	if m.opened != m.now {
		require.GreaterOrEqual(m.t, m.now.Sub(m.opened), minGap, "rounds are too close")
		if m.now.Sub(m.opened) < m.c.interval {
			m.seen["early"]++
		}
		m.opened = m.now
	}
	p.asked = x.round
}

func (m *committerModel) onCommit(bundles []*kafka.Bundle) {
	require.Nil(m.t, m.out, "two transactions at a time")
	require.NotEmpty(m.t, bundles)
	slots := map[int32]bool{}
	for _, b := range bundles {
		require.False(m.t, slots[b.Slot], "slot %d twice in a transaction", b.Slot)
		slots[b.Slot] = true
		require.Same(m.t, m.parts[b.Slot].offer, b, "slot %d does not offer this bundle", b.Slot)
	}
	m.out, m.settle = bundles, false
}

func (m *committerModel) onDecide(x decide) {
	p := m.parts[x.slot]
	require.True(m.t, p.joined && p.offer != nil && p.offer.Seq == x.decided.Seq, "slot %d: nothing to decide", x.slot)
	require.Equal(m.t, p.incarnation, x.incarnation)
	m.decided[p.offer]++
	require.Equal(m.t, 1, m.decided[p.offer], "decided twice")
	if x.decided.Err != nil {
		m.seen["rejected"]++
		require.True(m.t, p.sick, "a bundle was refused that is not sick")
	} else {
		require.False(m.t, p.sick, "a sick bundle was committed")
	}
	p.offer = nil
}

func (m *committerModel) pick(t *rapid.T, ok func(*modelPart) bool) *modelPart {
	var all []*modelPart
	for slot := range int32(len(m.parts)) {
		if ok(m.parts[slot]) {
			all = append(all, m.parts[slot])
		}
	}
	if len(all) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(all).Draw(t, "slot")
}

func (m *committerModel) join(t *rapid.T) {
	p := m.pick(t, func(p *modelPart) bool { return !p.joined })
	p.joined, p.incarnation, p.offer, p.asked = true, p.incarnation+1, nil, 0
	m.step(Join{int32(p.slot), p.incarnation})
}

func (m *committerModel) part(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
		t.Skip("seldom")
	}
	p := m.pick(t, func(p *modelPart) bool { return p.joined })
	p.joined, p.offer = false, nil
	m.step(Part{int32(p.slot), p.incarnation})
}

func (m *committerModel) offer(t *rapid.T) {
	p := m.pick(t, func(p *modelPart) bool { return p.joined && p.offer == nil })
	p.seq++
	p.offer = &kafka.Bundle{Slot: int32(p.slot), Incarnation: p.incarnation, Seq: p.seq}
	p.sick = rapid.IntRange(0, 5).Draw(t, "sick") == 0
	m.step(Offer{Bundle: p.offer, Round: p.asked, Alone: rapid.IntRange(0, 5).Draw(t, "alone") == 0})
}

func (m *committerModel) nothing(t *rapid.T) {
	p := m.pick(t, func(p *modelPart) bool { return p.joined && p.asked != 0 })
	round := p.asked
	p.asked = 0
	m.step(Nothing{int32(p.slot), p.incarnation, round})
}

func (m *committerModel) dry(t *rapid.T) {
	p := m.pick(t, func(p *modelPart) bool { return p.joined })
	m.step(Dry{int32(p.slot), p.incarnation})
}

func (m *committerModel) tick(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "ms")) * time.Millisecond)
	m.step(Tick{m.now})
}

// stale sends what an incarnation sends that has ended meanwhile.
func (m *committerModel) stale(t *rapid.T) {
	p := m.pick(t, func(p *modelPart) bool { return p.incarnation > 0 })
	slot, old := int32(p.slot), p.incarnation-1
	m.step(rapid.SampledFrom([]committerMessage{
		Part{slot, old}, Dry{slot, old}, Nothing{slot, old, m.c.round}, Offer{Bundle: &kafka.Bundle{Slot: slot, Incarnation: old, Seq: 99}},
	}).Draw(t, "message"))
}

func (m *committerModel) isSick(bundles []*kafka.Bundle) bool {
	for _, b := range bundles {
		if p := m.parts[b.Slot]; p.offer == b && p.sick {
			return true
		}
	}
	return false
}

// answer is how a commit ends: as drawn, but never well with something sick in it.
func (m *committerModel) answer(verdict int) {
	bundles := m.out
	done := Done{Now: m.now, Bundles: bundles}
	refused := errors.New("refused")
	switch sick := m.isSick(bundles); {
	case sick && verdict < 3 && !m.stuck:
		done.Outcome = kafka.Outcome{Verdict: kafka.Aborted, Sick: true, Err: refused}
		if len(bundles) > 1 {
			m.seen["sick together"]++
		}
	case verdict == 1 && !sick:
		m.seen["aborted"]++
		done.Outcome = kafka.Outcome{Verdict: kafka.Aborted, Err: refused}
	case verdict == 2 && !sick:
		done.Outcome = kafka.Outcome{Verdict: kafka.Aborted, Err: refused, Lost: []int32{bundles[0].Slot}}
	case sick || verdict >= 3:
		m.seen["unknown"]++
		m.landed = verdict == 3 && !sick
		done.Outcome = kafka.Outcome{Verdict: kafka.Unknown, Err: refused, Sick: sick}
		if sick {
			m.seen["sick and unknown"]++
		}
		m.step(done)
		require.True(m.t, m.settle, "an unknown outcome is not looked into")
		return
	default:
		m.seen["committed"]++
	}
	m.out = nil
	m.step(done)
}

func (m *committerModel) done(t *rapid.T) {
	if m.out == nil || m.settle {
		t.Skip("no commit under way")
	}
	m.answer(rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 3, 4}).Draw(t, "verdict"))
}

// settled answers what became of the bundles.
func (m *committerModel) settled(lost bool) {
	bundles := m.out
	state := map[int32]kafka.Settled{}
	for i, b := range bundles {
		switch {
		case lost && i == 0:
			m.seen["slot lost"]++
			state[b.Slot] = kafka.SlotLost
		case m.landed:
			state[b.Slot] = kafka.SlotCommitted
		default:
			state[b.Slot] = kafka.SlotNotCommitted
		}
	}
	m.out, m.settle = nil, false
	m.step(Found{m.now, bundles, state, nil})
}

func (m *committerModel) found(t *rapid.T) {
	if !m.settle {
		t.Skip("nothing to settle")
	}
	if rapid.IntRange(0, 3).Draw(t, "error") == 0 {
		m.seen["settle failed"]++
		m.settle = false
		m.step(Found{Now: m.now, Bundles: m.out, Err: errors.New("no answer")})
		require.True(m.t, m.settle, "a failed look is not repeated")
		return
	}
	m.settled(rapid.IntRange(0, 4).Draw(t, "lost") == 0)
}

// finish: once all goes well, everything that is offered is decided, within a bounded time.
func (m *committerModel) finish() {
	for range 200 {
		switch {
		case m.settle:
			m.settled(false)
		case m.out != nil:
			m.answer(0)
		default:
			m.now = m.now.Add(minGap)
			m.step(Tick{m.now})
		}
	}
	for slot, p := range m.parts {
		require.Nil(m.t, p.offer, "the bundle of slot %d was never decided", slot)
	}
}
