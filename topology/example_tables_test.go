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

// Entries that expire: a session ends when nothing has come for half an hour, by the times of its records.
func ExampleTTL() {
	topo := topology.New("sessions")
	clicks := topology.NewTopic(topo, "clicks", codec.String, codec.String)
	sessions := topology.NewTable(topo, "sessions", codec.String, codec.Int64, topology.TTL(30*time.Minute, topology.EventTime))

	topology.EachRow(topo, "count", clicks, sessions, func(_ *topology.Context, e topology.Event[string, string], row *topology.Row[int64]) error {
		n, _ := row.Get()
		if e.Value == "logout" {
			row.SetTTL(n+1, time.Minute)
			return nil
		}
		row.Set(n + 1)
		return nil
	})

	t := &example{}
	defer t.end()
	d := topologytest.New(t, topo)
	click := func(after time.Duration, page string) {
		d.Advance(after)
		topologytest.Pipe(d, clicks, "ada", page)
		fmt.Println(topologytest.Table(d, sessions))
	}
	click(0, "home")
	click(29*time.Minute, "news")
	click(30*time.Minute, "home")
	click(time.Minute, "logout")
	d.Crash()
	click(time.Minute, "home")
	// Output:
	// map[ada:1]
	// map[ada:2]
	// map[ada:1]
	// map[ada:2]
	// map[ada:1]
}

// Finding entries by something else than their keys.
func ExampleNewIndex() {
	type order struct {
		Customer string
		Paid     bool
	}
	topo := topology.New("orders")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.JSON[order]())
	reminders := topology.NewTopic(topo, "reminders", codec.String, codec.String)
	open := topology.NewTable(topo, "open", codec.String, codec.JSON[order]())
	unpaid := topology.NewIndex(open, "unpaid", func(_ string, o order) bool { return !o.Paid }, codec.JSON[bool]())

	topology.Each(topo, "keep", orders, func(ctx *topology.Context, e topology.Event[string, order]) error {
		open.Set(ctx, e.Key, e.Value)
		return nil
	}, topology.Writes(open))
	topology.Every(topo, "remind", time.Hour, func(ctx *topology.TaskContext) error {
		for id, o := range unpaid.Lookup(ctx, true) {
			reminders.Send(ctx, o.Customer, id)
		}
		return nil
	}, topology.Reads(open), topology.Sends(reminders))

	t := &example{}
	defer t.end()
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	topologytest.Pipe(d, orders, "1", order{Customer: "ada"})
	topologytest.Pipe(d, orders, "2", order{Customer: "bob"})
	topologytest.Pipe(d, orders, "1", order{Customer: "ada", Paid: true})
	d.Advance(time.Hour)
	for _, e := range topologytest.Read(d, reminders) {
		fmt.Println(e.Key, "has not paid", e.Value)
	}
	// Output: bob has not paid 2
}

// Values are written otherwise than before: what is there is read as what it is.
func ExampleMigrate() {
	prices := func(opts ...topology.TableOption) (*topology.Topology, *topology.Topic[string, int64], *topology.Table[string, int64]) {
		topo := topology.New("shop")
		changes := topology.NewTopic(topo, "changes", codec.String, codec.Int64)
		table := topology.NewTable(topo, "prices", codec.String, codec.Int64, opts...)
		topology.Each(topo, "change", changes, func(ctx *topology.Context, e topology.Event[string, int64]) error {
			table.Set(ctx, e.Key, e.Value)
			return nil
		}, topology.Writes(table))
		return topo, changes, table
	}

	t := &example{}
	defer t.end()
	topo, changes, _ := prices()
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, changes, "apple", 2) // in euros

	topo, changes, table := prices(topology.Version(1), topology.Migrate(0, codec.Int64, func(euros int64) (int64, error) { return 100 * euros, nil }))
	fmt.Println(d.Upgrade(topo))
	topologytest.Pipe(d, changes, "pear", 350) // in cents
	fmt.Println(topologytest.Table(d, table))

	topo, _, _ = prices() // the old program would take cents for euros
	fmt.Println(d.Upgrade(topo) != nil)
	// Output:
	// <nil>
	// map[apple:200 pear:350]
	// true
}
