package topology

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Stream is what a loop agent ranges over.
type Stream[K, V any] struct{ loop *loopProgram[K, V] }

// All yields the records of the agent's partition, one turn each: the next turn means that the record is done, and so does
// leaving the loop. It ends when the agent must stop. What a loop holds between turns is a cache: its loss must change no
// result, since the agent may be restarted between any two records. A call of the agent's function has one loop: a nested or
// second one fails the record at hand.
func (s Stream[K, V]) All() iter.Seq[Event[K, V]] { return s.loop.all }

// Batches yields up to n records at a time as one turn, with one atomic effect, waiting up to the given time for a batch to
// fill once its first record is there. n is bounded by what an agent is given ahead: 10,000 at most. Behind a channel, a batch
// is handed out at the partition's next commit at the latest.
//
// A batch that fails is dropped whole, which counts as an attempt of none of its records; they come again in batches of one, until all of it has
// passed: so those around a record at fault are done, and it alone is retried and given up by the policy.
func (s Stream[K, V]) Batches(n int, within time.Duration) iter.Seq[[]Event[K, V]] {
	return func(yield func([]Event[K, V]) bool) { s.loop.batches(max(n, 1), within, yield) }
}

// Agent defines an agent as a loop over the records of a source. When the function returns nil, the record at hand is done, and
// it is called again at the next one; an error, a panic or runtime.Goexit fails the record at hand: its effects are dropped,
// the agent is restarted and the record tried again. The function runs on a goroutine of its own, and may block.
func Agent[K, V any](t *Topology, name string, source Source[K, V], fn func(ctx *Context, in Stream[K, V]) error, opts ...AgentOption) {
	split(t, name, source, opts, func(name string, source Source[K, V], opts []AgentOption) {
		a := t.newAgent(name, plan.Processor, sourceOf(source), opts)
		a.loop = true
		a.program = func() plan.Program { return &loopProgram[K, V]{ctx: &Context{a.newScope()}, source: source, fn: fn} }
		a.check(fn == nil)
	})
}

func (a *agentDef) check(noFunction bool) {
	if noFunction {
		a.t.fault("%s %s has no function", roleOf(a), a.name)
	}
}

// loopProgram runs the function of a loop agent.
type loopProgram[K, V any] struct {
	source Source[K, V]
	fn     func(*Context, Stream[K, V]) error
	ctx    *Context
	loops  int   // that the function has begun in this call
	err    error // fails the record at hand, whatever the function returns
}

// Run implements plan.Program.
func (p *loopProgram[K, V]) Run(in plan.Input) error {
	p.ctx.begin(in)
	p.loops, p.err = 0, nil
	err := p.fn(p.ctx, Stream[K, V]{p})
	return firstOf(p.err, err)
}

// enter says whether a loop may begin. A second one in the same call of the function fails the record at hand, which also
// ends the first if it is still running; a function that goes on beginning loops is ended by a panic.
func (p *loopProgram[K, V]) enter() bool {
	if p.loops++; p.loops == 1 {
		return true
	}
	if p.loops > 2 {
		panic(errNested)
	}
	if e := p.ctx.in.Effects(); e != nil {
		e.Fail(errNested)
	}
	p.err = firstOf(p.err, errNested)
	return false
}

// fail fails the record at hand.
func (p *loopProgram[K, V]) fail(err error) {
	p.ctx.effects().Fail(err)
	p.err = err
}

func (p *loopProgram[K, V]) all(yield func(Event[K, V]) bool) {
	if !p.enter() {
		return
	}
	var ev Event[K, V]
	for p.err == nil {
		rec, ok := p.ctx.in.Next()
		if !ok {
			return
		}
		p.ctx.rec = rec
		if err := p.source.event(rec, &ev); err != nil {
			p.fail(err) // the loop ends, and with it the call
			return
		}
		if !yield(ev) {
			return
		}
	}
}

// maxBatch bounds Batches: more than an agent is ever given ahead.
const maxBatch = 10_000

func (p *loopProgram[K, V]) batches(n int, within time.Duration, yield func([]Event[K, V]) bool) {
	if !p.enter() {
		return
	}
	n, within = min(max(n, 1), maxBatch), max(within, 0)
	for p.err == nil {
		recs := p.ctx.in.NextMany(n, within)
		if len(recs) == 0 {
			return
		}
		p.ctx.rec = recs[len(recs)-1]
		events := make([]Event[K, V], len(recs))
		for i, rec := range recs {
			if err := p.source.event(rec, &events[i]); err != nil {
				p.fail(err)
				return
			}
		}
		if !yield(events) {
			return
		}
	}
}

// Each defines an agent as a function called for each record of a source. An error or panic fails the record: its effects are
// dropped, the agent is restarted and the record tried again.
func Each[K, V any](t *Topology, name string, source Source[K, V], fn func(ctx *Context, ev Event[K, V]) error, opts ...AgentOption) {
	split(t, name, source, opts, func(name string, source Source[K, V], opts []AgentOption) {
		a := t.newAgent(name, plan.Processor, sourceOf(source), opts)
		a.check(fn == nil)
		a.program = func() plan.Program {
			c := &Context{a.newScope()}
			var ev Event[K, V] // the handler is given copies
			turn := func(_ *scope, rec plan.Rec) error {
				if err := source.event(rec, &ev); err != nil {
					return err
				}
				return fn(c, ev)
			}
			return program(func(in plan.Input) error { return runTurns(c.scope, in, turn) })
		}
	})
}

// runTurns takes the records of an agent that is no loop, one turn each.
func runTurns(s *scope, in plan.Input, turn func(*scope, plan.Rec) error) error {
	s.begin(in)
	for rec, ok := in.Next(); ok; rec, ok = in.Next() {
		s.rec = rec
		if err := turn(s, rec); err != nil {
			return err
		}
	}
	return nil
}

// program is a plan.Program made of a function.
type program func(plan.Input) error

// Run implements plan.Program.
func (p program) Run(in plan.Input) error { return p(in) }

// Row is the row of a record's key in a table, for EachRow. It holds only until the handler returns.
type Row[V any] struct{ row *tables.Row[V] }

// Get returns the row's value; ok is false if there is none. It sees what the handler has set.
func (r *Row[V]) Get() (value V, ok bool) { return r.now().Get() }

// Set sets the row's value. The value is encoded or copied at once: it may be changed afterwards.
func (r *Row[V]) Set(value V) { r.now().Set(value) }

// Delete deletes the row.
func (r *Row[V]) Delete() { r.now().Delete() }

func (r *Row[V]) now() *tables.Row[V] {
	if r.row == nil {
		panic(errOutside)
	}
	return r.row
}

// EachRow defines an agent that reads and writes the row of each record's key, and nothing else of the table. It runs inside
// the table's shard: reading its state costs no trip. It may send what it has declared. Records without a key are skipped.
// The handler may run twice for a record, after a failure: it must not act on anything but its row and ctx.
func EachRow[K, V, R any](t *Topology, name string, source Source[K, V], table *Table[K, R], fn func(ctx *Context, ev Event[K, V], row *Row[R]) error, opts ...AgentOption) {
	split(t, name, source, append([]AgentOption{Writes(table)}, opts...), func(name string, source Source[K, V], opts []AgentOption) {
		eachRow(t, name, source, table, fn, opts)
	})
}

func eachRow[K, V, R any](t *Topology, name string, source Source[K, V], table *Table[K, R], fn func(ctx *Context, ev Event[K, V], row *Row[R]) error, opts []AgentOption) {
	a := t.newAgent(name, plan.Processor, sourceOf(source), opts)
	a.check(fn == nil)
	a.inside = true
	a.program = func() plan.Program {
		s := a.newScope()
		var ctx *Context
		rows := &rowRun[K, V, R]{table: table, apply: func(in *scope, row *tables.Row[R], ev Event[K, V]) error {
			if ctx == nil || ctx.scope != in {
				ctx = &Context{in}
			}
			held := &Row[R]{row}
			defer func() { held.row = nil }() // whoever keeps it is told
			return fn(ctx, ev, held)
		}}
		return program(func(in plan.Input) error {
			s.begin(in)
			var ev Event[K, V]
			for rec, ok := in.Next(); ok; rec, ok = in.Next() {
				s.rec = rec
				if err := source.event(rec, &ev); err != nil {
					return err
				}
				if !ev.NullKey {
					if err := rows.add(s, ev); err != nil {
						return err
					}
				}
			}
			rows.end()
			return nil
		})
	}
}

// Batch is what an agent made of actor props receives: a run of records. Records may be done in any order, and from later
// messages. Begin(i) gives the context for record i; Done(i) makes its effects final, Fail(i, err) drops them and has the
// agent restarted and the record tried again.
type Batch[K, V any] struct {
	in     plan.RawInput
	source Source[K, V]
	agent  *agentDef
}

// Len is the number of records.
func (b *Batch[K, V]) Len() int { return len(b.in.Records()) }

// At returns record i, decoded. The error, a *DecodeError, should be passed to Fail.
func (b *Batch[K, V]) At(i int) (Event[K, V], error) {
	recs := b.in.Records()
	if i < 0 || i >= len(recs) {
		return Event[K, V]{}, fmt.Errorf("agent %s: At(%d) of a batch of %d records", b.agent.name, i, len(recs))
	}
	var ev Event[K, V]
	err := b.source.event(recs[i], &ev)
	return ev, err
}

// Begin starts record i. The context holds until Done or Fail.
func (b *Batch[K, V]) Begin(i int) (*Context, error) {
	in, err := b.in.Begin(i)
	if err != nil {
		return nil, err
	}
	s := b.agent.newScope()
	s.begin(in)
	s.rec = b.in.Records()[i]
	s.spread += uint32(i) // each record has a scope of its own: spread what they send without a key
	return &Context{s}, nil
}

// Done says that record i is through. The error says that it is not: an effect failed, or the partition was rolled back; the
// record will come again.
func (b *Batch[K, V]) Done(i int) error { return b.in.Done(i) }

// Fail says that record i failed.
func (b *Batch[K, V]) Fail(i int, err error) error { return b.in.Fail(i, err) }

// Props defines an agent as a protoactor actor of the user's own. It is sent *Batch[K, V]. Its props may bring any
// supervisor strategy for the actor's own children; when the actor itself fails, the record that it began last fails, and
// the actor is made anew.
func Props[K, V any](t *Topology, name string, source Source[K, V], props *actor.Props, opts ...AgentOption) {
	if props == nil {
		t.fault("agent %s has no props: pass those of an actor, such as actor.PropsFromProducer makes", name)
	}
	split(t, name, source, opts, func(name string, source Source[K, V], opts []AgentOption) {
		a := t.newAgent(name, plan.Processor, sourceOf(source), opts)
		a.raw = &plan.Raw{Props: props, Batch: func(in plan.RawInput) any { return &Batch[K, V]{in, source, a} }}
	})
}

// Every defines a timer: a function called at each interval. One that reads tables is called once per partition of theirs and
// sees that partition's committed entries; others once per topology. What it sends is committed together with the fact that
// it fired: a restart doubles nothing. Intervals that were missed are one call, which says how many they were; moments stay multiples of
// the interval behind the first, however long calls take, and no call begins before the one before has ended.
func Every(t *Topology, name string, interval time.Duration, fn func(ctx *TaskContext) error, opts ...AgentOption) {
	a := t.newAgent(name, plan.Timer, nil, opts)
	a.every = interval
	if interval <= 0 {
		t.fault("timer %s has the interval %v: it must be positive", name, interval)
	}
	a.check(fn == nil)
	a.program = func() plan.Program { return program(a.turns(fn, false)) }
}

// Task defines a function that is called once, when its partition starts running somewhere: as timers are, once per
// partition of the tables it reads, else once per topology. What it sends is committed when it returns, or calls Commit. It
// should end when its context does. If it fails it is called again after a pause.
func Task(t *Topology, name string, fn func(ctx *TaskContext) error, opts ...AgentOption) {
	a := t.newAgent(name, plan.Task, nil, opts)
	a.check(fn == nil)
	a.program = func() plan.Program { return program(a.turns(fn, true)) }
}

func (a *agentDef) turns(fn func(*TaskContext) error, once bool) func(plan.Input) error {
	c := &TaskContext{scope: a.newScope()}
	return func(in plan.Input) error {
		c.begin(in)
		for rec, ok := in.Next(); ok; rec, ok = in.Next() {
			c.rec, c.Due, c.Missed = rec, *rec.Time, rec.I
			if err := fn(c); err != nil || once {
				return err
			}
		}
		return nil
	}
}

var _ context.Context = (*Context)(nil)
