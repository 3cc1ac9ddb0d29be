package topology_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// drive runs a topology without a broker.
func drive(t *topology.Topology) *topologytest.Driver { return topologytest.New(inExample{}, t) }

// recordsOf are the records of a topic, a line each.
func recordsOf[V any](d *topologytest.Driver, topic *topology.Topic[string, V]) (lines string) {
	for _, e := range topologytest.Read(d, topic) {
		lines += fmt.Sprintln(e.Key, e.Value)
	}
	return lines
}

// bank is a topology with a topic of payments by customer.
func bank() (*topology.Topology, *topology.Topic[string, int64]) {
	t := topology.New("bank")
	return t, topology.NewTopic(t, "payments", codec.String, codec.Int64)
}

func nobody(*topology.Context, payment) error { return nil }

// The next turn of the loop says that the record is done.
func ExampleAgent() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.Agent(t, "double", payments, func(ctx *topology.Context, in topology.Stream[string, int64]) error {
		for p := range in.All() {
			out.Send(ctx, p.Key, 2*p.Value)
		}
		return nil
	}, topology.Sends(out))

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 21)
	fmt.Print(recordsOf(d, out))
	// Output: ada 42
}

func ExampleEach() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.Each(t, "large", payments, func(ctx *topology.Context, p topology.Event[string, int64]) error {
		if p.Value > 1000 {
			out.Send(ctx, p.Key, p.Value)
		}
		return nil
	}, topology.Sends(out))

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 5)
	topologytest.Pipe(d, payments, "grace", 5000)
	fmt.Print(recordsOf(d, out))
	// Output: grace 5000
}

// copier is an actor of the user's own.
type copier struct {
	out *topology.Topic[string, int64]
}

func (e *copier) Receive(c actor.Context) {
	b, ok := c.Message().(*topology.Batch[string, int64])
	if !ok {
		return
	}
	for i := range b.Len() {
		ctx, err := b.Begin(i)
		if err != nil {
			return // the partition was rolled back: the records come again
		}
		if p, err := b.At(i); err == nil {
			e.out.Send(ctx, p.Key, p.Value)
			_ = b.Done(i) // an error says that the record comes again
		} else {
			_ = b.Fail(i, err)
		}
	}
}

// An agent that is an actor of one's own, with whatever children and supervisors that needs.
func ExampleProps() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.Props(t, "echo", payments, actor.PropsFromProducer(func() actor.Actor { return &copier{out} }), topology.Sends(out))
	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// A task is called once, when its partition starts running.
func ExampleTask() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.Each(t, "idle", payments, nobody)
	topology.Task(t, "greet", func(ctx *topology.TaskContext) error {
		out.Send(ctx, "hello", 1)
		return nil
	}, topology.Sends(out))
	fmt.Print(recordsOf(drive(t), out))
	// Output: hello 1
}

// A timer that reads a table is called once per partition of that, and sees what is committed.
func ExampleEvery() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	sums := topology.NewTable(t, "sums", codec.String, codec.Int64)
	topology.Reduce(topology.GroupByKey(topology.From(payments)), sums, func(a, b int64) int64 { return a + b })
	topology.Every(t, "report", time.Minute, func(ctx *topology.TaskContext) error {
		for customer, sum := range sums.All(ctx) {
			out.Send(ctx, customer, sum)
		}
		return nil
	}, topology.Reads(sums), topology.Sends(out))

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 40)
	topologytest.Pipe(d, payments, "ada", 2)
	d.Advance(time.Minute)
	fmt.Print(recordsOf(d, out))
	// Output: ada 42
}

// It says that a timer is meant to run once for the whole topology; one that read a table would be refused.
func ExampleOnLeader() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.Each(t, "idle", payments, nobody)
	topology.Every(t, "tick", time.Hour, func(ctx *topology.TaskContext) error {
		out.Send(ctx, "tick", int64(ctx.Missed))
		return nil
	}, topology.Sends(out), topology.OnLeader())

	d := drive(t)
	d.Advance(time.Hour)
	fmt.Print(recordsOf(d, out))
	// Output: tick 0
}

// What a handler touches is declared: so all is checked before it starts, and can be drawn.
func ExampleSends() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.Each(t, "echo", payments, func(ctx *topology.Context, p payment) error {
		out.Send(ctx, p.Key, p.Value)
		return nil
	}, topology.Sends(out))
	p, _ := t.Plan()
	fmt.Println(p.Agents[0].Sends[0].Name)
	// Output: out
}

func ExampleReads() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	limits := topology.TableFrom(t, "limits", topology.NewTopic(t, "limit-updates", codec.String, codec.Int64))
	topology.Each(t, "check", payments, func(ctx *topology.Context, p payment) error {
		if limit, ok, _ := limits.Get(ctx, p.Key); ok && p.Value > limit { // its error fails the record by itself
			out.Send(ctx, p.Key, p.Value-limit)
		}
		return nil
	}, topology.Reads(limits), topology.Sends(out))

	d := drive(t)
	topologytest.Pipe(d, topology.TopicOf[string, int64](t, "limit-updates"), "ada", 100)
	topologytest.Pipe(d, payments, "ada", 142)
	fmt.Print(recordsOf(d, out))
	// Output: ada 42
}

func ExampleWrites() {
	t, payments := bank()
	largest := topology.NewTable(t, "largest", codec.String, codec.Int64)
	topology.Each(t, "watch", payments, func(ctx *topology.Context, p payment) error {
		largest.Update(ctx, p.Key, func(old int64, _ bool) (int64, error) { return max(old, p.Value), nil })
		return nil
	}, topology.Writes(largest))

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 42)
	topologytest.Pipe(d, payments, "ada", 7)
	fmt.Println(topologytest.Table(d, largest))
	// Output: map[ada:42]
}

// An agent that starts for the first time passes over what is in its topic already.
func ExampleStartAt() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.Each(t, "echo", payments, func(ctx *topology.Context, p payment) error {
		out.Send(ctx, p.Key, p.Value)
		return nil
	}, topology.Sends(out), topology.StartAt(topology.Latest))
	p, _ := t.Plan()
	fmt.Println(p.Agents[0].Start == topology.Latest)
	// Output: true
}

// Ten attempts, with pauses up to a minute; then the partition stops until somebody has looked.
func ExampleOnFailure() {
	t, payments := bank()
	tries := 0
	topology.Each(t, "charge", payments, func(*topology.Context, payment) error {
		tries++
		return errors.New("the bank is closed")
	}, topology.OnFailure(topology.Policy{
		Attempts: 10,
		Backoff:  topology.Backoff{Min: time.Second, Max: time.Minute},
		Then:     topology.StopPartition,
	}))

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 42)
	fmt.Println(tries, "attempts,", len(d.Stopped()), "partition stopped")
	// Output: 10 attempts, 1 partition stopped
}

// What no further attempt would mend is given up at once.
func ExamplePermanent() {
	t, payments := bank()
	topology.Each(t, "charge", payments, func(_ *topology.Context, p payment) error {
		if p.Value < 0 {
			return topology.Permanent(fmt.Errorf("an amount of %d", p.Value))
		}
		return nil
	})

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", -1)
	fmt.Println(len(d.Failures()), d.Failures()[0])
	// Output: 1 agent charge, payments/1@0, attempt 1: an amount of -1
}

// An outage is no fault of the record: it is tried again when the breaker closes, and loses no attempt.
func ExampleUnavailable() {
	closed := errors.New("the bank is closed")
	err := topology.Unavailable(closed)
	fmt.Println(err, errors.Is(err, closed), topology.Unavailable(nil))
	// Output: the bank is closed true <nil>
}

// A test, or a client, that has only the topology finds an agent by its name.
func ExampleAgentOf() {
	t, payments := bank()
	topology.Answer(t, "double", payments, func(_ *topology.Context, p payment) (int64, error) { return 2 * p.Value, nil }, codec.Int64)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(topology.AgentOf[string, int64, int64](t, "double").Ask(ctx, drive(t), "ada", 21))
	// Output: 42 <nil>
}

// Where an agent goes on that has asked another one: see AskThen.
func ExampleThen() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	ask := topology.NewTopic(t, "questions", codec.String, codec.Int64)
	double := topology.Answer(t, "double", ask, func(_ *topology.Context, q payment) (int64, error) { return 2 * q.Value, nil }, codec.Int64)
	doubled := topology.Then(t, "doubled", payments, double, func(ctx *topology.Context, a topology.Event[string, topology.Outcome[int64]]) error {
		if a.Value.Err == nil {
			out.Send(ctx, a.Key, a.Value.Result)
		}
		return nil
	}, topology.Sends(out))
	topology.Each(t, "ask", payments, func(ctx *topology.Context, p payment) error {
		topology.AskThen(ctx, doubled, p.Key, "any", p.Value)
		return nil
	}, topology.Sends(doubled))

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 21)
	fmt.Print(recordsOf(d, out))
	// Output: ada 42
}

func ExampleSinkTopic() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.Process(t, "split", payments, func(_ *topology.Context, p payment, emit func(int64)) error {
		emit(p.Value / 2)
		emit(p.Value - p.Value/2)
		return nil
	}).AddSink(topology.SinkTopic(out))

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 43)
	fmt.Print(recordsOf(d, out))
	// Output:
	// ada 21
	// ada 22
}

// A function is a side effect: it is called at least once.
func ExampleSinkFunc() {
	t, payments := bank()
	topology.Process(t, "halve", payments, func(_ *topology.Context, p payment, emit func(int64)) error {
		emit(p.Value / 2)
		return nil
	}).AddSink(topology.SinkFunc(func(_ *topology.Context, customer string, half int64) error {
		fmt.Println(customer, half)
		return nil
	}))
	topologytest.Pipe(drive(t), payments, "ada", 84)
	// Output: ada 42
}

// The results of one agent are the records of another one.
func ExampleSinkAgent() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	halves := topology.NewTopic(t, "halves", codec.String, codec.Int64)
	next := topology.Answer(t, "next", halves, func(_ *topology.Context, h payment) (int64, error) { return h.Value + 1, nil }, codec.Int64)
	next.AddSink(topology.SinkTopic(out))
	topology.Process(t, "halve", payments, func(_ *topology.Context, p payment, emit func(int64)) error {
		emit(p.Value / 2)
		return nil
	}).AddSink(topology.SinkAgent(next))

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 82)
	fmt.Print(recordsOf(d, out))
	// Output: ada 42
}

// sendExample sends a record with an option, and prints what comes of it.
func sendExample(opt topology.SendOption, print func(payment)) {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.Each(t, "send", payments, func(ctx *topology.Context, p payment) error {
		out.Send(ctx, p.Key, p.Value, opt)
		return nil
	}, topology.Sends(out))
	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 42)
	print(topologytest.Read(d, out)[0])
}

func ExampleNullKey() {
	sendExample(topology.NullKey(), func(sent payment) { fmt.Println(sent.NullKey, sent.Value) })
	// Output: true 42
}

// A null value deletes the key, where the topic is compacted or read as a table; so does Topic.Delete.
func ExampleNullValue() {
	sendExample(topology.NullValue(), func(sent payment) { fmt.Println(sent.Key, sent.NullValue) })
	// Output: ada true
}

func ExampleToPartition() {
	sendExample(topology.ToPartition(3), func(sent payment) { fmt.Println(sent.Partition()) })
	// Output: 3
}

func ExampleWithHeaders() {
	sendExample(topology.WithHeaders(kafka.Header{Key: "currency", Value: []byte("EUR")}), func(sent payment) {
		for h := range sent.Headers() {
			fmt.Println(h.Key, string(h.Value))
		}
	})
	// Output: currency EUR
}

func ExampleWithTimestamp() {
	sendExample(topology.WithTimestamp(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), func(sent payment) { fmt.Println(sent.Timestamp().UTC()) })
	// Output: 2026-03-01 12:00:00 +0000 UTC
}
