package topology

import (
	"fmt"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Outcome is what came of an ask of one agent by another: a result, or Err if the record was given up.
type Outcome[R any] struct {
	Result R
	Err    *AskError
}

// Continuation is where an agent goes on that has asked another one with AskThen.
type Continuation[C, K, V, R any] struct {
	agent *agentDef
	ref   *AgentRef[K, V, R]
	back  *Topic[C, Outcome[R]]
}

// topic implements AnyTopic, so that who asks declares Sends(continuation): it sends to the topic of the agent that it asks.
func (c *Continuation[C, K, V, R]) topic() *topicDef {
	if c == nil || c.ref == nil {
		return nil
	}
	return c.ref.source.topic()
}

// Then defines an agent that takes the answers to what other agents of the topology ask ref with AskThen. Its records have the key
// that AskThen was given, and are spread as those of the topic like are: most often the source of who asks, so that both may
// write the same tables. They travel through an internal topic TOPOLOGY-NAME-answers, in the transactions of the records that they answer,
// and what was read of it is deleted: each ask is answered once, in the order of the asked agent.
func Then[C, X, K, V, R any](t *Topology, name string, like *Topic[C, X], ref *AgentRef[K, V, R], fn func(ctx *Context, answer Event[C, Outcome[R]]) error, opts ...AgentOption) *Continuation[C, K, V, R] {
	if like.topic() == nil || ref == nil {
		t.fault("the continuation %s was given a nil topic or agent: define them first", name)
		return &Continuation[C, K, V, R]{}
	}
	if ref.agent.t != t {
		t.fault("the continuation %s is of agent %s of another topology, %s: an agent asks those of its own", name, ref.agent.name, ref.agent.t.name)
	}
	back := NewTopic(t, fmt.Sprintf("%s-%s-answers", t.name, name), like.kc, codec.Codec[Outcome[R]](outcomes[R]{ref.rc, ref.valid}))
	back.def.kind, back.def.like, back.def.partitioner, back.def.value = plan.Repartition, like.def, like.def.partitioner, ref.agent.reply.value
	c := &Continuation[C, K, V, R]{agent: ref.agent, ref: ref, back: back}
	ref.agent.reply.others = append(ref.agent.reply.others, back.def)
	ref.agent.sends[back.def] = true
	ref.agent.order = append(ref.agent.order, back.def)
	if fn == nil {
		Each[C, Outcome[R]](t, name, back, nil, opts...) // reports it
		return c
	}
	Each(t, name, back, func(ctx *Context, ev Event[C, Outcome[R]]) error {
		if ev.NullValue {
			reply := kafka.ParseReply(ev.rec.B.RawHeaders(ev.rec.I))
			if reply == nil || reply.Failure == nil {
				return permanent{fmt.Errorf("record %s/%d@%d is no answer", ev.Topic(), ev.Partition(), ev.Offset())}
			}
			ev.Value.Err, ev.NullValue = &AskError{Agent: reply.Agent, ReplyFailure: *reply.Failure}, false
		}
		return fn(ctx, ev)
	}, opts...)
	return c
}

// AskThen asks an agent from inside another one, without waiting: the request is sent when the turn at hand is over, in the transaction of
// its record, and the answer comes to the continuation, under the key back. Everything is exactly once. What the continuation needs to
// know beside that key is kept in a table. The agent must be declared to send to the continuation: Sends(then).
func AskThen[C, K, V, R any](ctx Sender, then *Continuation[C, K, V, R], back C, key K, value V) {
	s := ctx.turn()
	e := s.effects()
	if then.ref == nil {
		return // reported when the topology was checked
	}
	k, err := encode(then.back.kc, then.back.validK, nil, back)
	if err != nil {
		e.Fail(lasting("ask agent %s: encode the key for its answer as %s: %w", then.agent.name, then.back.def.key.Type, redact.Of(err)))
		return
	}
	header := kafka.Ask{ID: askID(s, e), Topology: then.agent.t.name, Agent: then.agent.name, Topic: then.ref.source.def.name, To: then.back.def.name, Key: notNil(k)}.Header()
	then.ref.source.put(s, key, value, sending{headers: kafka.AppendHeaders(nil, header)})
}

// askID names a request after the record at hand.
func askID(s *scope, e *plan.Effects) string {
	return fmt.Sprintf("%s #%d", atHand(s), e.Out.Len())
}

// atHand names the record, or the turn, that is at hand.
func atHand(s *scope) string {
	if s.rec.B == nil {
		return fmt.Sprintf("%s/%d %d", s.agent.name, s.Partition(), s.rec.Millis())
	}
	return fmt.Sprintf("%s %s/%d@%d", s.agent.name, s.rec.B.Topic, s.rec.B.Partition, s.rec.B.Records[s.rec.I].Offset)
}

// outcomes is the codec of answers on their way to a continuation: those of the agent, which writes them itself.
type outcomes[R any] struct {
	results codec.Codec[R]
	valid   func(R) error
}

// Append implements codec.Codec.
func (c outcomes[R]) Append(dst []byte, v Outcome[R]) ([]byte, error) {
	return encode(c.results, c.valid, dst, v.Result)
}

// Decode implements codec.Codec.
func (c outcomes[R]) Decode(b []byte) (v Outcome[R], err error) {
	v.Result, err = decode(c.results, c.valid, b)
	return v, err
}
