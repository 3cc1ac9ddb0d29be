package topology_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// steps are the agents of a topology, a line each.
func steps(t *topology.Topology) (lines string) {
	p, err := t.Plan()
	if err != nil {
		return err.Error()
	}
	for _, a := range p.Agents {
		lines += fmt.Sprintln(a.Name, a.Steps)
	}
	return lines
}

type payment = topology.Event[string, int64]

func ExampleBranch() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64)
	branches := topology.Branch(topology.From(payments), func(p payment) bool { return p.Value > 1000 })
	topology.To(branches[0], topology.NewTopic(t, "large", codec.String, codec.Int64))
	topology.To(branches[1], topology.NewTopic(t, "others", codec.String, codec.Int64))
	fmt.Print(steps(t))
	// Output:
	// to-large [from payments branch 1 to large]
	// to-others [from payments branch 2 to others]
}

func ExampleEcho() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64)
	audit := topology.NewTopic(t, "audit", codec.String, codec.Int64)
	fraud := topology.NewTopic(t, "fraud", codec.String, codec.Int64)
	topology.Echo(topology.From(payments), []*topology.Topic[string, int64]{audit, fraud}, topology.Named("copy"))
	fmt.Print(steps(t))
	// Output: copy [from payments echo to audit, fraud]
}

func ExampleThrough() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64)
	euros := topology.NewTopic(t, "euros", codec.String, codec.Int64) // others may read it, too
	cents := topology.Map(topology.From(payments), func(v int64) int64 { return v / 100 })
	topology.Count(topology.GroupByKey(topology.Through(cents, euros)), topology.NewTable(t, "counts", codec.String, codec.Int64))
	fmt.Print(steps(t))
	// Output:
	// to-euros [from payments map to euros]
	// count-counts [from euros count into counts]
}

func ExampleRepartition() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64, topology.Partitions(2))
	wide := topology.Repartition(topology.From(payments), "wide", 16)
	topology.Count(topology.GroupByKey(wide), topology.NewTable(t, "counts", codec.String, codec.Int64))
	fmt.Print(steps(t))
	// Output:
	// wide [from payments to shop-wide-repartition]
	// count-counts [from shop-wide-repartition count into counts]
}

func ExampleMerge() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64)
	refunds := topology.NewTopic(t, "refunds", codec.String, codec.Int64)
	negative := topology.Map(topology.From(refunds), func(v int64) int64 { return -v })
	flow := topology.Merge(topology.From(payments), negative)
	topology.Reduce(topology.GroupByKey(flow), topology.NewTable(t, "balances", codec.String, codec.Int64), func(sum, v int64) int64 { return sum + v })
	fmt.Print(steps(t))
	// Output:
	// reduce-balances-payments [from payments reduce into balances]
	// reduce-balances-refunds [from refunds map reduce into balances]
}

func ExampleSources() {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.String)
	returns := topology.NewTopic(t, "returns", codec.String, codec.String)
	topology.Each(t, "audit", topology.Sources(orders, returns), func(_ *topology.Context, ev topology.Event[string, string]) error {
		fmt.Println(ev.Topic(), ev.Key, ev.Value)
		return nil
	})
	tb := &example{}
	defer tb.end()
	d := topologytest.New(tb, t)
	topologytest.Pipe(d, orders, "ann", "a chair")
	topologytest.Pipe(d, returns, "bob", "a table")
	// Output:
	// orders ann a chair
	// returns bob a table
}

func ExampleSinkChannel() {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.String)
	items := topology.NewChannel[string, string](t, "items")
	topology.Process(t, "split", orders, func(_ *topology.Context, order topology.Event[string, string], emit func(string)) error {
		for item := range strings.FieldsSeq(order.Value) {
			emit(item)
		}
		return nil
	}).AddSink(topology.SinkChannel(items))
	topology.Each(t, "pack", items, func(_ *topology.Context, item topology.Event[string, string]) error {
		fmt.Println(item.Key, item.Value)
		return nil
	})
	tb := &example{}
	defer tb.end()
	topologytest.Pipe(topologytest.New(tb, t), orders, "ann", "chair table")
	// Output:
	// ann chair
	// ann table
}

// A producer that sends payments twice, under the number of the order: each is counted once a day.
func ExampleDistinct() {
	t, payments := bank()
	seen := topology.NewSetTable(t, "seen", codec.String, codec.Int64, topology.TTL(24*time.Hour, topology.EventTime))
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	once := topology.Distinct(topology.From(payments), seen, func(p payment) int64 { return p.Value })
	topology.Count(topology.GroupByKey(once), counts)

	d := drive(t)
	for _, order := range []int64{7, 8, 7} {
		topologytest.Pipe(d, payments, "Ann", order)
	}
	fmt.Println(topologytest.Table(d, counts))
	// Output: map[Ann:2]
}

// A service that takes no more than two payments a second is called no faster: in each partition.
func ExampleThrottle() {
	t, payments := bank()
	booked := topology.NewTopic(t, "booked", codec.String, codec.Int64)
	topology.To(topology.From(topology.Throttle(payments, 2, time.Second)), booked)

	d := drive(t)
	for amount := range int64(3) {
		topologytest.Pipe(d, payments, "Ann", amount)
	}
	fmt.Println(len(topologytest.Read(d, booked)))
	d.Advance(time.Second)
	fmt.Println(len(topologytest.Read(d, booked)))
	// Output:
	// 2
	// 3
}

// Each payment is checked by a service that takes its time: ten at once, in each partition.
func ExampleMapAsync() {
	t, payments := bank()
	checked := topology.NewTopic(t, "checked", codec.String, codec.String)
	check := func(_ context.Context, p payment) (string, error) { return fmt.Sprint(p.Value, " is fine"), nil } // it asks the service
	topology.To(topology.MapAsync(topology.From(payments), 10, check), checked)

	d := drive(t)
	topologytest.Pipe(d, payments, "Ann", 5)
	topologytest.Pipe(d, payments, "Ann", 7)
	fmt.Print(recordsOf(d, checked))
	// Output:
	// Ann 5 is fine
	// Ann 7 is fine
}
