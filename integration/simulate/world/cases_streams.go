package world

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// timeOf is the event time of a record, by its number.
func timeOf(e event) time.Time {
	n := strings.TrimSuffix(strings.TrimPrefix(e.Value, "r"), poison)
	i, err := strconv.ParseInt(n, 10, 64)
	if err != nil {
		panic(err)
	}
	return time.UnixMilli(i * 1000)
}

// sources spreads records over two topics, which an agent and a merged flow read both of; they have times of their own. Another agent starts at the end of one of them.
func sources() *Case {
	isOdd := func(value string) bool { return strings.ContainsAny(value[len(value)-1:], "13579") }
	return &Case{
		Name: "sources",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("sources")
			in, all, out, late := topicOf(t, "in"), topicOf(t, "all"), topicOf(t, "out"), topicOf(t, "late")
			odd := topology.NewTopic(t, "odd", codec.String, codec.String, topology.TimestampExtractor(timeOf))
			even := topology.NewTopic(t, "even", codec.String, codec.String, topology.TimestampExtractor(timeOf))
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			fails := func(where, value string) {
				if err := h.Fate(where, value); err != nil {
					panic(err)
				}
			}
			flow := topology.Peek(topology.From(in), func(e event) { fails("split", e.Value) })
			branches := topology.Branch(flow, func(e event) bool { return isOdd(e.Value) })
			topology.To(branches[0], odd)
			topology.To(branches[1], even)
			topology.EachRow(t, "count", topology.Sources(odd, even), counts, func(ctx *topology.Context, e event, row *topology.Row[int64]) error {
				n, _ := row.Get()
				row.Set(n + 1)
				out.Send(ctx, e.Key, e.Value)
				if at := timeOf(e); !e.Timestamp().Equal(at) {
					h.s.Fail(fmt.Errorf("record %s has the time %v, and should have %v", e.Value, e.Timestamp(), at))
				}
				return h.Fate("count", e.Value)
			}, topology.Sends(out))
			topology.Each(t, "late", even, func(ctx *topology.Context, e event) error {
				late.Send(ctx, e.Key, e.Value)
				return h.Turn(ctx, "late", e.Value)
			}, topology.Sends(late), topology.StartAt(topology.Latest))
			primed := topology.Map(topology.From(odd), func(v string) string { return v + "'" })
			merged := topology.Merge(topology.From(odd), topology.From(even), primed)
			topology.To(topology.Peek(merged, func(e event) { fails("merge", e.Value) }), all)
			return t
		},
		Input: someInput, Agents: 2,
		Check: func(o *Oracle) error {
			halves := func(in []Record, prime bool) map[string][]string {
				got := map[string][]string{}
				for _, r := range in {
					half := r.Key + " even"
					if isOdd(strings.TrimSuffix(r.Value, "'")) {
						half = r.Key + " odd"
					}
					if got[half] = append(got[half], r.Value); prime && half == r.Key+" odd" {
						got[half] = append(got[half], r.Value+"'")
					}
				}
				return got
			}
			if err := compare("topic out", halves(o.good(), false), halves(o.Committed("out"), false)); err != nil {
				return err
			}
			if err := compare("topic all", halves(o.good(), true), halves(o.Committed("all"), false)); err != nil {
				return err
			}
			late, even := halves(o.Committed("late"), false), halves(o.Committed("even"), false)
			for key, got := range late { // from its first record on it has left out none
				if want := even[key]; len(got) > len(want) || !slices.Equal(got, want[len(want)-len(got):]) {
					return fmt.Errorf("topic late: %s has %v, which is not the end of %v", key, got, want)
				}
			}
			return o.table("counts", counted(o.good()))
		},
	}
}
