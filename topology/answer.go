package topology

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"

	"github.com/troupe-stream/troupe/internal/redact"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// How long the topic of replies keeps answers: an hour behind the segment that they are in, which is closed after ten minutes.
const (
	replyRetention = "3600000"
	replySegment   = "600000"
	// replyPartitions is how many partitions it has: who asks reads one of them.
	replyPartitions = 4
)

// Answer defines an agent whose results can be asked for, through the AgentRef that is returned: see its Ask. It is called for each
// record of its topic, asked or not; a result is the answer to the record if that is a request, and goes to the sinks that were added. An
// error or panic fails the record as one of Each does; a request that is given up by the policy (dead letter or skipped) is answered with
// an *AskError.
//
// The answer is a record of the internal topic TOPOLOGY-replies, in the transaction of the request's record: there is exactly one for each
// request, whatever is tried again, moved or killed, and none is seen that a crash takes back (unless the agent is Eager). A request whose partition was stopped by
// the policy is answered when that goes on. Dead letters that are redriven are processed, and not answered again.
func Answer[K, V, R any](t *Topology, name string, source *Topic[K, V], fn func(ctx *Context, ev Event[K, V]) (R, error), reply codec.Codec[R], opts ...AgentOption) *AgentRef[K, V, R] {
	a := t.newAgent(name, plan.Processor, source.topic(), opts)
	a.check(fn == nil)
	if reply == nil {
		t.fault("agent %s has no codec for its answers: pass one, such as codec.String or codec.JSON[T]()", name)
	}
	t.checkCodec("agent "+name+": the codec of its answers", codecFault(reply))
	ref := &AgentRef[K, V, R]{
		Results: &Results[K, R]{agents: []*agentDef{a}}, agent: a, source: source, replies: t.repliesTopic(), rc: reply, valid: codec.Validator[R](),
	}
	a.reply = &replyDef{topic: ref.replies, value: textOf(reply)}
	a.sends[ref.replies] = true
	a.order = append(a.order, ref.replies)
	a.program = programOf(a, ref.Results, Source[K, V](source), func(ctx *Context, ev Event[K, V], emit func(R)) error {
		r, err := fn(ctx, ev)
		if err != nil {
			return err
		}
		ref.answer(ctx.scope, r)
		emit(r)
		return nil
	})
	t.typed[a] = ref
	return ref
}

// AgentOf finds an agent that answers by name and types: for tests and clients of a topology that keeps its handles to itself. It panics, naming
// what there is, if there is none or its types are others.
func AgentOf[K, V, R any](t *Topology, name string) *AgentRef[K, V, R] {
	answering := slices.DeleteFunc(slices.Clone(t.agents), func(a *agentDef) bool { return a.reply == nil })
	return handleOf[*AgentRef[K, V, R]](t, "agent that answers", name, answering, func(a *agentDef) string { return a.name })
}

// repliesTopic is the topic of answers of all agents of a topology.
func (t *Topology) repliesTopic() *topicDef {
	if t.replies == nil {
		t.replies = &topicDef{
			t: t, id: int32(len(t.topics)), name: kafka.RepliesTopic(t.name), kind: plan.Replies, partitions: replyPartitions,
			config: map[string]string{}, partitioner: kafka.Murmur2(),
		}
		t.topics = append(t.topics, t.replies)
	}
	return t.replies
}

// AgentRef is an agent that can be asked. It is a handle: any goroutine may use it.
type AgentRef[K, V, R any] struct {
	*Results[K, R]
	agent   *agentDef
	source  *Topic[K, V]
	replies *topicDef
	rc      codec.Codec[R]
	valid   func(R) error
}

// Name returns the agent's name.
func (r *AgentRef[K, V, R]) Name() string { return r.agent.name }

// answer adds the answer to the record at hand to its effects, if it is a request.
func (r *AgentRef[K, V, R]) answer(s *scope, result R) {
	ask := kafka.AskOf(s.rec.B, s.rec.I, r.agent.t.name, r.agent.name)
	if ask == nil {
		return
	}
	to := r.agent.reply.to(ask)
	if to == nil {
		return // of another version of the topology, or not ours
	}
	e := s.effects()
	var err error
	if s.value, err = encode(r.rc, r.valid, s.value[:0], result); err != nil {
		e.Fail(lasting("answer of agent %s: encode it as %s: %w", r.agent.name, r.agent.reply.value.Type, redact.Of(err)))
		return
	}
	env := s.in.Env()
	if size, most := len(s.value)+len(ask.Key)+replyOverhead, int(env.MaxBytes[to.id]); most > 0 && size > most {
		e.Fail(lasting("the answer of agent %s has %d bytes, and topic %s takes records of at most %d: raise its max.message.bytes, or answer less",
			r.agent.name, len(s.value), to.name, most-replyOverhead))
		return
	}
	reply := kafka.Reply{Agent: r.agent.name}
	reply.Append(e.Out, ask, to.id, to.partitioner, env.Partitions[to.id], s.timestamp(), notNil(s.value))
	if early := r.early(e, ask); early != nil {
		reply.Early = true
		reply.Append(early, ask, to.id, to.partitioner, env.Partitions[to.id], s.timestamp(), notNil(s.value))
	}
}

// replyOverhead is what an answer takes beside its value, at most.
const replyOverhead = 1024

// Asker carries requests to agents and brings their answers: a *troupe.Client, or in tests a *topologytest.Driver.
type Asker interface {
	// Request sends a request. done is called once with the answer or why there is none, at the deadline of ctx at the latest, on a
	// goroutine of the asker's; it must not block. If Request itself returns an error, done is not called and nothing was sent.
	Request(ctx context.Context, r plan.Request, done func(answer []byte, err error)) error
	// Cast sends a record to an agent that nobody waits for, and returns when the broker has it.
	Cast(ctx context.Context, r plan.Request) error
}

// What an ask can fail with. All but ErrNoDeadline, ErrOwnPartition and ErrAskerClosed say what was found within the deadline; errors.Is
// finds context.DeadlineExceeded too in those that have used it up.
var (
	// ErrNoDeadline: the context of an ask has no deadline. Nothing was sent.
	ErrNoDeadline = errors.New("an ask needs a deadline: use context.WithTimeout")
	// ErrOwnPartition: a handler asks an agent of its own partition that is not Eager, or that would have to wait for the handler. Nothing was sent.
	ErrOwnPartition = errors.New("a handler cannot ask this agent of its own partition, which may wait for the handler: call the function directly, use topology.AskThen, or see topology.Eager")
	// ErrNotRunning: no node runs the topology, and none has come up within a quarter of the time. Nothing was sent, unless the error is a context.DeadlineExceeded too: then the request
	// waits in its topic, and is processed when a node starts.
	ErrNotRunning = errors.New("no node runs the topology")
	// ErrDeadOwner: the node that the partition belongs to does not answer, or the partition belongs to nobody at the moment. The
	// request was sent, and is processed when another node takes over.
	ErrDeadOwner = errors.New("the partition's node does not answer")
	// ErrSlow: the partition's node has not come to the request, is busy with it, or tries it again. The request was sent, and will be
	// processed.
	ErrSlow = errors.New("the agent has not answered in time")
	// ErrAskerClosed: the Asker was closed. A request that had been sent is processed.
	ErrAskerClosed = errors.New("the client is closed")
)

// AskError says that an agent has given a request up: there is no other answer.
type AskError struct {
	Agent string // that was asked
	kafka.ReplyFailure
}

// Error implements error.
func (e *AskError) Error() string {
	what := "it was skipped"
	if e.Letter {
		what = "it is in the dead letters"
	}
	attempts := fmt.Sprintf("%d attempts", e.Attempts)
	if e.Attempts == 1 {
		attempts = "1 attempt"
	}
	return fmt.Sprintf("agent %s has given the request %s/%d@%d up at the step %s, after %s: %s; %s",
		e.Agent, e.Topic, e.Partition, e.Offset, e.Step, attempts, e.ReplyFailure.Error, what)
}

// Ask sends a record to the agent and waits for what it makes of it. ctx must have a deadline. The error is an *AskError if the agent has
// given the record up, else one of the errors above, or ctx's. After an error that is not ErrNoDeadline, ErrOwnPartition or ErrNotRunning
// the record may be processed all the same: an ask that is repeated is another record.
//
// In a handler, ctx made of the handler's context, it blocks the agent, and a record that is tried again asks again; an agent
// of its own partition is refused, unless it is Eager and does not wait for the handler.
func (r *AgentRef[K, V, R]) Ask(ctx context.Context, via Asker, key K, value V) (R, error) {
	got := make(chan reply, 1)
	if err := r.request(ctx, via, key, value, func(b []byte, err error) { got <- reply{b, err} }); err != nil {
		var zero R
		return zero, err
	}
	return r.result(<-got) // at the deadline at the latest
}

// reply is what comes of an ask, encoded.
type reply struct {
	value []byte
	err   error
}

// result decodes what comes of an ask.
func (r *AgentRef[K, V, R]) result(x reply) (result R, err error) {
	if err = x.err; err == nil {
		if result, err = decode(r.rc, r.valid, x.value); err != nil {
			err = fmt.Errorf("decode the answer as %s: %w", r.agent.reply.value.Type, err)
		}
	}
	if err != nil {
		err = r.failed(err)
	}
	return result, err
}

// request sends a request.
func (r *AgentRef[K, V, R]) request(ctx context.Context, via Asker, key K, value V, done func([]byte, error)) error {
	if _, ok := ctx.Deadline(); !ok {
		return fmt.Errorf("ask agent %s: %w", r.agent.name, ErrNoDeadline)
	}
	if err := checkAsker(via); err != nil {
		return r.failed(err)
	}
	rq, err := r.encoded(key, value)
	if err != nil {
		return err
	}
	over := func() {}
	if turn, ok := ctx.Value(turnKey{}).(turnOf); ok && r.isOwn(turn.scope, rq) {
		if over, err = r.waitWithin(turn, &rq); err != nil {
			return err
		}
	}
	if err := via.Request(ctx, rq, func(answer []byte, err error) { over(); done(answer, err) }); err != nil {
		over()
		return r.failed(err)
	}
	return nil
}

func (r *AgentRef[K, V, R]) failed(err error) error {
	if _, ok := errors.AsType[*AskError](err); ok {
		return err // it names the agent
	}
	return fmt.Errorf("ask agent %s of topology %s: %w", r.agent.name, r.agent.t.name, err)
}

// checkAsker refuses a client that is nil, also one of a type: what would be a panic somewhere below says here what is missing.
func checkAsker(via Asker) error {
	if v := reflect.ValueOf(via); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("there is no client to ask through, it is nil: open one with troupe.OpenClient")
	}
	return nil
}

// encoded makes a request of a key and a value.
func (r *AgentRef[K, V, R]) encoded(key K, value V) (plan.Request, error) {
	return requestTo(r.agent.t, r.agent.name, r.source, key, value)
}

// requestTo makes a request to an agent that reads a topic.
func requestTo[K, V any](t *Topology, agent string, source *Topic[K, V], key K, value V) (plan.Request, error) {
	p, err := t.Plan()
	if err != nil {
		return plan.Request{}, err
	}
	rq := plan.Request{Plan: p}
	for _, a := range p.Agents {
		if a.Name == agent {
			rq.Agent = a
		}
	}
	rq.Key, rq.Value, err = source.Encode(key, value)
	return rq, err
}

// isOwn says whether a handler asks its own partition.
func (r *AgentRef[K, V, R]) isOwn(s *scope, rq plan.Request) bool {
	if s.agent.t != r.agent.t {
		return false
	}
	for _, a := range rq.Plan.Agents {
		if a.Name == s.agent.name && a.Stage == rq.Agent.Stage {
			n := s.in.Env().Partitions[r.source.def.id]
			return n > 0 && r.source.def.partitioner.Hash(rq.Key, n) == s.in.Partition()
		}
	}
	return false
}

// Cast sends a record to the agent and does not wait for what it makes of it. It returns when the brokers have the record.
func (r *AgentRef[K, V, R]) Cast(ctx context.Context, via Asker, key K, value V) error {
	err := checkAsker(via)
	if err == nil {
		var rq plan.Request
		if rq, err = r.encoded(key, value); err == nil {
			err = via.Cast(ctx, rq)
		}
	}
	if err != nil {
		return fmt.Errorf("cast to agent %s of topology %s: %w", r.agent.name, r.agent.t.name, err)
	}
	return nil
}

// Answered is the answer to one of several requests.
type Answered[K, V, R any] struct {
	Key    K
	Value  V
	Result R
}

// askWindow is how many requests of AskEach and AskAll are on their way at once.
const askWindow = 1000

// AskEach sends a record for each key and value and yields the answers as they come, each with its key and value, or with an error as of
// Ask. The deadline of ctx is that of all of them. Up to 1,000 are on their way at once. Leaving the loop forgets the answers that are to come.
func (r *AgentRef[K, V, R]) AskEach(ctx context.Context, via Asker, requests iter.Seq2[K, V]) iter.Seq2[Answered[K, V, R], error] {
	return func(yield func(Answered[K, V, R], error) bool) {
		r.askMany(ctx, via, requests, func(_ int, a Answered[K, V, R], err error) bool { return yield(a, err) })
	}
}

// AskAll is AskEach in order: it returns the answers in the order of their requests when all are there. At the first error it stops and
// returns that alone; other requests may be processed all the same.
func (r *AgentRef[K, V, R]) AskAll(ctx context.Context, via Asker, requests iter.Seq2[K, V]) ([]R, error) {
	var all []R
	var failed error
	r.askMany(ctx, via, requests, func(i int, a Answered[K, V, R], err error) bool {
		if failed = err; err != nil {
			return false
		}
		if i >= len(all) {
			all = append(all, make([]R, i+1-len(all))...)
		}
		all[i] = a.Result
		return true
	})
	if failed != nil {
		return nil, failed
	}
	return all, nil
}

// askMany asks, with a number of requests on their way, and gives the answers to take, with the number of each, until take refuses.
func (r *AgentRef[K, V, R]) askMany(ctx context.Context, via Asker, requests iter.Seq2[K, V], take func(i int, a Answered[K, V, R], err error) bool) {
	type numbered struct {
		i int
		a Answered[K, V, R]
		reply
		unsent error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // forgets what is on its way
	got := make(chan numbered, askWindow)
	next, stop := iter.Pull2(requests)
	defer stop()
	waiting, more := 0, true
	for i := 0; ; {
		for ; more && waiting < askWindow && len(got) == 0; i++ {
			key, value, ok := next()
			if more = ok; !ok {
				break
			}
			x := numbered{i: i, a: Answered[K, V, R]{Key: key, Value: value}}
			waiting++
			if err := r.request(ctx, via, key, value, func(b []byte, err error) { x.reply = reply{b, err}; got <- x }); err != nil {
				x.unsent = err
				got <- x
			}
		}
		if waiting == 0 {
			return
		}
		x := <-got
		waiting--
		err := x.unsent
		if err == nil {
			x.a.Result, err = r.result(x.reply)
		}
		if !take(x.i, x.a, err) {
			return
		}
	}
}
