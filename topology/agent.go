package topology

import (
	"context"
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
// result, since the agent may be restarted between any two records.
func (s Stream[K, V]) All() iter.Seq[Event[K, V]] { return s.loop.all }

// Batches yields up to n records at a time as one turn, with one atomic effect, waiting up to the given time for a batch to
// fill once its first record is there. n is bounded by what an agent is given ahead, some thousands.
func (s Stream[K, V]) Batches(n int, within time.Duration) iter.Seq[[]Event[K, V]] {
	return func(yield func([]Event[K, V]) bool) { s.loop.batches(max(n, 1), within, yield) }
}

// Agent defines an agent as a loop over the records of a topic. When the function returns nil, the record at hand is done, and
// it is called again at the next one; an error, a panic or runtime.Goexit fails the record at hand: its effects are dropped,
// the agent is restarted and the record tried again.
func Agent[K, V any](t *Topology, name string, source *Topic[K, V], fn func(ctx *Context, in Stream[K, V]) error, opts ...AgentOption) {
	a := t.newAgent(name, plan.Processor, source.def, opts)
	a.loop = true
	a.program = func() plan.Program { return &loopProgram[K, V]{agent: a, topic: source, fn: fn} }
	a.check(fn == nil)
}

func (a *agentDef) check(noFunction bool) {
	if noFunction {
		a.t.fault("agent %s has no function", a.name)
	}
}

type loopProgram[K, V any] struct {
	agent  *agentDef
	topic  *Topic[K, V]
	fn     func(*Context, Stream[K, V]) error
	ctx    *Context
	inside bool
	err    error
}

// Run implements plan.Program.
func (p *loopProgram[K, V]) Run(in plan.Input) error {
	p.ctx, p.inside, p.err = &Context{&scope{in: in, agent: p.agent}}, false, nil
	err := p.fn(p.ctx, Stream[K, V]{p})
	return firstOf(p.err, err)
}

func (p *loopProgram[K, V]) enter() {
	if p.inside {
		p.err = errNested
		panic(errNested)
	}
	p.inside = true
}

func (p *loopProgram[K, V]) all(yield func(Event[K, V]) bool) {
	p.enter()
	defer func() { p.inside = false }()
	for {
		rec, ok := p.ctx.in.Next()
		if !ok {
			return
		}
		p.ctx.rec = rec
		ev, err := p.topic.event(rec)
		if err != nil {
			p.err = err // the loop ends, and with it the call
			return
		}
		if !yield(ev) {
			return
		}
	}
}

func (p *loopProgram[K, V]) batches(n int, within time.Duration, yield func([]Event[K, V]) bool) {
	p.enter()
	defer func() { p.inside = false }()
	for {
		recs := p.ctx.in.NextMany(n, within)
		if len(recs) == 0 {
			return
		}
		p.ctx.rec = recs[len(recs)-1]
		events := make([]Event[K, V], len(recs))
		for i, rec := range recs {
			ev, err := p.topic.event(rec)
			if err != nil {
				p.err = err
				return
			}
			events[i] = ev
		}
		if !yield(events) {
			return
		}
	}
}

// Each defines an agent as a function called for each record of a topic.
func Each[K, V any](t *Topology, name string, source *Topic[K, V], fn func(ctx *Context, ev Event[K, V]) error, opts ...AgentOption) {
	a := t.newAgent(name, plan.Processor, source.def, opts)
	a.check(fn == nil)
	a.program = func() plan.Program {
		return program(func(in plan.Input) error {
			c := &Context{&scope{in: in, agent: a}}
			for rec, ok := in.Next(); ok; rec, ok = in.Next() {
				c.rec = rec
				ev, err := source.event(rec)
				if err != nil {
					return err
				}
				if err := fn(c, ev); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// program is a plan.Program made of a function.
type program func(plan.Input) error

// Run implements plan.Program.
func (p program) Run(in plan.Input) error { return p(in) }

// Row is the row of a record's key in a table, for EachRow. It must not be kept.
type Row[V any] struct{ row *tables.Row[V] }

// Get returns the row's value; ok is false if there is none.
func (r *Row[V]) Get() (value V, ok bool) { return r.row.Get() }

// Set sets the row's value.
func (r *Row[V]) Set(value V) { r.row.Set(value) }

// Delete deletes the row.
func (r *Row[V]) Delete() { r.row.Delete() }

// EachRow defines an agent that reads and writes the row of each record's key, and nothing else of the table. It runs inside
// the table's shard: reading its state costs no trip. It may send what it has declared. Records without a key are skipped.
func EachRow[K, V, R any](t *Topology, name string, source *Topic[K, V], table *Table[K, R], fn func(ctx *Context, ev Event[K, V], row *Row[R]) error, opts ...AgentOption) {
	a := t.newAgent(name, plan.Processor, source.def, append([]AgentOption{Writes(table)}, opts...))
	a.check(fn == nil)
	a.program = func() plan.Program {
		return program(func(in plan.Input) error { return runRows(in, a, source, table, fn) })
	}
}

// rowChunk is how many events share one array and one function on their way to the shard.
const rowChunk = 256

func runRows[K, V, R any](in plan.Input, a *agentDef, source *Topic[K, V], table *Table[K, R], fn func(*Context, Event[K, V], *Row[R]) error) error {
	s := &scope{in: in, agent: a}
	var events []Event[K, V]
	var run func(*tables.Row[R], int32) error
	for rec, ok := in.Next(); ok; rec, ok = in.Next() {
		s.rec = rec
		ev, err := source.event(rec)
		if err != nil {
			return err
		}
		if ev.NullKey {
			continue
		}
		if len(events) == cap(events) {
			events = make([]Event[K, V], 0, rowChunk)
			run = rowRunner(in, a, events[:rowChunk], fn)
		}
		events = append(events, ev)
		if ops, _, k := table.write(s, ev.Key); ops != nil {
			ops.Row(k, int32(len(events)-1), run)
		}
	}
	return nil
}

// rowRunner makes the function that the shard calls for a run of events.
func rowRunner[K, V, R any](in plan.Input, a *agentDef, events []Event[K, V], fn func(*Context, Event[K, V], *Row[R]) error) func(*tables.Row[R], int32) error {
	inside := &rowInput{Input: in}
	ctx := &Context{&scope{in: inside, agent: a}}
	return func(row *tables.Row[R], i int32) error {
		inside.effects = plan.Effects{Out: row.Out}
		ctx.rec = events[i].rec
		if err := fn(ctx, events[i], &Row[R]{row}); err != nil {
			return err
		}
		return inside.effects.Err
	}
}

// rowInput is the turn of a handler inside a shard.
type rowInput struct {
	plan.Input
	effects plan.Effects
}

// Effects implements plan.Input.
func (r *rowInput) Effects() *plan.Effects { return &r.effects }

// Ask implements plan.Input: a shard that waited for itself would wait for ever.
func (r *rowInput) Ask(table *plan.Table, _ tables.Query) error {
	return lasting("a handler of EachRow sees its row alone: read table %s from an agent made with Each", table.Name)
}

// Batch is what an agent made of actor props receives: a run of records. Records may be done in any order, and from later
// messages. Begin(i) gives the context for record i; Done(i) makes its effects final, Fail(i, err) drops them and has the
// agent restarted and the record tried again.
type Batch[K, V any] struct {
	in    plan.RawInput
	topic *Topic[K, V]
	agent *agentDef
}

// Len is the number of records.
func (b *Batch[K, V]) Len() int { return len(b.in.Records()) }

// At returns record i, decoded. An error should be passed to Fail.
func (b *Batch[K, V]) At(i int) (Event[K, V], error) { return b.topic.event(b.in.Records()[i]) }

// Begin starts record i. The context holds until Done or Fail.
func (b *Batch[K, V]) Begin(i int) (*Context, error) {
	in, err := b.in.Begin(i)
	if err != nil {
		return nil, err
	}
	return &Context{&scope{in: in, agent: b.agent, rec: b.in.Records()[i]}}, nil
}

// Done says that record i is through. The error says that it is not: an effect failed, or the partition was rolled back; the
// record will come again.
func (b *Batch[K, V]) Done(i int) error { return b.in.Done(i) }

// Fail says that record i failed.
func (b *Batch[K, V]) Fail(i int, err error) error { return b.in.Fail(i, err) }

// Props defines an agent as a protoactor actor of the user's own. It is sent *Batch[K, V]. Its props may bring any
// supervisor strategy for the actor's own children; when the actor itself fails, the record that it began last fails, and
// the actor is made anew.
func Props[K, V any](t *Topology, name string, source *Topic[K, V], props *actor.Props, opts ...AgentOption) {
	a := t.newAgent(name, plan.Processor, source.def, opts)
	if props == nil {
		t.fault("agent %s has no props", name)
	}
	a.raw = &plan.Raw{Props: props, Batch: func(in plan.RawInput) any { return &Batch[K, V]{in, source, a} }}
}

// Every defines a timer: a function called at each interval. One that reads tables is called once per partition of theirs and
// sees that partition's committed entries; others once per topology. What it sends is committed together with the fact that
// it fired: a restart doubles nothing. Intervals that were missed are one call.
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
	return func(in plan.Input) error {
		c := &TaskContext{scope: &scope{in: in, agent: a}}
		for rec, ok := in.Next(); ok; rec, ok = in.Next() {
			c.rec, c.Due = rec, rec.Time
			if err := fn(c); err != nil || once {
				return err
			}
		}
		return nil
	}
}

var _ context.Context = (*Context)(nil)
