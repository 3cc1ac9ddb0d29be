package topology_test

import (
	"fmt"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// steps prints the agents of a topology.
func steps(t *topology.Topology) {
	p, err := t.Plan()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range p.Agents {
		fmt.Println(a.Name, a.Steps)
	}
}

type payment = topology.Event[string, int64]

func ExampleBranch() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64)
	branches := topology.Branch(topology.From(payments), func(p payment) bool { return p.Value > 1000 })
	topology.To(branches[0], topology.NewTopic(t, "large", codec.String, codec.Int64))
	topology.To(branches[1], topology.NewTopic(t, "others", codec.String, codec.Int64))
	steps(t)
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
	steps(t)
	// Output: copy [from payments echo to audit, fraud]
}

func ExampleThrough() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64)
	euros := topology.NewTopic(t, "euros", codec.String, codec.Int64) // others may read it, too
	cents := topology.Map(topology.From(payments), func(v int64) int64 { return v / 100 })
	topology.Count(topology.GroupByKey(topology.Through(cents, euros)), topology.NewTable(t, "counts", codec.String, codec.Int64))
	steps(t)
	// Output:
	// to-euros [from payments map to euros]
	// count-counts [from euros count into counts]
}

func ExampleRepartition() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64, topology.Partitions(2))
	wide := topology.Repartition(topology.From(payments), "wide", 16)
	topology.Count(topology.GroupByKey(wide), topology.NewTable(t, "counts", codec.String, codec.Int64))
	steps(t)
	// Output:
	// wide [from payments to shop-wide-repartition]
	// count-counts [from shop-wide-repartition count into counts]
}
