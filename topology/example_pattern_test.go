package topology_test

import (
	"fmt"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func ExampleNewTopicPattern() {
	t := topology.New("shop")
	orders := topology.NewTopicPattern(t, "orders", `orders\..+`, codec.String, codec.Float64)
	totals := topology.NewTable(t, "totals", codec.String, codec.Float64)
	topology.Each(t, "print", orders, func(_ *topology.Context, ev topology.Event[string, float64]) error {
		fmt.Println(ev.Topic(), ev.Key, ev.Value)
		return nil
	})
	byCustomer := topology.Repartition(topology.From(orders), "by-customer", 4) // state is kept behind a topic of the topology's own
	topology.Reduce(topology.GroupByKey(byCustomer), totals, func(x, y float64) float64 { return x + y })

	tb := &example{}
	defer tb.end()
	d := topologytest.New(tb, t)
	topologytest.PipeMatching(d, orders, "orders.eu", "ann", 10)
	topologytest.PipeMatching(d, orders, "orders.us", "ann", 5.5) // it appears while the topology runs
	fmt.Println(topologytest.Table(d, totals))
	// Output:
	// orders.eu ann 10
	// orders.us ann 5.5
	// map[ann:15.5]
}
