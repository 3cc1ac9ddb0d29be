package topology_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// inExample stands for the *testing.T of a real test.
type inExample struct{ testing.TB }

func (inExample) Helper()                        {}
func (inExample) Cleanup(func())                 {}
func (inExample) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// An agent that counts, and answers with the count. In a program that runs beside the nodes, client is opened with troupe.OpenClient.
func ExampleAnswer() {
	t := topology.New("visits")
	visits := topology.NewTopic(t, "visits", codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	count := topology.Answer(t, "count", visits, func(ctx *topology.Context, v topology.Event[string, string]) (int64, error) {
		if v.Value == "" {
			return 0, errors.New("which page?")
		}
		n, _, err := counts.Get(ctx, v.Key)
		counts.Set(ctx, v.Key, n+1)
		return n + 1, err
	}, codec.Int64, topology.Writes(counts))

	client := topologytest.New(inExample{}, t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(count.Cast(ctx, client, "ann", "/")) // nobody waits for the result
	fmt.Println(count.Ask(ctx, client, "ann", "/about"))
	_, err := count.Ask(ctx, client, "ann", "")
	fmt.Println(err)
	// Output:
	// <nil>
	// 2 <nil>
	// agent count has given the request visits/2@2 up at the step handler, after 4 attempts: which page?; it is in the dead letters
}

// A handler asks an agent of its own partition, which is eager, and waits for the answer. One that is not would be refused.
func ExampleEager() {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.String)
	checks := topology.NewTopic(t, "checks", codec.String, codec.String)
	results := topology.NewTopic(t, "results", codec.String, codec.String)
	blocked := topology.NewTable(t, "blocked", codec.String, codec.String)
	check := topology.Answer(t, "check", checks, func(ctx *topology.Context, c topology.Event[string, string]) (bool, error) {
		_, found, err := blocked.Get(ctx, c.Key)
		return !found, err
	}, codec.JSON[bool](), topology.Reads(blocked), topology.Eager())
	var client topology.Asker
	topology.Each(t, "order", orders, func(ctx *topology.Context, o topology.Event[string, string]) error {
		within, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		fine, err := check.Ask(within, client, o.Key, "")
		if !fine {
			blocked.Set(ctx, o.Key, o.Value)
		}
		results.Send(ctx, o.Key, fmt.Sprint(o.Value, " is fine: ", fine))
		return err
	}, topology.Writes(blocked), topology.Sends(results))

	d := topologytest.New(inExample{}, t)
	client = d
	topologytest.Pipe(d, orders, "ann", "a book")
	for _, r := range topologytest.Read(d, results) {
		fmt.Println(r.Key, r.Value)
	}
	// Output:
	// ann a book is fine: true
}

// AskAll asks for several keys at once.
func ExampleAgentRef_AskAll() {
	t := topology.New("lengths")
	words := topology.NewTopic(t, "words", codec.String, codec.String)
	length := topology.Answer(t, "length", words, func(_ *topology.Context, w topology.Event[string, string]) (int64, error) {
		return int64(len(w.Value)), nil
	}, codec.Int64)

	client := topologytest.New(inExample{}, t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for a, err := range length.AskEach(ctx, client, maps.All(map[string]string{"a": "one"})) { // as they come
		fmt.Println(a.Key, a.Value, a.Result, err)
	}
	in := func(yield func(string, string) bool) {
		_ = yield("a", "one") && yield("b", "three")
	}
	fmt.Println(length.AskAll(ctx, client, in)) // in order
	// Output:
	// a one 3 <nil>
	// [3 5] <nil>
}

// A handler that makes any number of results, which go to a topic.
func ExampleProcess() {
	t := topology.New("words")
	lines := topology.NewTopic(t, "lines", codec.String, codec.String)
	words := topology.NewTopic(t, "words", codec.String, codec.String)
	topology.Process(t, "split", lines, func(_ *topology.Context, l topology.Event[string, string], emit func(string)) error {
		for w := range strings.FieldsSeq(l.Value) {
			emit(w)
		}
		return nil
	}).AddSink(topology.SinkTopic(words))

	d := topologytest.New(inExample{}, t)
	topologytest.Pipe(d, lines, "line 1", "to be or")
	for _, w := range topologytest.Read(d, words) {
		fmt.Println(w.Key, w.Value)
	}
	// Output:
	// line 1 to
	// line 1 be
	// line 1 or
}

// The results of one agent are the records of another, and are printed.
func ExampleResults_AddSink() {
	t := topology.New("temperatures")
	fahrenheit := topology.NewTopic(t, "fahrenheit", codec.String, codec.Float64)
	celsius := topology.NewTopic(t, "celsius", codec.String, codec.Float64)
	alarms := topology.Answer(t, "check", celsius, func(_ *topology.Context, c topology.Event[string, float64]) (bool, error) {
		return c.Value > 80, nil
	}, codec.JSON[bool]())
	alarms.AddSink(topology.SinkFunc(func(_ *topology.Context, room string, hot bool) error {
		fmt.Println(room, "is hot:", hot)
		return nil
	}))
	topology.Process(t, "convert", fahrenheit, func(_ *topology.Context, f topology.Event[string, float64], emit func(float64)) error {
		emit((f.Value - 32) / 1.8)
		return nil
	}).AddSink(topology.SinkAgent(alarms))

	d := topologytest.New(inExample{}, t)
	topologytest.Pipe(d, fahrenheit, "kitchen", 212)
	// Output:
	// kitchen is hot: true
}
