package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// sets adds to sets, removes from them and empties them, and reads what they hold.
func sets() *Case {
	return &Case{
		Name: "sets",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("sets")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			set := topology.NewSetTable(t, "set", codec.String, codec.String)
			topology.Each(t, "keep", in, func(ctx *topology.Context, e event) error {
				f := strings.Fields(e.Value) // id, what, element
				switch f[1] {
				case "add":
					set.Add(ctx, e.Key, f[2])
				case "remove":
					set.Remove(ctx, e.Key, f[2])
				default:
					set.Clear(ctx, e.Key)
				}
				var all []string
				for element := range set.Elements(ctx, e.Key) {
					all = append(all, element)
				}
				n, err := set.Len(ctx, e.Key)
				if err != nil {
					return err
				}
				out.Send(ctx, e.Key, fmt.Sprintf("%s %d %v", f[0], n, all))
				return h.Turn(ctx, "keep", e.Value)
			}, topology.Writes(set), topology.Sends(out))
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			key, id := someInput(r, i)
			what := []string{"add", "add", "add", "remove", "remove", "clear"}[r.IntN(6)]
			return key, fmt.Sprintf("%s %s %s", id, what, word(r, 6))
		},
		Check: func(o *Oracle) error {
			all := map[string][]string{} // sorted
			var want []Record
			for _, r := range o.good() {
				f := strings.Fields(r.Value)
				set := all[r.Key]
				switch f[1] {
				case "add":
					set = with(set, f[2])
				case "remove":
					set = without(set, f[2])
				default:
					set = nil
				}
				all[r.Key] = set
				want = append(want, Record{Key: r.Key, Value: fmt.Sprintf("%s %d %v", f[0], len(set), set)})
			}
			if err := o.inOrder("out", want, nil); err != nil {
				return err
			}
			rows := map[string]string{}
			for key, set := range all {
				for _, element := range set {
					rows[string(rune(len(key)))+key+element] = ""
				}
			}
			return o.table("set", rows)
		},
	}
}

// with is a sorted set with an element, without one without it; the set that is given stays.
func with(set []string, element string) []string {
	all := append(without(set, element), element)
	slices.Sort(all)
	return all
}

func without(set []string, element string) []string {
	return slices.DeleteFunc(slices.Clone(set), func(x string) bool { return x == element })
}
