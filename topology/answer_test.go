package topology_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// asked is a topology with an agent that can be asked.
type asked struct {
	t      *topology.Topology
	in     *topology.Topic[string, string]
	out    *topology.Topic[string, string]
	upper  *topology.AgentRef[string, string, string]
	inside func(*topology.Context, event) error // called by the handler
}

func newAsked(opts ...topology.AgentOption) *asked {
	a := &asked{t: topology.New("asked")}
	a.in, a.out = topology.NewTopic(a.t, "in", codec.String, codec.String), topology.NewTopic(a.t, "out", codec.String, codec.String)
	a.upper = topology.Answer(a.t, "upper", a.in, func(ctx *topology.Context, e event) (string, error) {
		if a.inside != nil {
			if err := a.inside(ctx, e); err != nil {
				return "", err
			}
		}
		return strings.ToUpper(e.Value), nil
	}, codec.String, opts...)
	a.upper.AddSink(topology.SinkTopic(a.out))
	return a
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func values(d *topologytest.Driver, topic *topology.Topic[string, string]) (all []string) {
	for _, e := range topologytest.Read(d, topic) {
		all = append(all, e.Value)
	}
	slices.Sort(all)
	return all
}

// replies counts the answers that were written.
func replies(d *topologytest.Driver) int { return repliesIn(d, "asked-replies") }

func repliesIn(d *topologytest.Driver, topic string) (n int) {
	for _, b := range d.Records(topic) {
		n += b.Len()
	}
	return n
}

func TestAskAndCast(t *testing.T) {
	t.Parallel()
	a := newAsked()
	d := topologytest.New(t, a.t)
	got, err := a.upper.Ask(soon(t), d, "k", "x")
	require.NoError(t, err)
	require.Equal(t, "X", got)
	require.NoError(t, a.upper.Cast(t.Context(), d, "k", "y"))
	topologytest.Pipe(d, a.in, "k", "z")
	require.Equal(t, []string{"X", "Y", "Z"}, values(d, a.out), "sinks take all results")
	require.Equal(t, 1, replies(d), "who casts is not answered")
	d.Crash()
	require.Equal(t, 1, replies(d))
}

func TestAnAskNeedsADeadline(t *testing.T) {
	t.Parallel()
	a := newAsked()
	d := topologytest.New(t, a.t)
	_, err := a.upper.Ask(t.Context(), d, "k", "x")
	require.ErrorIs(t, err, topology.ErrNoDeadline)
	require.Empty(t, values(d, a.out), "nothing was sent")
}

func TestWhatIsGivenUpIsAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		then     topology.Decision
		letter   bool
		answered bool
	}{{topology.DeadLetter, true, true}, {topology.Skip, false, true}, {topology.StopPartition, false, false}} {
		a := newAsked(topology.OnFailure(topology.Policy{Attempts: 2, Then: c.then}))
		a.inside = func(_ *topology.Context, e event) error {
			if e.Value == "bad" {
				return errors.New("no good")
			}
			return nil
		}
		d := topologytest.New(t, a.t)
		_, err := a.upper.Ask(soon(t), d, "k", "bad")
		if !c.answered {
			require.ErrorIs(t, err, topology.ErrSlow)
			continue
		}
		var failed *topology.AskError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, kafka.ReplyFailure{
			Topic: "in", Partition: failed.Partition, Offset: 0, Step: kafka.StepHandler, Attempts: 2, Error: "no good", Letter: c.letter,
		}, failed.ReplyFailure)
		require.Equal(t, "upper", failed.Agent)
		require.Equal(t, 1, replies(d))
		require.Empty(t, values(d, a.out))
	}
}

func TestAStoppedPartitionAnswersWhenItGoesOn(t *testing.T) {
	t.Parallel()
	a := newAsked(topology.OnFailure(topology.Policy{Attempts: 1, Then: topology.StopPartition}))
	broken := true
	a.inside = func(*topology.Context, event) error {
		if broken {
			return errors.New("no good")
		}
		return nil
	}
	d := topologytest.New(t, a.t)
	_, err := a.upper.Ask(soon(t), d, "k", "x")
	require.ErrorIs(t, err, topology.ErrSlow)
	require.Zero(t, replies(d))
	broken = false
	d.Resume()
	require.Equal(t, 1, replies(d))
}

// A dead letter that is redriven was answered when it was given up.
func TestARedrivenRequestIsNotAnsweredAgain(t *testing.T) {
	t.Parallel()
	a := newAsked()
	d := topologytest.New(t, a.t)
	ask := kafka.Ask{ID: "1", Topology: "asked", Agent: "upper", Topic: "in"}.Header()
	l := kafka.Letter{Failure: kafka.Failure{Topic: "in", Agent: "upper"}}
	again := kafka.NewRedrive("asked", l, kafka.Place{})
	headers := slices.Collect(kafka.Headers(again.Append(nil, 0, 0)))
	d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("x"), append([]kafka.Header{ask}, headers...)...)
	require.Equal(t, []string{"X"}, values(d, a.out))
	require.Zero(t, replies(d))
}

// Only the agent that is asked answers, only in the topic into which it was sent, and to a partition that there is.
func TestForeignAsksAreNotAnswered(t *testing.T) {
	t.Parallel()
	a := newAsked()
	d := topologytest.New(t, a.t)
	for _, x := range []kafka.Ask{
		{ID: "1", Topology: "other", Agent: "upper", Topic: "in"},
		{ID: "1", Topology: "asked", Agent: "other", Topic: "in"},
		{ID: "1", Topology: "asked", Agent: "upper", Topic: "elsewhere"},
		{ID: "1", Topology: "asked", Agent: "upper", Topic: "in", Partition: 4},
		{ID: "1", Topology: "asked", Agent: "upper", Topic: "in", Partition: -1},
		{Topology: "asked", Agent: "upper", Topic: "in"},
	} {
		d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("x"), x.Header())
	}
	d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("x"), kafka.Header{Key: kafka.AskHeader, Value: []byte("{")})
	require.Len(t, values(d, a.out), 7)
	require.Zero(t, replies(d))
	require.Empty(t, d.Failures())
}

// What an agent passes on is no request.
func TestHeadersOfRequestsAreNotPassedOn(t *testing.T) {
	t.Parallel()
	topo := topology.New("asked")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	ref := topology.Answer(topo, "pass", in, func(ctx *topology.Context, e event) (string, error) {
		out.Send(ctx, e.Key, e.Value, topology.WithHeaders(slices.Collect(e.Headers())...))
		return "", nil
	}, codec.String, topology.Sends(out))
	d := topologytest.New(t, topo)
	_, err := ref.Ask(soon(t), d, "k", "x")
	require.NoError(t, err)
	sent := topologytest.Read(d, out)
	require.Len(t, sent, 1)
	require.Empty(t, slices.Collect(sent[0].Headers()))
}

func TestAskingOnesOwnPartition(t *testing.T) {
	t.Parallel()
	a := newAsked(topology.OnFailure(topology.Policy{Attempts: 1}))
	d := topologytest.New(t, a.t)
	var failed error
	a.inside = func(ctx *topology.Context, e event) error {
		within, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, failed = a.upper.Ask(within, d, e.Key, "again")
		return failed
	}
	_, err := a.upper.Ask(soon(t), d, "k", "x")
	require.ErrorIs(t, failed, topology.ErrOwnPartition)
	require.ErrorContains(t, err, "cannot ask this agent of its own partition")
	require.Empty(t, values(d, a.out))
}

func TestAskEachAndAskAll(t *testing.T) {
	t.Parallel()
	a := newAsked()
	d := topologytest.New(t, a.t)
	in := map[string]string{"a": "x", "b": "y", "c": "z"}
	got := map[string]string{}
	for r, err := range a.upper.AskEach(soon(t), d, maps.All(in)) {
		require.NoError(t, err)
		require.Equal(t, in[r.Key], r.Value)
		got[r.Key] = r.Result
	}
	require.Equal(t, map[string]string{"a": "X", "b": "Y", "c": "Z"}, got)
	many := func(yield func(string, string) bool) {
		for i := range 2500 { // more than are on their way at once
			if !yield(string(rune('a'+i%26)), strings.Repeat("x", i%7)) {
				return
			}
		}
	}
	all, err := a.upper.AskAll(soon(t), d, many)
	require.NoError(t, err)
	require.Len(t, all, 2500)
	for i, x := range all {
		require.Equal(t, strings.Repeat("X", i%7), x)
	}
	for _, err := range a.upper.AskEach(soon(t), d, many) {
		require.NoError(t, err)
		break // forgets the rest
	}
	_, err = a.upper.AskAll(t.Context(), d, many)
	require.ErrorIs(t, err, topology.ErrNoDeadline)
}

// backwards is an Asker that answers when so many requests wait, the last one first.
type backwards struct {
	n       int
	fails   map[string]error // by the request's value
	waiting []func()
	ctx     context.Context //nolint:containedctx // of the last request
}

func (b *backwards) Request(ctx context.Context, r plan.Request, done func([]byte, error)) error {
	b.ctx = ctx
	b.waiting = append(b.waiting, func() { done([]byte(strings.ToUpper(string(r.Value))), b.fails[string(r.Value)]) })
	if len(b.waiting) == b.n {
		for _, answer := range slices.Backward(b.waiting) {
			answer()
		}
		b.waiting = nil
	}
	return nil
}

func (b *backwards) Cast(context.Context, plan.Request) error { return nil }

// AskEach has answers as they come, AskAll in the order of the requests; one that has none has an error of its own.
func TestTheOrderOfAnswers(t *testing.T) {
	t.Parallel()
	a := newAsked()
	requests := func(yield func(string, string) bool) {
		for _, v := range []string{"a", "b", "c", "d", "e", "f"} {
			if !yield("key of "+v, v) {
				return
			}
		}
	}
	broken := errors.New("the node is gone")
	each := func(via *backwards) (got []string) {
		for r, err := range a.upper.AskEach(soon(t), via, requests) {
			require.Equal(t, "key of "+r.Value, r.Key)
			if err != nil {
				require.ErrorIs(t, err, broken)
				require.ErrorContains(t, err, "ask agent upper")
				r.Result = "no " + r.Value
			}
			got = append(got, r.Result)
		}
		return got
	}
	require.Equal(t, []string{"C", "B", "A", "F", "E", "D"}, each(&backwards{n: 3}))
	require.Equal(t, []string{"C", "no b", "A", "F", "E", "D"}, each(&backwards{n: 3, fails: map[string]error{"b": broken}}))

	all, err := a.upper.AskAll(soon(t), &backwards{n: 3}, requests)
	require.NoError(t, err)
	require.Equal(t, []string{"A", "B", "C", "D", "E", "F"}, all)
	all, err = a.upper.AskAll(soon(t), &backwards{n: 3, fails: map[string]error{"b": broken}}, requests)
	require.ErrorIs(t, err, broken)
	require.Nil(t, all)

	via := &backwards{n: 3}
	for _, err := range a.upper.AskEach(soon(t), via, requests) {
		require.NoError(t, errors.Join(err, via.ctx.Err()))
		break
	}
	require.ErrorIs(t, via.ctx.Err(), context.Canceled, "what is on its way is forgotten")
}

// An answer that its codec or topic does not take fails the record, and that is the answer.
func TestAnAnswerThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	topo := topology.New("asked")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	ref := topology.Answer(topo, "repeat", in, func(_ *topology.Context, _ event) (string, error) {
		return strings.Repeat("x", 2<<20), nil
	}, codec.String)
	d := topologytest.New(t, topo)
	_, err := ref.Ask(soon(t), d, "k", "x")
	var failed *topology.AskError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, kafka.StepSend, failed.Step)
	require.Equal(t, 1, failed.Attempts, "to try again does not help")
	require.Contains(t, failed.ReplyFailure.Error, "max.message.bytes")
}

// Functions are called when the handler is through, with what it has emitted; an error of theirs undoes all.
func TestSinkFunc(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	var did []string
	fails := 1
	topology.Process(topo, "twice", in, func(_ *topology.Context, e event, emit func(string)) error {
		emit(e.Value + "1")
		emit(e.Value + "2")
		did = append(did, "handler")
		return nil
	}).AddSink(topology.SinkFunc(func(_ *topology.Context, key, r string) error {
		did = append(did, key+r)
		if strings.HasSuffix(r, "2") && fails > 0 {
			fails--
			return errors.New("the printer is out of paper")
		}
		return nil
	}), topology.SinkTopic(out))
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, in, "k", "x")
	require.Equal(t, []string{"handler", "kx1", "kx2", "handler", "kx1", "kx2"}, did)
	require.Equal(t, []string{"x1", "x2"}, values(d, out))
	require.Len(t, d.Failures(), 1)
}

func TestSinksKeepNullKeys(t *testing.T) {
	t.Parallel()
	a := newAsked()
	d := topologytest.New(t, a.t)
	d.PipeRaw("in", 0, d.Now(), nil, []byte("x"))
	require.True(t, topologytest.Read(d, a.out)[0].NullKey)
}

func TestFaultsOfAnswersAndSinks(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	handler := func(*topology.Context, event) (string, error) { return "", nil }
	topology.Answer(topo, "a", in, handler, nil)
	topology.Answer(topo, "b", in, nil, codec.String).AddSink(
		topology.SinkTopic[string, string](nil), topology.SinkAgent[string, string, string](nil), topology.SinkFunc[string, string](nil), topology.Sink[string, string]{})
	topology.Process(topo, "c", in, func(*topology.Context, event, func(string)) error { return nil })
	c := topology.Answer(topo, "d", in, handler, codec.String)
	c.AddSink(topology.SinkAgent(c))
	topology.NewTopic(topo, "test-replies", codec.String, codec.String)
	_, err := topo.Plan()
	for _, want := range []string{
		"agent a has no codec for its answers", "agent b has no function", "SinkTopic was given a nil topic", "SinkAgent was given a nil agent",
		"SinkFunc was given no function", "agent b was given an empty sink", "agent c is made by Process and has no sink",
		"records go round in a loop: in → agent d → in", "collide",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestRepliesInAPlan(t *testing.T) {
	t.Parallel()
	a := newAsked()
	p, err := a.t.Plan()
	require.NoError(t, err)
	replies := p.Agents[0].Reply.Topic
	require.Equal(t, "asked-replies", replies.Name)
	require.True(t, replies.Sink)
	require.Equal(t, map[string]string{"cleanup.policy": "delete", "retention.ms": "3600000", "segment.ms": "600000"}, replies.Config)
	text, err := topology.Describe(p, "text")
	require.NoError(t, err)
	require.Contains(t, text, "agent upper: reads in, sends out, answers with string by asked-replies, steps: to topic out\n")
	require.Contains(t, text, "  asked-replies: replies, partitions: 4\n")
	for format, want := range map[string]string{"mermaid": `(["asked-replies"])`, "dot": `label="asked-replies"`, "json": `"answer": "string"`} {
		text, err := topology.Describe(p, format)
		require.NoError(t, err)
		require.Contains(t, text, want)
	}
}

// A client that is nil, also one of a type, is an error that says what is missing.
func TestNilClients(t *testing.T) {
	t.Parallel()
	a := newAsked()
	for _, client := range []topology.Asker{nil, (*topologytest.Driver)(nil)} {
		_, err := a.upper.Ask(soon(t), client, "k", "v")
		require.EqualError(t, err, "ask agent upper of topology asked: there is no client to ask through, it is nil: open one with troupe.OpenClient")
		require.EqualError(t, a.upper.Cast(soon(t), client, "k", "v"),
			"cast to agent upper of topology asked: there is no client to ask through, it is nil: open one with troupe.OpenClient")
		_, err = a.upper.AskAll(soon(t), client, maps.All(map[string]string{"k": "v"}))
		require.ErrorContains(t, err, "it is nil")
	}
}

func TestAgentOf(t *testing.T) {
	t.Parallel()
	a := newAsked()
	topology.Each(a.t, "silent", a.in, func(*topology.Context, event) error { return nil })
	require.Same(t, a.upper, topology.AgentOf[string, string, string](a.t, "upper"))
	require.PanicsWithValue(t, "topology: topology asked has no agent that answers silent: there are upper", func() {
		topology.AgentOf[string, string, string](a.t, "silent")
	})
	require.Panics(t, func() { topology.AgentOf[string, string, int64](a.t, "upper") })
}
