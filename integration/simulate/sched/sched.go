// Package sched runs coroutines and events in one thread, in an order that a seed decides: one seed is one run, exactly.
// Time is simulated. Nothing in it may be used by more than one goroutine.
package sched

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"
)

// Proc is a process: what it runs ends with it, and stands still while it is paused.
type Proc struct {
	Name   string
	s      *Sched
	dead   bool
	paused bool
	cos    []*coroutine
}

// Dead says whether the process was killed.
func (p *Proc) Dead() bool { return p.dead }

// Paused says whether the process stands still.
func (p *Proc) Paused() bool { return p.paused }

// Sched is a scheduler.
type Sched struct {
	seed   uint64
	rnd    *rand.Rand
	now    time.Time
	steps  int
	cos    []*coroutine // alive, in the order of their making
	lanes  []*lane      // with events, in the order of their first one
	laneAt map[laneKey]*lane
	timers timers
	seq    int64
	cur    *coroutine
	idle   []*coroutine // their function is over; they wait for another
	picks  []pick       // scratch

	forced map[string]bool
	fates  map[string]*fate
	names  []string // of fates, in the order of their first asking
	quiet  bool     // no more faults
	last   int      // step of the last fault that counts
	fired  []string
	// Skip names faults that are not to happen: "kind#n" for the n-th that was asked for.
	Skip map[string]bool
	// Boost multiplies how often a kind of fault happens in this run, Burst just now; nil: by one.
	Boost func(name string) int
	Burst func(name string) int
	// Counts says which kinds SinceFault counts from; nil: all.
	Counts func(name string) bool
	tracer func(string)
	fail   error
	beside int // steps that are taken at the same time
}

// fate is the fortune of one kind of fault.
type fate struct {
	rnd   *rand.Rand
	mute  bool // this run is without it
	boost int
	asked int
	fired int
}

type laneKey struct {
	p    *Proc
	lane any
}

// lane is a queue of events that keep their order.
type lane struct {
	key    laneKey
	events []func()
}

type pick struct {
	co   *coroutine
	lane *lane
}

// New makes a scheduler. Its time begins at a fixed moment.
func New(seed uint64) *Sched {
	return &Sched{
		seed: seed, beside: 1, rnd: rand.New(rand.NewPCG(seed, 0x5eed)), now: time.UnixMilli(1_700_000_000_000),
		laneAt: map[laneKey]*lane{}, fates: map[string]*fate{},
	}
}

// Seed is what the scheduler was made with.
func (s *Sched) Seed() uint64 { return s.seed }

// Rand is the source of all that is random in the run, faults excepted.
func (s *Sched) Rand() *rand.Rand { return s.rnd }

// Now is the simulated time.
func (s *Sched) Now() time.Time { return s.now }

// Steps counts what was done so far.
func (s *Sched) Steps() int { return s.steps }

// Proc makes a process.
func (s *Sched) Proc(name string) *Proc { return &Proc{Name: name, s: s} }

// Trace sends a line for each thing that happens to f.
func (s *Sched) Trace(f func(string)) { s.tracer = f }

// Tracing says whether anybody reads the trace: then it is worth to make its lines.
func (s *Sched) Tracing() bool { return s.tracer != nil }

// Logf adds a line to the trace.
func (s *Sched) Logf(format string, args ...any) {
	if s.tracer != nil {
		s.tracer(fmt.Sprintf("%6d %s ", s.steps, s.now.Format("05.000")) + fmt.Sprintf(format, args...))
	}
}

// Fail ends the run with an error; the first one counts.
func (s *Sched) Fail(err error) {
	if s.fail == nil && err != nil {
		s.fail = err
		s.Logf("FAILED: %v", err)
	}
}

// Err is why the run has failed.
func (s *Sched) Err() error { return s.fail }

// Quiet ends all faults.
func (s *Sched) Quiet() { s.quiet = true }

// Force makes a fault happen when it is asked for next, whatever its chances are. happened says whether it has.
func (s *Sched) Force(name string) (happened func() bool) {
	if s.forced == nil {
		s.forced = map[string]bool{}
	}
	s.forced[name] = true
	return func() bool { return !s.forced[name] }
}

// Chance says whether a fault happens now, in per of 10,000 cases. Each kind has a fortune of its own, so that one that is
// skipped does not change the others. A third of the kinds never happen in a run: few faults at a time reach further.
func (s *Sched) Chance(name string, per int) bool {
	if s.forced[name] {
		delete(s.forced, name)
		return true
	}
	f := s.fates[name]
	if f == nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name))
		f = &fate{rnd: rand.New(rand.NewPCG(s.seed, h.Sum64()))}
		f.mute, f.boost = f.rnd.IntN(3) == 0, 1
		if s.Boost != nil {
			f.boost = s.Boost(name)
		}
		s.fates[name] = f
		s.names = append(s.names, name)
	}
	if s.quiet || f.mute {
		return false
	}
	f.asked++
	if s.Burst != nil {
		per *= s.Burst(name)
	}
	if f.rnd.IntN(10_000) >= per*f.boost || s.Skip[fmt.Sprintf("%s#%d", name, f.asked)] {
		return false
	}
	f.fired++
	s.fired = append(s.fired, fmt.Sprintf("%s#%d", name, f.asked))
	if s.Counts == nil || s.Counts(name) {
		s.last = s.steps
	}
	s.Logf("FAULT %s#%d", name, f.asked)
	return true
}

// SinceFault is how many steps ago the last fault that counts happened.
func (s *Sched) SinceFault() int { return s.steps - s.last }

// Faults returns the faults that happened, in order, as Skip names them.
func (s *Sched) Faults() []string { return s.fired }

// Fired returns how often each fault was asked for and happened.
func (s *Sched) Fired() map[string][2]int {
	all := map[string][2]int{}
	for name, f := range s.fates {
		all[name] = [2]int{f.asked, f.fired}
	}
	return all
}

// Post puts an event at the end of a lane of a process.
func (s *Sched) Post(p *Proc, key any, f func()) {
	if p.dead {
		return
	}
	k := laneKey{p, key}
	l := s.laneAt[k]
	if l == nil {
		l = &lane{key: k}
		s.laneAt[k] = l
		s.lanes = append(s.lanes, l)
	}
	l.events = append(l.events, f)
}

// After runs f as an event of p once d has passed, unless it is cancelled before.
func (s *Sched) After(p *Proc, d time.Duration, f func()) (cancel func()) {
	s.seq++
	t := &timer{at: s.now.Add(max(d, 0)), seq: s.seq, p: p, f: f}
	s.timers.push(t)
	return func() { t.f = nil }
}

// Kill ends a process: its coroutines unwind, its events and timers are dropped.
func (s *Sched) Kill(p *Proc) {
	if p.dead {
		return
	}
	p.dead = true
	for _, co := range slices.Clone(p.cos) {
		if co != s.cur {
			s.unwind(co)
		}
	}
	s.lanes = slices.DeleteFunc(s.lanes, func(l *lane) bool {
		if l.key.p == p {
			delete(s.laneAt, l.key)
			return true
		}
		return false
	})
}

// Pause stops a process; Resume lets it go on.
func (s *Sched) Pause(p *Proc) { p.paused = true }

// Resume lets a paused process go on.
func (s *Sched) Resume(p *Proc) { p.paused = false }

// Advance moves the clock.
func (s *Sched) Advance(d time.Duration) { s.now = s.now.Add(d) }

// maxDrift is how much time one step takes at most.
const maxDrift = 2 * time.Millisecond

// SideBySide says how many steps are taken at the same time, from now on: each takes so much less of it.
func (s *Sched) SideBySide(n int) { s.beside = max(n, 1) }

// Step does the next thing, and says whether there was one. Where nothing is to do, time passes until there is.
func (s *Sched) Step() bool {
	if s.fail != nil {
		return false
	}
	s.steps++
	s.now = s.now.Add(time.Duration(s.rnd.Int64N(int64(maxDrift)) / int64(s.beside)))
	for {
		s.ring()
		s.picks = s.picks[:0]
		for _, co := range s.cos {
			if !co.p.paused && !co.p.dead && (co.cond == nil || co.cond()) {
				s.picks = append(s.picks, pick{co: co})
			}
		}
		for _, l := range s.lanes {
			if !l.key.p.paused {
				s.picks = append(s.picks, pick{lane: l})
			}
		}
		if len(s.picks) > 0 {
			break
		}
		if !s.sleep() {
			return false
		}
	}
	x := s.picks[s.rnd.IntN(len(s.picks))]
	if x.co != nil {
		s.resume(x.co)
		return s.fail == nil
	}
	l := x.lane
	f := l.events[0]
	l.events = l.events[1:]
	if len(l.events) == 0 {
		delete(s.laneAt, l.key)
		s.lanes = slices.Delete(s.lanes, slices.Index(s.lanes, l), slices.Index(s.lanes, l)+1)
	}
	f()
	return s.fail == nil
}

// ring posts the timers that are due.
func (s *Sched) ring() {
	for len(s.timers) > 0 {
		t := s.timers[0]
		if t.f == nil || t.p.dead {
			s.timers.pop()
			continue
		}
		if t.at.After(s.now) {
			return
		}
		s.timers.pop()
		s.Post(t.p, t, t.run)
	}
}

// sleep moves the clock to the next timer of a process that is not paused; false if there is none.
func (s *Sched) sleep() bool {
	var at time.Time
	for _, t := range s.timers {
		if t.f != nil && !t.p.dead && !t.p.paused && (at.IsZero() || t.at.Before(at)) {
			at = t.at
		}
	}
	if at.IsZero() {
		return false
	}
	if at.After(s.now) {
		s.now = at
	}
	return true
}

// Close unwinds all coroutines.
func (s *Sched) Close() {
	for len(s.cos) > 0 {
		s.cos[0].p.dead = true
		s.unwind(s.cos[0])
	}
	for _, co := range s.idle {
		co.stop()
	}
	s.idle = nil
}

// Sleep waits; false if ctx ended first.
func (s *Sched) Sleep(ctx context.Context, d time.Duration) bool {
	over := false
	cancel := s.After(s.current().p, d, func() { over = true })
	s.Wait(func() bool { return over || ctx.Err() != nil })
	cancel()
	return over
}

// Await waits until done is closed, or ctx ends.
func (s *Sched) Await(ctx context.Context, done <-chan struct{}) error {
	s.Wait(func() bool { return closed(done) || ctx.Err() != nil })
	if closed(done) {
		return nil
	}
	return context.Cause(ctx)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
