package topology

import (
	"github.com/troupe-stream/troupe/topology/plan"
)

// Sink takes what an agent makes of records, one result after the other, with the key of the record at hand.
type Sink[K, R any] struct {
	name  string
	topic *topicDef // to be declared; nil for a function
	put   func(s *scope, key K, nullKey bool, result R)
	call  func(ctx *Context, key K, result R) error
	fault string
}

// SinkTopic sends each result to a topic, in the transaction of its record, under the record's key and with its time and headers.
func SinkTopic[K, R any](topic *Topic[K, R]) Sink[K, R] {
	if topic.topic() == nil {
		return Sink[K, R]{fault: "SinkTopic was given a nil topic: define the topic first"}
	}
	return sinkTo("topic", topic)
}

// SinkChannel sends each result to a channel, under the record's key and with its time and headers: to the agents that read it in this partition, whose work on it is
// part of the record's.
func SinkChannel[K, R any](channel *Channel[K, R]) Sink[K, R] {
	if channel.topic() == nil {
		return Sink[K, R]{fault: "SinkChannel was given a nil channel: define the channel first"}
	}
	return sinkTo("channel", channel)
}

func sinkTo[K, R any](what string, to Destination[K, R]) Sink[K, R] {
	d := to.topic()
	return Sink[K, R]{name: what + " " + d.name, topic: d, put: func(s *scope, key K, nullKey bool, result R) {
		to.put(s, key, result, s.onward(nullKey, false))
	}}
}

// SinkAgent sends each result to the topic of another agent, as SinkTopic does: it is cast to that agent. What the other answers goes to
// its own sinks.
func SinkAgent[K, R, A any](ref *AgentRef[K, R, A]) Sink[K, R] {
	if ref == nil || ref.source.topic() == nil {
		return Sink[K, R]{fault: "SinkAgent was given a nil agent: define the agent first"}
	}
	s := SinkTopic(ref.source)
	s.name = "agent " + ref.agent.name
	return s
}

// SinkFunc calls a function with each result: for side effects. It is called when the handler has returned without an error, in the turn of
// its record, before that is committed. So it is called at least once: again when the record is tried again because fn itself, a later
// sink, or a table has failed, or because the process has died before the commit. An error or panic fails the record.
func SinkFunc[K, R any](fn func(ctx *Context, key K, result R) error) Sink[K, R] {
	if fn == nil {
		return Sink[K, R]{fault: "SinkFunc was given no function: pass one"}
	}
	return Sink[K, R]{name: "function", call: fn}
}

// Results are what an agent made by Process or Answer makes of its records.
type Results[K, R any] struct {
	agents []*agentDef // one, or one for each topic of several
	sinks  []Sink[K, R]
}

// AddSink adds sinks, each of which takes all results, and returns the same results.
func (r *Results[K, R]) AddSink(sinks ...Sink[K, R]) *Results[K, R] {
	for _, s := range sinks {
		sound := true
		for _, a := range r.agents {
			sound = a.addSink(s.name, s.topic, s.fault, s.put == nil && s.call == nil) && sound
			a.t.changed()
		}
		if sound {
			r.sinks = append(r.sinks, s)
		}
	}
	return r
}

// addSink notes a sink, and says whether it is one.
func (a *agentDef) addSink(name string, topic *topicDef, fault string, empty bool) bool {
	switch {
	case fault != "":
		a.t.fault("agent %s: %s", a.name, fault)
		return false
	case empty:
		a.t.fault("agent %s was given an empty sink: use SinkTopic, SinkChannel, SinkAgent or SinkFunc", a.name)
		return false
	case topic != nil:
		a.sends[topic] = true
		a.order = append(a.order, topic)
	}
	a.steps = append(a.steps, "to "+name)
	a.sinks++
	return true
}

// outlet takes the results of one program to the sinks, record by record.
type outlet[K, R any] struct {
	results *Results[K, R]
	ctx     *Context
	key     K
	nullKey bool
	calls   bool // some sink is a function
	held    []R  // for functions: they are called when the handler is through
}

func (r *Results[K, R]) outlet(ctx *Context) *outlet[K, R] {
	o := &outlet[K, R]{results: r, ctx: ctx}
	for _, s := range r.sinks {
		o.calls = o.calls || s.call != nil
	}
	return o
}

// begin begins a record.
func (o *outlet[K, R]) begin(key K, nullKey bool) {
	clear(o.held)
	o.key, o.nullKey, o.held = key, nullKey, o.held[:0]
}

// emit takes one result.
func (o *outlet[K, R]) emit(result R) {
	o.ctx.effects() // else there is no record at hand
	for _, s := range o.results.sinks {
		if s.put != nil {
			s.put(o.ctx.scope, o.key, o.nullKey, result)
		}
	}
	if o.calls {
		o.held = append(o.held, result)
	}
}

// end ends a record that went well so far.
func (o *outlet[K, R]) end() error {
	if len(o.held) == 0 {
		return nil
	}
	if err := o.ctx.effects().Err; err != nil { // a send has failed
		return err
	}
	for _, result := range o.held {
		for _, s := range o.results.sinks {
			if s.call == nil {
				continue
			}
			if err := s.call(o.ctx, o.key, result); err != nil {
				return err
			}
		}
	}
	return nil
}

// Process defines an agent as a function that makes any number of results of each record, which go to the sinks added to what Process
// returns: at least one. emit holds only while its record is at hand. An error or panic fails the record as one of Each does, and nothing
// that was emitted remains.
func Process[K, V, R any](t *Topology, name string, source Source[K, V], fn func(ctx *Context, ev Event[K, V], emit func(R)) error, opts ...AgentOption) *Results[K, R] {
	results := &Results[K, R]{}
	split(t, name, source, opts, func(name string, source Source[K, V], opts []AgentOption) {
		a := t.newAgent(name, plan.Processor, sourceOf(source), opts)
		a.check(fn == nil)
		a.results = true
		a.program = programOf(a, results, source, fn)
		results.agents = append(results.agents, a)
	})
	return results
}

// programOf makes the programs of an agent whose function has results.
func programOf[K, V, R any](a *agentDef, results *Results[K, R], source Source[K, V], fn func(ctx *Context, ev Event[K, V], emit func(R)) error) func() plan.Program {
	return func() plan.Program {
		c := &Context{a.newScope()}
		out := results.outlet(c)
		emit := out.emit
		var ev Event[K, V]
		turn := func(_ *scope, rec plan.Rec) error {
			if err := source.event(rec, &ev); err != nil {
				return err
			}
			out.begin(ev.Key, ev.NullKey)
			if err := fn(c, ev, emit); err != nil {
				return err
			}
			return out.end()
		}
		return program(func(in plan.Input) error { return runTurns(c.scope, in, turn) })
	}
}
