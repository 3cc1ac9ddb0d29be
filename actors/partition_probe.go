package actors

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// How a partition goes on whose owner before did not release it in order: that process may have died of a record.
const (
	wideFirst   = 256         // offsets in the first window of level 0; each is twice as wide as the one before
	wideMost    = 8 * 1024    // at most: what a second kill from outside costs, in windows of level 1
	narrowLeast = 16          // offsets in a window of level 1: the square root of what is suspect, but no fewer
	maxDeaths   = 5           // of processes with one record in hand, then it has failed
	calmFirst   = time.Second // for which a process lives before it is given a record that one has died with; twice as long with each more

	// probePatience is how long nothing else runs while what is suspect can not be given out: its records have not come, or wait behind
	// one that is retried; and for how long, in all, one is retried that fails again and again: it may wait for what does not run meanwhile.
	probePatience = 10 * time.Second
	// turnLimit is how long a window may be open in an exclusive turn: what has run for so long does not kill, and others wait.
	turnLimit = 10 * time.Minute
)

type (
	// announce asks the node to write into the slot's mark what is about to be given out. Announced is the answer.
	announce struct{ trying kafka.Trying }
	// askTurn asks the node for the exclusive turn; Turn with that number is the answer. endTurn gives it back, or asks no more.
	askTurn struct{ number int64 }
	endTurn struct{}
)

// processExitError is what a record fails with that processes have died of.
type processExitError struct{ deaths int }

// Error implements error.
func (e processExitError) Error() string {
	return fmt.Sprintf("%v: %d processes in a row have ended with it in hand", plan.ErrProcessExit, e.deaths)
}

// Unwrap returns plan.ErrProcessExit.
func (processExitError) Unwrap() error { return plan.ErrProcessExit }

// Permanent says that nothing is to be tried again: the policy's last step comes at once.
func (processExitError) Permanent() bool { return true }

// probe is how a partition finds the record that kills its processes. What is suspect is given out only behind an announcement in the
// slot's mark. At level 0 windows are wide and roll, and nothing waits but at their ends. From level 1 on, nothing else of the partition
// runs; a window is open only in the node's exclusive turn, and over when everything of it is committed; at the finest level it is one
// record. A process that dies inside a window leaves it to the next, which is one level finer (kafka.Mark).
//
// A record that fails with an error stays suspect: each further attempt is announced as the first one. What cannot be given out for a while,
// or has been retried for a while, is suspect at level 0 from then on, so that the rest can go on: its handler may wait for an answer of another
// partition, which waits for one of this.
type probe struct {
	level  int
	deaths int       // with the record that is counted; finest level only
	counts trial     // that record
	span   []offsets // by agent: what is suspect. Of a timer: 0 to 1, its first turn
	need   []int64   // by agent: the epoch to be committed before its span is passed; 0: not known yet. Level 0 only
	open   []int64   // by agent: announced, given out before this offset; 0: nothing is
	narrow []int64   // by agent: offsets in a window of level 1
	mark   kafka.Trying
	asking *kafka.Trying           // on its way into the mark
	size   int64                   // of the next window of level 0
	number int64                   // of the turn that was asked for
	asked  bool                    // for the exclusive turn
	held   bool                    // it is ours
	failed bool                    // the record was failed for the deaths: what comes now is up to the policy
	tried  map[trial]bool          // was in hand for longer than anything waits for
	fired  []int                   // by agent: timers called since it is ours
	until  time.Time               // patience, or the window's time, ends; zero: nothing is waited for
	again  map[trial]time.Duration // has failed with an error above level 0 and is not committed yet: for how long it has been retried
	seen   time.Time               // up to when again is counted
	calm   time.Time               // until then the process has to live first; zero: not known yet
}

// why says what is going on, for those who look.
func (p *probe) why() string {
	s := "processes have ended with records of it in hand: it is found out which one does that"
	switch {
	case p.failed:
		s += "; one is given up"
	case p.level == kafka.FinestLevel:
		s += fmt.Sprintf(", one record at a time, %d of %d deaths", p.deaths, maxDeaths)
	default:
		s += ", some at a time"
	}
	if p.asked && !p.held {
		s += "; another partition of this node has its turn"
	}
	return s
}

// trial is a record in the hands of an agent. Of durable timers, the offset is how many were called before it.
type trial struct {
	agent  int
	offset int64
}

// suspect makes the machine of a slot whose owner before died. begin says where the logs of the sources end.
func (s *partitionState) suspect(begin []startAt) {
	t := s.grant.Suspects
	if !s.grant.Careful && t.IsZero() {
		return
	}
	n := len(s.agents)
	p := &probe{
		level: t.Level, deaths: t.Deaths, mark: t, size: wideFirst, tried: map[trial]bool{}, again: map[trial]time.Duration{}, seen: s.now,
		span: make([]offsets, n), need: make([]int64, n), open: make([]int64, n), narrow: make([]int64, n), fired: make([]int, n),
	}
	for i, a := range s.agents {
		to, named := t.Of(a.agent.Name)
		switch {
		case a.agent.Role == plan.Task || s.isFed(a) || !t.IsZero() && !named: // a task may run for ever: it cannot be passed. What is in channels belongs to a record that is suspect
		case a.source < 0:
			if p.span[i] = (offsets{0, 1}); p.deaths > 0 {
				p.counts = trial{i, 0}
			}
		default:
			if t.IsZero() {
				to = begin[a.source].end
			}
			if p.span[i].to = to; p.deaths > 0 {
				p.counts = trial{i, max(to-1, 0)}
				if !s.parks(a) && a.inOrder() { // else what comes before it may still wait, and be what kills
					p.span[i].from = max(to-1, 0)
				}
			}
			p.narrow[i] = max(narrowLeast, int64(math.Sqrt(float64(max(to-a.done.upTo, 0)))))
		}
		if a.source >= 0 && a.done.upTo >= p.span[i].to {
			p.span[i] = offsets{}
		}
	}
	for _, x := range s.durable { // records that are suspect have those in event time called between them
		if x.byEvents && slices.ContainsFunc(x.movers, func(i int) bool { return p.span[i].to > 0 }) {
			p.span[x.agent] = offsets{0, 1}
		}
	}
	s.probe = p
}

// parks says whether a record of an agent may be parked: by its own policy, by that of a table, or of an agent that reads a channel.
func (s *partitionState) parks(a *agentSlot) bool {
	return a.agent.Policy.KeyOrder || slices.ContainsFunc(s.tables, func(t *tableSlot) bool { return t.table.Policy != nil && t.table.Policy.KeyOrder }) ||
		s.feeds(a) && slices.ContainsFunc(s.agents, func(x *agentSlot) bool { return s.isFed(x) && x.agent.Policy.KeyOrder })
}

// isSuspect says whether a record may be why processes have died, as far as is known.
func (p *probe) isSuspect(i int, offset int64) bool {
	x := p.span[i]
	return offset >= x.from && offset < x.to && !p.tried[trial{i, offset}]
}

// allows says whether a record of an agent, or with offset 0 its turn, may be given out now.
func (s *partitionState) allows(i int, offset int64) bool {
	p := s.probe
	switch {
	case p == nil || s.isFed(s.agents[i]) || plant.Is("suspects are given out unannounced"):
		return true
	case !p.isSuspect(i, offset):
		return p.level == 0 || p.tried[trial{i, offset}] || offset < p.span[i].from // those before one that was counted have passed
	case p.level == kafka.FinestLevel:
		return offset == p.open[i]-1
	}
	return offset < p.open[i]
}

// noteTried notes that a record was in hand for long enough; with a negative offset, that a turn has failed with an error, or ended.
func (p *probe) noteTried(i int, offset int64) {
	if offset < 0 {
		p.span[i] = offsets{}
	} else if p.isSuspect(i, offset) {
		p.tried[trial{i, offset}] = true
	}
}

// nextSuspect is what is suspect and could be given to an agent now, were it allowed.
func (s *partitionState) nextSuspect(i int) (offset int64, ok bool) {
	p, a := s.probe, s.agents[i]
	if p.span[i].to == 0 || a.backing || s.halt != nil || s.leavesOut(i) {
		return 0, false
	}
	if a.agent.Fires != nil {
		return 0, len(a.works) == 0 && s.isDue(s.slotOf(i))
	}
	if a.source < 0 {
		return 0, len(a.works) == 0 && !s.now.Before(a.due)
	}
	if !s.canTake(a) || p.level == 0 && a.agent.InOrder && s.turnInOrder() != i {
		return 0, false
	}
	if at := s.dueParked(a); at >= 0 && p.isSuspect(i, a.parked[at].offset) {
		return a.parked[at].offset, true
	}
	if _, ok := s.head(a); !ok {
		return 0, false
	}
	offset = s.cursor(a)
	return offset, p.isSuspect(i, offset)
}

// cursor is the offset of the next record of an agent, or if it has not come yet, one that it cannot be below.
func (s *partitionState) cursor(a *agentSlot) int64 {
	q := s.sources[a.source]
	if at := a.batch - q.first; at < int64(len(q.batches)) && a.record < len(q.batches[at].Records) {
		return q.batches[at].Records[a.record].Offset
	}
	return s.behind(a)
}

// isPassed says whether an agent has been given all that is suspect, and is through with it.
func (s *partitionState) isPassed(i int) bool {
	p, a := s.probe, s.agents[i]
	x := p.span[i]
	if a.source < 0 {
		return x.to == 0 || a.agent.Fires != nil && s.isQuiet(i)
	}
	for _, w := range a.works {
		if r := w.records[min(w.done, len(w.records)-1)]; r.B.Records[r.I].Offset < x.to {
			return false
		}
	}
	for _, w := range a.parked {
		if p.isSuspect(i, w.offset) {
			return false
		}
	}
	if !a.backing {
		s.head(a) // it passes what is done
	}
	at := s.cursor(a)
	return at >= x.to || at == x.to-1 && p.tried[trial{i, at}]
}

// isOver says whether nothing is suspect any more.
func (p *probe) isOver() bool {
	return !slices.ContainsFunc(p.span, func(x offsets) bool { return x.to > 0 })
}

// maybeProbe decides what is announced next. It is called before anything is given out.
func (s *partitionState) maybeProbe() {
	if s.probe == nil || s.phase != running || s.probe.asking != nil || s.firing != nil && s.firing.exit != nil {
		return
	}
	if s.probe.level == 0 {
		s.probeWide()
	} else {
		s.probeAlone()
	}
}

// probeWide rolls the windows of level 0.
func (s *partitionState) probeWide() {
	p := s.probe
	for i := range s.agents {
		if p.span[i].to == 0 {
			continue
		}
		switch {
		case !s.isPassed(i):
			p.need[i] = 0
		case s.isSettled() || p.need[i] > 0 && s.committedEpoch >= p.need[i]:
			p.span[i] = offsets{}
		case p.need[i] == 0:
			p.need[i] = s.epoch
		}
	}
	if p.isOver() {
		s.endProbe()
		return
	}
	t, wanted, rests := kafka.Trying{Open: true}, false, true
	for _, idle := range []bool{false, true} { // those that need it first: there may be no room for all
		for i, a := range s.agents {
			at, ok := s.nextSuspect(i)
			if (!ok && len(a.works) == 0) != idle || p.span[i].to == 0 {
				continue
			}
			rests = rests && idle && a.source < 0 // but timers that are not due
			to := p.open[i]
			if ok && at+p.size/4 >= to && to < p.span[i].to { // half of it is through: size is that of the next
				to = min(at+p.size, p.span[i].to)
			}
			if to > 0 && t.Add(a.agent.Name, to) && to > p.open[i] {
				wanted = true
			}
		}
	}
	switch {
	case wanted:
		p.size = min(2*p.size, wideMost)
		s.announce(t)
	case rests && p.mark.Open && s.isSettled():
		s.announce(kafka.Trying{})
	}
}

// probeAlone goes from one window to the next, in exclusive turns.
func (s *partitionState) probeAlone() {
	p := s.probe
	if s.isImpatient() {
		s.loosen(false)
		return
	}
	if p.mark.Open {
		for i := range s.agents {
			if at, ok := s.nextSuspect(i); ok && s.allows(i, at) {
				return // it is given out next
			}
		}
	}
	if !s.isSettled() && (p.mark.Open || !plant.Is("suspicion ends before the commit")) {
		if !p.until.IsZero() && !s.now.Before(p.until) || s.waitsWithin() {
			s.loosen(true)
			return
		}
		if s.hurry(); p.mark.Open && p.level == kafka.FinestLevel && s.isWhole() {
			s.announceRest() // a process that dies while it commits has not died of the record
		}
		return
	}
	for i := range s.agents {
		if p.span[i].to > 0 && s.isPassed(i) {
			p.span[i] = offsets{}
		}
	}
	t, agent, at := s.nextWindow()
	switch {
	case t.IsZero():
		s.restProbe()
	case !p.held:
		p.until = time.Time{}
		if !p.asked && s.isCalm(t) {
			p.asked, p.number = true, s.id()
			s.emit(askTurn{p.number})
		}
	case t.Deaths >= maxDeaths && !p.failed:
		p.until = time.Time{}
		s.failExit(agent, at)
	default:
		p.until = s.now.Add(turnLimit)
		s.announce(t)
	}
}

// isCalm says whether this process has lived for long enough without the record that others have died with: if it dies before that, it was
// something else. Kills from outside, and processes that die of another cause soon after they start, would else be put on the first record
// that each of them has in hand.
func (s *partitionState) isCalm(t kafka.Trying) bool {
	p := s.probe
	if t.Level < kafka.FinestLevel || t.Deaths == 0 || t.Deaths >= maxDeaths {
		return true
	}
	if p.calm.IsZero() {
		p.calm = s.now.Add(calmFirst << (t.Deaths - 1))
	}
	return !s.now.Before(p.calm)
}

// nextWindow is the next window of an exclusive turn: of all agents, or at the finest level of the one that is named, with one record.
func (s *partitionState) nextWindow() (t kafka.Trying, agent int, at int64) {
	p := s.probe
	t = kafka.Trying{Level: p.level, Deaths: p.deaths, Open: true}
	for i, a := range s.agents {
		offset, ok := s.nextSuspect(i)
		if !ok {
			continue
		}
		if p.level == kafka.FinestLevel {
			if (trial{i, offset}) != p.counts {
				t.Deaths = 0 // of another record
			}
			t.Add(a.agent.Name, offset+1)
			return t, i, offset
		}
		t.Add(a.agent.Name, min(offset+max(p.narrow[i], 1), p.span[i].to))
	}
	for _, x := range s.durable { // those in event time come between the records: else each would end the window
		if x.byEvents && p.span[x.agent].to > 0 && !s.isNamed(t, x.agent) && slices.ContainsFunc(x.movers, func(i int) bool { return s.isNamed(t, i) }) {
			t.Add(s.agents[x.agent].agent.Name, 1)
		}
	}
	return t, -1, 0
}

// isNamed says whether a window has something of an agent.
func (s *partitionState) isNamed(t kafka.Trying, i int) bool {
	_, ok := t.Of(s.agents[i].agent.Name)
	return ok
}

// isSettled says whether nothing is under way, and everything that was done is committed.
func (s *partitionState) isSettled() bool {
	return s.offer == nil && !s.whole.moved && s.isWhole() && (s.careful == nil || s.careful.agent < 0)
}

// isWhole says whether no user code runs, and none is to: handlers, shards and codecs are through. Tasks do not count: they may run
// for ever.
func (s *partitionState) isWhole() bool {
	if s.seal != nil || s.fill.moved || s.flows() {
		return false
	}
	return !slices.ContainsFunc(s.agents, func(a *agentSlot) bool { return len(a.works) > 0 && a.agent.Role != plan.Task }) && s.hasApplied()
}

// hasApplied says whether shards are through with all that was sent to them.
func (s *partitionState) hasApplied() bool {
	return !slices.ContainsFunc(s.tables, func(t *tableSlot) bool { return t.applied < t.sent })
}

// hurry has what was done committed before the next interval: everything waits for it.
func (s *partitionState) hurry() {
	switch {
	case s.seal != nil || s.offer != nil:
	case s.careful == nil:
		if s.fill.moved || s.whole.moved {
			s.becomeDry()
		}
	case s.careful.agent < 0 && s.fill.moved:
		s.sealShards()
	default:
		s.maybeOffer()
	}
}

// restProbe ends a turn: nothing that is suspect can be given out now. What is suspect still stays so in the mark.
func (s *partitionState) restProbe() {
	p := s.probe
	if p.isOver() {
		s.endProbe()
		return
	}
	if p.mark.Open {
		p.until = time.Time{}
		s.announceRest()
		return
	}
	s.giveTurnBack()
	switch {
	case s.halt != nil: // nothing else runs either
		p.until = time.Time{}
	case p.until.IsZero(), p.until.Sub(s.now) > probePatience: // or it is that of the window before
		p.until = s.now.Add(probePatience)
	case !s.now.Before(p.until):
		s.loosen(true)
	}
}

// loosen has what is suspect still be so at level 0, and all else go on. harmless says that what is in hand has not killed for long enough, and is not
// suspect any more; else it still is, and the mark still says that it is in hand.
func (s *partitionState) loosen(harmless bool) {
	p := s.probe
	s.giveTurnBack()
	t := kafka.Trying{Open: true}
	for i, a := range s.agents {
		if !harmless && p.span[i].to > 0 && p.open[i] > 0 && (len(a.works) > 0 || s.feeds(a) && s.flows()) {
			t.Add(a.agent.Name, p.open[i])
		}
		for _, w := range a.works {
			if r := w.records[min(w.done, len(w.records)-1)]; a.source >= 0 && harmless {
				p.noteTried(i, r.B.Records[r.I].Offset)
			}
		}
	}
	if t.IsZero() {
		t.Open = false
	}
	p.level, p.deaths, p.size, p.until = 0, 0, wideFirst, time.Time{}
	clear(p.again)
	for i := range p.span {
		p.span[i].from = 0
	}
	p.mark.Open = false // nothing more of it is given out
	s.announce(t)
}

// announceRest says in the mark that nothing is given out, and what is suspect still.
func (s *partitionState) announceRest() {
	p := s.probe
	t := kafka.Trying{Level: p.level, Deaths: p.deaths}
	for i, a := range s.agents {
		if p.span[i].to > 0 {
			t.Add(a.agent.Name, p.span[i].to)
		}
	}
	s.announce(t)
}

func (s *partitionState) giveTurnBack() {
	if p := s.probe; p.asked {
		p.asked, p.held = false, false
		s.emit(endTurn{})
	}
}

// endProbe: nothing is suspect any more.
func (s *partitionState) endProbe() {
	if !s.probe.mark.IsZero() {
		s.announce(kafka.Trying{})
		return
	}
	s.giveTurnBack()
	s.probe = nil
}

func (s *partitionState) announce(t kafka.Trying) {
	clear(s.probe.open)
	if s.probe.level == 0 && s.probe.mark.Open { // what is announced wider goes on meanwhile
		for i, a := range s.agents {
			s.probe.open[i], _ = s.probe.mark.Of(a.agent.Name)
		}
	}
	s.probe.asking = &t
	s.emit(announce{t})
}

// onAnnounced goes on with what the mark says now.
func (s *partitionState) onAnnounced() {
	p := s.probe
	if p == nil || p.asking == nil {
		return
	}
	p.mark, p.asking = *p.asking, nil
	clear(p.open)
	if !p.mark.Open {
		return
	}
	for i, a := range s.agents {
		p.open[i], _ = p.mark.Of(a.agent.Name)
	}
}

func (s *partitionState) onTurn(m Turn) {
	if p := s.probe; p != nil && p.asked && p.number == m.Number {
		p.held = true
	}
}

// failExit fails the record that processes have died of: it is not given out again, unless the policy says so.
func (s *partitionState) failExit(i int, at int64) {
	p, a := s.probe, s.agents[i]
	p.failed = true
	if x := s.slotOf(i); x != nil {
		s.firing = &firing{slot: x, upTo: s.moment(x), exit: processExitError{p.deaths}}
		s.collect()
		return
	}
	rec := plan.Rec{}
	if a.source >= 0 {
		q := s.sources[a.source]
		if k := a.parkedAt(at); k >= 0 {
			rec = a.parked[k].rec
			a.parked[k].attempts = p.deaths - 1
		} else {
			rec = plan.Rec{B: q.batches[a.batch-q.first], I: a.record}
		}
		a.failed = at
		if c := s.careful; c != nil {
			c.take(i, rec)
		}
	}
	a.attempts = p.deaths - 1
	a.incarnation++
	s.failRecord(i, rec, a.agent.Policy, recordFailure{step: kafka.StepProcess, err: processExitError{p.deaths}}, false)
}
