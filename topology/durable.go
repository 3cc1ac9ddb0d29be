package topology

import (
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Timers are durable timers: for each key at most one, which an agent sets and OnTimer's function is called for when it is due. They are
// kept like the entries of a table, in the partition of their key, in memory and in a changelog: that one is set, replaced, cancelled or
// called is part of the transaction of the record that does it. So each that is set, and not cancelled or replaced before, is called
// exactly once in what is committed, through crashes and moves. A million that are pending cost memory, and nothing else.
//
// It is a handle: any goroutine may use it. Agents that set or cancel timers declare Writes of it, those that look at them Reads.
type Timers[K, P any] struct {
	inner  *Table[K, tables.Timer]
	pc     codec.Codec[P]
	validP func(P) error // nil where payloads have no Validate
}

// Timer is one that is due.
type Timer[K, P any] struct {
	Key     K
	Payload P
	Due     time.Time // when it was due, in milliseconds; the call comes then or later
}

// table returns nil for a nil handle, which the options turn into a fault.
func (t *Timers[K, P]) table() *tableDef {
	if t == nil {
		return nil
	}
	return t.inner.def
}

// declareRead implements AnyReadable.
func (t *Timers[K, P]) declareRead(a *agentDef) { a.touch("Reads", []AnyTable{t}, a.reads) }

// Name returns the timers' name.
func (t *Timers[K, P]) Name() string { return t.inner.def.name }

// TimersOption changes when timers are due: WallTime, which is the default, or EventTime.
type TimersOption interface{ timers(d *tableDef) }

// timers implements TimersOption.
func (c Clock) timers(d *tableDef) {
	if d.clock = c; c > WallTime {
		d.t.fault("timers %s were given an unknown clock: pass topology.EventTime or topology.WallTime", d.name)
	}
}

// NewTimers defines durable timers with keys of type K, spread as those of the topics are whose agents set them, and payloads of type P,
// which their calls bring back. Due is what the clock of the partition's node says, unless EventTime is among the options.
//
// With EventTime their time in a partition is the latest timestamp of the records that agents are through with which declare Writes or Reads
// of them; what the policy gives up does not count. A timer is called once that time is as late as it is due, before any of these agents
// is given another record: timers and records have one order, which comes to the same when they are processed again. Such an agent is given no
// records while a call is retried. It reads a topic, without Concurrency.
func NewTimers[K, P any](t *Topology, name string, keys codec.Codec[K], payloads codec.Codec[P], opts ...TimersOption) *Timers[K, P] {
	d := &tableDef{t: t, id: int32(len(t.tables)), name: name, timers: true, clock: WallTime}
	for _, o := range opts {
		if o == nil {
			t.fault("timers %s were given a nil option: pass topology.EventTime or topology.WallTime", name)
			continue
		}
		o.timers(d)
	}
	x := &Timers[K, P]{pc: payloads, validP: codec.Validator[P]()}
	if payloads == nil {
		t.fault("timers %s have no codec for their payloads: pass one, such as codec.String or codec.JSON[T]()", name)
	}
	t.checkCodec("timers "+name+": the codec of their payloads", codecFault(payloads))
	x.inner = makeTable(d, keys, codec.Codec[tables.Timer](tables.TimerCodec{}))
	x.inner.spec.Timer = func(v tables.Timer) tables.Timer { return v }
	d.make.Timers, d.make.ByEvents, d.make.Value = true, d.clock == EventTime, x.text()
	t.typed[d] = x
	return x
}

// text shows a timer as its moment and its payload.
func (t *Timers[K, P]) text() plan.Text {
	payload := textOf(t.pc)
	text := plan.Text{Type: payload.Type + " at a time", Secrets: payload.Secrets}
	if payload.Format == nil {
		return text
	}
	text.Format = func(b []byte) (string, error) {
		v, err := tables.TimerCodec{}.Decode(b)
		if err != nil {
			return "", err
		}
		s, err := payload.Format([]byte(v.Payload))
		return time.UnixMilli(v.Due).UTC().Format(time.RFC3339Nano) + " " + s, err
	}
	text.Parse = func(string) ([]byte, error) {
		return nil, fmt.Errorf("timers %s are set by agents", t.Name())
	}
	text.Same = func(a, b []byte) bool {
		x, err1 := tables.TimerCodec{}.Decode(a)
		y, err2 := tables.TimerCodec{}.Decode(b)
		return err1 == nil && err2 == nil && x.Due == y.Due && payload.Same([]byte(x.Payload), []byte(y.Payload))
	}
	return text
}

// At sets the timer of a key: it is due at a moment, which may have passed already: then it is called next. One that is pending is replaced. Its error, as that of
// all writes, fails the record at hand.
func (t *Timers[K, P]) At(ctx Writer, key K, due time.Time, payload P) {
	b, err := encode(t.pc, t.validP, nil, payload)
	if err != nil {
		ctx.turn().effects().Fail(lasting("timers %s: encode the payload: %w", t.Name(), redact.Of(err)))
		return
	}
	at := max(due.UnixMilli(), 0)
	t.inner.Set(ctx, key, tables.Timer{Due: at, Payload: string(b)})
	if e := ctx.turn().effects(); t.byEvents() {
		e.Due = min(e.Due, at)
	}
}

// After sets the timer of a key: it is due after d from now, as the clock of the node says; in event time, after d from the time of the
// record at hand, and in a call from when its timer was due. One that is pending is replaced: so a timer that each record of its key sets is due
// once none has come for d.
func (t *Timers[K, P]) After(ctx Writer, key K, d time.Duration, payload P) {
	s := ctx.turn()
	if !t.byEvents() {
		t.At(ctx, key, s.in.Now().Add(d), payload)
		return
	}
	now := s.timestamp()
	if now == 0 {
		s.effects().Fail(lasting("timers %s are in event time, and the record at hand has no timestamp to count from: give its topic a topology.TimestampExtractor, or use At", t.Name()))
		return
	}
	t.At(ctx, key, time.UnixMilli(now).Add(d), payload)
}

// byEvents says whether the timers are due by the times of records.
func (t *Timers[K, P]) byEvents() bool { return t.inner.def.clock == EventTime }

// Cancel takes the timer of a key back, if one is pending.
func (t *Timers[K, P]) Cancel(ctx Writer, key K) { t.inner.Delete(ctx, key) }

// Get returns when the timer of a key is due, and its payload; ok is false if none is pending. It sees what the turn at hand has set, and
// waits for the shard.
func (t *Timers[K, P]) Get(ctx Reader, key K) (due time.Time, payload P, ok bool, err error) {
	v, ok, err := t.inner.Get(ctx, key)
	if err != nil || !ok {
		return due, payload, false, err
	}
	if payload, err = t.pc.Decode([]byte(v.Payload)); err != nil {
		err = lasting("timers %s: decode the payload: %w", t.Name(), err)
		ctx.turn().effects().Fail(err)
		return due, payload, false, err
	}
	return time.UnixMilli(v.Due), payload, true, nil
}

// OnTimer defines the agent that is called for each timer that is due, in the partition of its key and in the order of their moments; keys
// decide between those of one moment. A timer is not pending any more when it is called: the function may set it anew. It may do all that
// agents may do, with the tables of its stage too. While it runs no agent of the partition runs that writes its timers, or a table that it
// has declared: so a record that sets or cancels a timer comes before its call, or behind it, whole.
//
// A call that fails is tried again by the policy, before others of its partition. One that is given up is a dead letter, with the timers'
// name as its topic: it has the key, the payload and the moment, and cannot be redriven. KeyOrder does not hold for timers.
func OnTimer[K, P any](t *Topology, name string, timers *Timers[K, P], fn func(ctx *Context, timer Timer[K, P]) error, opts ...AgentOption) {
	a := t.newAgent(name, plan.OnTimer, nil, opts)
	a.check(fn == nil)
	if a.fires = timers.table(); a.fires == nil {
		t.fault("agent %s was given nil timers: define them first", name)
		return
	}
	a.program = func() plan.Program {
		c := &Context{a.newScope()}
		turn := func(s *scope, _ plan.Rec) error {
			timer, err := timers.due(s)
			if err != nil {
				return err
			}
			return fn(c, timer)
		}
		return program(func(in plan.Input) error { return runTurns(c.scope, in, turn) })
	}
}

// due takes the timer at hand away and returns it.
func (t *Timers[K, P]) due(s *scope) (x Timer[K, P], err error) {
	b, i := s.rec.B, s.rec.I
	t.inner.ops(s, s.effects()).Delete(b.Key(i))
	x.Due = time.UnixMilli(b.Records[i].Timestamp)
	fault := func(part, of string, err error) error {
		return &DecodeError{Topic: t.Name(), Partition: b.Partition, Offset: b.Records[i].Offset, Part: part, Type: of, Err: err}
	}
	if x.Key, err = t.inner.kc.Decode(b.Key(i)); err != nil {
		return x, fault("key", t.inner.def.make.Key.Type, err)
	}
	if x.Payload, err = t.pc.Decode(b.Value(i)); err != nil {
		return x, fault("payload", textOf(t.pc).Type, err)
	}
	return x, nil
}

// checkTimers finds timers that nobody sets or is called for, and agents that are called for timers in vain.
func (t *Topology) checkTimers(s *stages) (faults []error) {
	called := map[*tableDef]*agentDef{}
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, a := range t.agents {
		d := a.fires
		switch {
		case d == nil:
			continue
		case d.t != t:
			add("agent %s is called for timers %s of another topology, %s: define them in this one", a.name, d.name, d.t.name)
		case called[d] != nil:
			add("timers %s have two agents, %s and %s: one is called for them; let it send to the other", d.name, called[d].name, a.name)
		case s.of[d] == nil || len(s.of[d].sources) == 0:
			add("timers %s are set by no agent that reads a topic: declare topology.Writes(%s) where it is", d.name, d.name)
		}
		called[d] = a
		for x := range a.sends {
			if x.memory {
				add("agent %s is called for timers and sends to channel %s, which is for records: send to a topic", a.name, x.name)
			}
		}
	}
	for _, a := range t.agents {
		for d := range a.reads {
			if !d.timers || d.clock != EventTime || a.role != plan.Processor {
				continue
			}
			if a.workers > 1 {
				add("agent %s has a concurrency of %d and declares timers %s, which are in event time: they and its records have one order; leave out topology.Concurrency, or let it send to an agent that sets them", a.name, a.workers, d.name)
			}
			if a.source != nil && a.source.memory {
				add("agent %s reads channel %s and declares timers %s, which are in event time: only records of topics bring that forward; let it send to a topic whose agent sets them, or use topology.WallTime", a.name, a.source.name, d.name)
			}
		}
	}
	for _, d := range t.tables {
		if d.timers && called[d] == nil {
			add("timers %s have no agent that is called for them: define topology.OnTimer(…, %s, …)", d.name, d.name)
		}
	}
	return faults
}
