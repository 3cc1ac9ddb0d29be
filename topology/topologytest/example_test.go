package topologytest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func wordcount() *topology.Topology {
	t := topology.New("wordcount")
	lines := topology.NewTopic(t, "lines", codec.String, codec.String)
	words := topology.NewTopic(t, "words", codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)

	topology.Agent(t, "split", lines, func(ctx *topology.Context, in topology.Stream[string, string]) error {
		for line := range in.All() { // an ordinary Go iterator; one record's effects per turn
			for w := range strings.FieldsSeq(line.Value) {
				words.Send(ctx, w, "")
			}
		}
		return nil
	}, topology.Sends(words))
	topology.Each(t, "count", words, func(ctx *topology.Context, w topology.Event[string, string]) error {
		counts.Update(ctx, w.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(counts))
	return t
}

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

// In a test, t is its *testing.T.
func Example() {
	t := &example{}
	defer t.end()

	topo := wordcount()
	d := topologytest.New(t, topo)
	lines := topology.TopicOf[string, string](topo, "lines")
	topologytest.Pipe(d, lines, "", "to be or")
	d.Crash()
	topologytest.Pipe(d, lines, "", "not to be")

	counts := topologytest.Table(d, topology.TableOf[string, int64](topo, "counts"))
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		fmt.Println(w, counts[w])
	}
	// Output:
	// be 2
	// not 1
	// or 1
	// to 2
}

// Orders get the names of their customers from a copy of a topic that every node has: no partitioning by customer is needed.
func ExampleDriver_globalTable() {
	topo := topology.New("shop")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.String) // order to customer
	named := topology.NewTopic(topo, "named-orders", codec.String, codec.String)
	customers := topology.NewTopic(topo, "customers", codec.String, codec.String)
	global := topology.NewGlobalTable(topo, "customers", customers)
	customer := func(o topology.Event[string, string]) (string, bool) { return o.Value, true }
	topology.To(topology.JoinGlobal(topology.From(orders), global, customer, func(_, name string) string { return name }), named)

	t := &example{}
	defer t.end()
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, customers, "c7", "Ada")
	topologytest.Pipe(d, orders, "o1", "c7")
	topologytest.Pipe(d, orders, "o2", "c8")
	for _, o := range topologytest.Read(d, named) {
		fmt.Println(o.Key, o.Value)
	}
	// Output: o1 Ada
}
