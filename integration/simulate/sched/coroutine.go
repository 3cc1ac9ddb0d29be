package sched

import (
	"container/heap"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"time"
)

// coroutine runs functions, one after the other, and gives control back when it waits.
type coroutine struct {
	p      *Proc
	name   string
	f      func()
	cond   func() bool // nil: it may go on
	yield  func(struct{}) bool
	next   func() (struct{}, bool)
	stop   func()
	killed bool
}

// killed is what a coroutine of a dead process unwinds with.
type killed struct{}

// Go runs f in a coroutine of a process, from a later step on.
func (s *Sched) Go(p *Proc, name string, f func()) {
	if p.dead {
		return
	}
	s.start(p, name, f)
}

// Do runs f in a coroutine at once, until it waits for the first time, and calls done when it is over. It must not be
// called by a coroutine.
func (s *Sched) Do(p *Proc, name string, f func()) {
	if p.dead {
		return
	}
	s.resume(s.start(p, name, f))
}

func (s *Sched) start(p *Proc, name string, f func()) *coroutine {
	var co *coroutine
	if n := len(s.idle); n > 0 {
		co, s.idle = s.idle[n-1], s.idle[:n-1]
	} else {
		co = new(coroutine)
		co.next, co.stop = iter.Pull(co.loop)
	}
	co.p, co.name, co.f, co.cond, co.killed = p, name, f, nil, false
	p.cos = append(p.cos, co)
	s.cos = append(s.cos, co)
	return co
}

// loop is the body of a coroutine: it runs one function after the other.
func (co *coroutine) loop(yield func(struct{}) bool) {
	co.yield = yield
	for co.run(); yield(struct{}{}); co.run() {
	}
}

func (co *coroutine) run() {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				co.p.s.Fail(fmt.Errorf("panic in %s of %s: %v\n%s", co.name, co.p.Name, r, debug.Stack()))
			}
		}
		co.f = nil
	}()
	if !co.killed {
		co.f()
	}
}

// resume lets a coroutine go on until it waits or is over.
func (s *Sched) resume(co *coroutine) {
	before := s.cur
	s.cur = co
	co.cond = nil
	co.next()
	s.cur = before
	if co.f == nil {
		s.forget(co)
		s.idle = append(s.idle, co)
	}
}

func (s *Sched) forget(co *coroutine) {
	s.cos = slices.DeleteFunc(s.cos, func(x *coroutine) bool { return x == co })
	co.p.cos = slices.DeleteFunc(co.p.cos, func(x *coroutine) bool { return x == co })
}

// unwind ends a coroutine of a dead process.
func (s *Sched) unwind(co *coroutine) {
	co.killed = true
	for co.f != nil {
		s.resume(co)
	}
}

// current is the coroutine that runs.
func (s *Sched) current() *coroutine {
	if s.cur == nil {
		panic("sched: an event waits; only coroutines may") // a bug of the simulation
	}
	return s.cur
}

// Running returns the process whose coroutine runs; nil for an event.
func (s *Sched) Running() *Proc {
	if s.cur == nil {
		return nil
	}
	return s.cur.p
}

// Yield lets others go on; the running coroutine continues at a later step.
func (s *Sched) Yield() { s.park(nil) }

// Wait lets others go on until cond holds. cond must only look.
func (s *Sched) Wait(cond func() bool) {
	if cond() && !s.current().killed {
		return
	}
	s.park(cond)
}

func (s *Sched) park(cond func() bool) {
	co := s.current()
	if co.killed || co.p.dead {
		panic(killed{})
	}
	co.cond = cond
	s.cur = nil
	co.yield(struct{}{})
	s.cur = co
	if co.killed {
		panic(killed{})
	}
}

// timer is an event at a time.
type timer struct {
	at  time.Time
	seq int64
	p   *Proc
	f   func()
}

func (t *timer) run() {
	if t.f != nil {
		t.f()
	}
}

// timers is a heap, the next one first.
type timers []*timer

func (h timers) Len() int { return len(h) }

func (h timers) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}

func (h timers) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timers) Push(x any) { *h = append(*h, x.(*timer)) } //nolint:forcetypeassert // the heap of timers

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (h *timers) push(t *timer) { heap.Push(h, t) }
func (h *timers) pop()          { heap.Pop(h) }

// Waiting lists the coroutines that wait, for a run that comes to nothing.
func (s *Sched) Waiting() (all []string) {
	for _, co := range s.cos {
		all = append(all, co.p.Name+" "+co.name)
	}
	return all
}
