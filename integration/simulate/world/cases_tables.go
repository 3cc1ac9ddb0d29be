package world

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

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

// What the entries of the case expiry live for, and how late its records are at most, in milliseconds.
const (
	entryLife = 4000
	latest    = 9000
)

// expiry counts by key in a table whose entries expire by the times of records, some of which are late, and finds them by an index.
func expiry() *Case {
	lives := func(n int64) int64 { // every third write says for itself
		if n%3 == 0 {
			return entryLife / 2
		}
		return entryLife
	}
	return &Case{
		Name: "expiry", Compaction: 200,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("expiry")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64, topology.TTL(entryLife*time.Millisecond, topology.EventTime), topology.Local())
			odd := topology.NewIndex(counts, "odd", func(_ string, n int64) bool { return n%2 == 1 }, codec.JSON[bool]())
			topology.Each(t, "count", in, func(ctx *topology.Context, e event) error {
				n, _, err := counts.Get(ctx, e.Key)
				if err != nil {
					return err
				}
				if n++; n%3 == 0 {
					counts.SetTTL(ctx, e.Key, n, entryLife/2*time.Millisecond)
				} else {
					counts.Set(ctx, e.Key, n)
				}
				counts.Update(ctx, e.Key+"?", func(int64, bool) (int64, error) { return n, h.Fate("update", e.Value) })
				counts.Delete(ctx, e.Key+"?")
				found := []string{}
				for key := range odd.Lookup(ctx, true) {
					found = append(found, key)
				}
				size, err := counts.Len(ctx)
				out.Send(ctx, e.Key, fmt.Sprintf("%s %d of %d, odd %v", e.Value, n, size, found))
				return errors.Join(err, h.Turn(ctx, "count", e.Value))
			}, topology.Writes(counts), topology.Sends(out))
			return t
		},
		Input: someInput,
		At:    someTime,
		Check: func(o *Oracle) error {
			type row struct{ n, expires int64 }
			clocks, rows := map[int32]int64{}, map[int32]map[string]row{}
			purge := func(p int32) {
				maps.DeleteFunc(rows[p], func(_ string, x row) bool { return x.expires <= clocks[p] })
			}
			var want []Record
			for _, r := range o.good() {
				p := r.Partition
				if rows[p] == nil {
					rows[p] = map[string]row{}
				}
				clocks[p] = max(clocks[p], r.At)
				purge(p)
				n := rows[p][r.Key].n + 1
				rows[p][r.Key] = row{n, r.At + lives(n)}
				purge(p)
				odd := []string{}
				for key, x := range rows[p] {
					if x.n%2 == 1 {
						odd = append(odd, key)
					}
				}
				slices.Sort(odd)
				want = append(want, Record{Key: r.Key, Value: fmt.Sprintf("%s %d of %d, odd %v", r.Value, n, len(rows[p]), odd)})
			}
			if err := o.inOrder("out", want, nil); err != nil {
				return err
			}
			left := map[string]int64{}
			for _, of := range rows {
				for key, x := range of {
					left[key] = x.n
				}
			}
			return o.table("counts", encoded(left))
		},
	}
}

// lapse counts by key in a table whose entries expire by the wall clock.
func lapse() *Case {
	return &Case{
		Name: "lapse",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("lapse")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64, topology.TTL(500*time.Millisecond, topology.WallTime))
			topology.Each(t, "count", in, func(ctx *topology.Context, e event) error {
				n, _, err := counts.Get(ctx, e.Key)
				if err != nil {
					return err
				}
				counts.Set(ctx, e.Key, n+1)
				out.Send(ctx, e.Key, fmt.Sprintf("%d %s", n+1, e.Value))
				return h.Turn(ctx, "count", e.Value)
			}, topology.Writes(counts), topology.Sends(out))
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			// When entries have expired is the clocks' business. A count goes on, or begins again; and the table knows the last, or nothing.
			last := map[string]int64{}
			var ids []Record
			for _, r := range o.Committed("out") {
				count, id, _ := strings.Cut(r.Value, " ")
				n, err := strconv.ParseInt(count, 10, 64)
				if err != nil {
					return err
				}
				switch n {
				case last[r.Key] + 1:
				case 1:
					o.Saw(sawLapse)
				default:
					return fmt.Errorf("topic out: key %s is counted to %d after %d", r.Key, n, last[r.Key])
				}
				last[r.Key] = n
				ids = append(ids, Record{Key: r.Key, Value: id})
			}
			if err := compare("topic out", byKey(o.good()), byKey(ids)); err != nil {
				return err
			}
			for _, rows := range o.image("counts") {
				for key, b := range rows {
					if n, err := codec.Int64.Decode([]byte(b)); err != nil || n != last[key] {
						return fmt.Errorf("table counts: key %s has %d, and was counted to %d: %w", key, n, last[key], err)
					}
				}
			}
			return nil
		},
	}
}

// byKey is the values of records by their keys, in order.
func byKey(records []Record) map[string][]string {
	all := map[string][]string{}
	for _, r := range records {
		all[r.Key] = append(all[r.Key], r.Value)
	}
	return all
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
