package world

import (
	"strings"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// routes splits a flow, sends one branch to two topics and the other through two more, one of them with partitions of another number, to where it is counted.
func routes() *Case {
	isOdd := func(value string) bool {
		return strings.ContainsAny(strings.TrimSuffix(value, poison)[len(value)-1-strings.Count(value, poison):], "13579")
	}
	pick := func(in []Record, odd bool) (out []Record) {
		for _, r := range in {
			if isOdd(r.Value) == odd {
				out = append(out, r)
			}
		}
		return out
	}
	return &Case{
		Name: "routes", Agents: 2,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("routes")
			in, one, two, mid := topicOf(t, "in"), topicOf(t, "one"), topicOf(t, "two"), topicOf(t, "mid")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			flow := topology.Peek(topology.From(in), func(e event) {
				if err := h.Fate("route", e.Value); err != nil {
					panic(err)
				}
			})
			branches := topology.Branch(flow, func(e event) bool { return isOdd(e.Value) })
			topology.Echo(branches[0], []*strings2{one, two})
			wide := topology.Repartition(topology.Through(branches[1], mid), "wide", 3)
			topology.Count(topology.GroupByKey(wide), counts)
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			odd, even := pick(o.good(), true), pick(o.good(), false)
			for _, topic := range []string{"one", "two"} {
				if err := o.inOrder(topic, odd, nil); err != nil {
					return err
				}
			}
			if err := o.inOrder("mid", even, nil); err != nil {
				return err
			}
			return o.table("counts", counted(even))
		},
	}
}
