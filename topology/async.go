package topology

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"

	"github.com/troupe-stream/troupe/topology/plan"
)

// maxAsync bounds MapAsync: each call has a goroutine.
const maxAsync = 1000

// MapAsync replaces each value by what fn makes of its event, as Map does, for functions that wait for something: it is called for up to n records of a partition at a time, each
// on a goroutine of its own, ahead of their turns. The turns stay one after the other, in order: each waits for its own record's result, and what follows happens in it. So a
// record's effects are atomic and exactly once, as behind Map; but fn is a side effect, and is called again for records whose results were not used when their agent began anew: after a failure,
// a rollback or a crash, for up to n records.
//
// An error of fn fails its record when its turn comes, and so do a panic and runtime.Goexit: then the policy decides, with Permanent and Unavailable as everywhere. Its context
// ends when the agent must stop, and when the record's Deadline has passed, which is counted from the beginning of the turn: fn should heed it. A call that hangs is given up as a handler that hangs is.
//
// The steps before MapAsync run with fn, ahead and side by side, so they may be Filter, Map, FlatMap, Peek and Branch: what reads tables, or drops what was seen, comes behind it. It must not
// be used twice in one flow: make the calls in one function, or send the flow Through a topic. n is from 1 to 1000; how far a partition may look ahead is bounded by what an agent is given
// at once, and by nothing that Throttle has not handed out.
func MapAsync[K, V, R any](f Flow[K, V], n int, fn func(ctx context.Context, ev Event[K, V]) (R, error)) Flow[K, R] {
	f.needs(fn == nil, "MapAsync")
	if n < 1 || n > maxAsync {
		f.t.fault("the flow %s has a step MapAsync for %d records at a time: use a number from 1 to %d", strings.Join(f.steps, " | "), n, maxAsync)
	}
	x := Flow[K, R]{t: f.t}
	for i, one := range f.branches() {
		one.checkAsync()
		y := then(one, "map-async", func(func(*scope, Event[K, R]) error) func(*scope, Event[K, V]) error { return nil })
		y.async = true
		y.bind = func(down func(*scope, Event[K, R]) error) func(*scope, plan.Rec) error {
			a := &ahead[K, R]{n: n, down: down, call: func(ctx context.Context, rec plan.Rec) (results []Event[K, R], err error) {
				err = one.bind(func(_ *scope, ev Event[K, V]) error {
					v, err := fn(ctx, ev)
					results = append(results, Event[K, R]{Key: ev.Key, NullKey: ev.NullKey, Value: v, rec: ev.rec})
					return err
				})(nil, rec)
				return results, err
			}}
			return a.turn
		}
		if i == 0 {
			x = y
		} else {
			x.more = append(x.more, y)
		}
	}
	return x
}

// checkAsync finds steps that cannot run ahead of their record's turn.
func (f Flow[K, V]) checkAsync() {
	why := ""
	switch {
	case f.async:
		why = "has two steps MapAsync: make the calls in one function, or send the flow to a topic with topology.Through between them"
	case f.table != nil:
		why = "begins at the changes of table " + f.table.name + ", inside of which nothing may wait: send it to a topic with topology.Through before MapAsync"
	case len(f.joins) > 0:
		why = "comes to MapAsync from inside table " + f.joins[0].name + ", where nothing may wait: put MapAsync before, or send the flow to a topic with topology.Through"
	case len(f.reads) > 0:
		why = "reads tables before MapAsync, which runs ahead of the record's turn: put MapAsync before, or send the flow to a topic with topology.Through"
	default:
		return
	}
	f.t.fault("the flow %s %s", strings.Join(f.steps, " | "), why)
}

// ahead calls a function for the record at hand and for those that come next.
type ahead[K, R any] struct {
	n     int
	down  func(*scope, Event[K, R]) error
	call  func(context.Context, plan.Rec) ([]Event[K, R], error)
	calls []*pending[K, R] // for the records that come next, in order
}

// pending is a call under way, or its results. Its goroutine owns it until done is closed.
type pending[K, R any] struct {
	rec      plan.Rec
	done     <-chan struct{}
	results  []Event[K, R]
	err      error
	panicked *plan.Panic
}

// errCallExit is what a record fails with whose call has ended its goroutine.
var errCallExit = errors.New("the function of MapAsync called runtime.Goexit (t.FailNow does)")

// turn is the turn of a record.
func (a *ahead[K, R]) turn(s *scope, _ plan.Rec) error {
	in, ok := s.in.(plan.Async)
	if !ok {
		return lasting("agent %s cannot call ahead", s.agent.name) // a bug of this module's
	}
	for i, next := range in.Ahead(a.n) {
		if i < len(a.calls) && (a.calls[i].rec.B != next.B || a.calls[i].rec.I != next.I) {
			a.calls = a.calls[:i] // others come than were expected
		}
		if i == len(a.calls) {
			a.calls = append(a.calls, a.begin(context.WithValue(s.in.Context(), turnKey{}, turnOf{&scope{in: s.in, agent: s.agent}, true}), in, next))
		}
	}
	c := a.calls[0]
	a.calls = a.calls[1:]
	if err := in.Await(c.done); err != nil {
		return err
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	if c.err != nil {
		return c.err
	}
	for _, ev := range c.results {
		if err := a.down(s, ev); err != nil {
			return err
		}
	}
	return nil
}

func (a *ahead[K, R]) begin(ctx context.Context, in plan.Async, rec plan.Rec) *pending[K, R] {
	c := &pending[K, R]{rec: rec, err: errCallExit}
	c.done = in.Beside(func() {
		defer func() {
			if r := recover(); r != nil {
				c.panicked = &plan.Panic{Value: r, Stack: string(debug.Stack())}
			}
		}()
		c.results, c.err = a.call(ctx, rec)
	})
	return c
}
