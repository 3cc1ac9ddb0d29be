package topology_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// example stands for the *testing.T of a real test.
type example struct {
	testing.TB
	ends []func()
}

func (*example) Helper()                        {}
func (e *example) Cleanup(f func())             { e.ends = append(e.ends, f) }
func (*example) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func (e *example) end() {
	for _, f := range e.ends {
		f()
	}
}

// A set for each key: who is in which room.
func ExampleNewSetTable() {
	topo := topology.New("chat")
	joined := topology.NewTopic(topo, "joined", codec.String, codec.String)
	left := topology.NewTopic(topo, "left", codec.String, codec.String)
	members := topology.NewSetTable(topo, "members", codec.String, codec.String)

	topology.Each(topo, "join", joined, func(ctx *topology.Context, e topology.Event[string, string]) error {
		members.Add(ctx, e.Key, e.Value)
		return nil
	}, topology.Writes(members))
	topology.Each(topo, "leave", left, func(ctx *topology.Context, e topology.Event[string, string]) error {
		members.Remove(ctx, e.Key, e.Value)
		if n, err := members.Len(ctx, e.Key); err != nil || n > 0 { // it sees the removal
			return err
		}
		fmt.Println("room", e.Key, "is empty")
		return nil
	}, topology.Writes(members))

	t := &example{}
	defer t.end()
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, joined, "kitchen", "ada")
	topologytest.Pipe(d, joined, "kitchen", "bob")
	topologytest.Pipe(d, joined, "kitchen", "ada")
	topologytest.Pipe(d, joined, "attic", "bob")
	topologytest.Pipe(d, left, "attic", "bob")
	fmt.Println(topologytest.Set(d, members))
	// Output:
	// room attic is empty
	// map[kitchen:[ada bob]]
}

// What a key has that is not in the table.
func ExampleDefault() {
	topo := topology.New("credit")
	spent := topology.NewTopic(topo, "spent", codec.String, codec.Int64)
	credit := topology.NewTable(topo, "credit", codec.String, codec.Int64, topology.Default(func() int64 { return 100 }))

	topology.Each(topo, "spend", spent, func(ctx *topology.Context, e topology.Event[string, int64]) error {
		credit.Update(ctx, e.Key, func(left int64, _ bool) (int64, error) { return left - e.Value, nil })
		return nil
	}, topology.Writes(credit))

	t := &example{}
	defer t.end()
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, spent, "ada", 30)
	topologytest.Pipe(d, spent, "ada", 30)
	fmt.Println(topologytest.Table(d, credit))
	// Output: map[ada:40]
}

// The newest entries first, with a loop that is left early.
func ExampleReverse() {
	topo := topology.New("news")
	posts := topology.NewTopic(topo, "posts", codec.String, codec.String)
	ask := topology.NewTopic(topo, "ask", codec.String, codec.Int64)
	news := topology.NewTable(topo, "news", codec.String, codec.String, topology.Ordered(), topology.Local())

	topology.Each(topo, "post", posts, func(ctx *topology.Context, e topology.Event[string, string]) error {
		news.Set(ctx, e.Timestamp().UTC().Format(time.RFC3339), e.Value)
		return nil
	}, topology.Writes(news))
	topology.Each(topo, "newest", ask, func(ctx *topology.Context, e topology.Event[string, int64]) error {
		left := e.Value
		for at, text := range news.All(ctx, topology.Reverse()) {
			if left--; left < 0 {
				break
			}
			fmt.Println(at, text)
		}
		n, err := news.Len(ctx)
		fmt.Println("of", n)
		return err
	}, topology.Reads(news))

	t := &example{}
	defer t.end()
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	for _, text := range []string{"first", "second", "third"} {
		topologytest.Pipe(d, posts, "", text)
		d.Advance(time.Hour)
	}
	topologytest.Pipe(d, ask, "", 2)
	// Output:
	// 2026-01-01T02:00:00Z third
	// 2026-01-01T01:00:00Z second
	// of 3
}
