package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// foreign sends each record on to one of two topics, which are read as tables. Rows of the left one name rows of the right one, other ones
// with each change, and are joined with them in both ways.
func foreign() *Case {
	return &Case{
		Name: "foreign",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("foreign")
			in, left, right := topicOf(t, "in"), topicOf(t, "left"), topicOf(t, "right")
			pairs := topicOf(t, "pairs")
			topology.Each(t, "route", in, func(ctx *topology.Context, e event) error {
				to, key := left, e.Key
				if strings.HasPrefix(e.Value, "R") {
					to, key = right, e.Key[:2]
				}
				if strings.HasSuffix(e.Value, deleted) {
					to.Delete(ctx, key)
				} else {
					to.Send(ctx, key, e.Value)
				}
				return h.Turn(ctx, "route", e.Value)
			}, topology.Sends(left, right))
			lefts, rights := topology.TableFrom(t, "lefts", left), topology.TableFrom(t, "rights", right)
			inner, outer := topology.NewTable(t, "inner", codec.String, codec.String), topology.NewTable(t, "outer", codec.String, codec.String)
			topology.JoinForeign(lefts, rights, inner, func(_, l string) (string, bool) {
				fated(h, "inner key", l)
				return named(l)
			}, func(l, r string) string { return pair(h, "inner", l, true, r, true) })
			topology.LeftJoinForeign(lefts, rights, outer, func(_, l string) (string, bool) {
				fated(h, "outer key", l)
				return named(l)
			}, func(l, r string, ok bool) string { return pair(h, "outer", l, true, r, ok) })
			topology.To(topology.ToStream(outer), pairs)
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			key, value = someInput(r, i)
			value = string("LLR"[r.IntN(3)]) + value
			if !isBad(value) && r.IntN(5) == 0 {
				value += deleted
			}
			return key, value
		},
		Check: checkForeign,
	}
}

// named is the key that a left row names; some name none.
func named(l string) (string, bool) {
	n := int(l[len(l)-1] - '0')
	return fmt.Sprintf("k%d", n%4), n > 0
}

// checkForeign: the tables are what comes of the last rows of both sides. On the way there, each result is one of the left row as it was then, none
// of which comes back, and of the right row as it was, in order.
func checkForeign(o *Oracle) error {
	lefts, rights := versions(o.Committed("left")), versions(o.Committed("right"))
	inner, outer := map[string]string{}, map[string]string{}
	for key, all := range lefts {
		l := last(all)
		if l == none {
			continue
		}
		r := none
		if f, ok := named(l); ok {
			r = last(rights[f])
		}
		if outer[key] = l + " " + r; r != none {
			inner[key] = l + " " + r
		}
	}
	for key, results := range values(o.Committed("pairs")) {
		l, r := -1, -1
		for i, result := range results {
			f := strings.Fields(result)
			if len(f) == 0 {
				continue // a tombstone
			}
			x := slices.Index(lefts[key], f[0])
			to, _ := named(f[0])
			y := slices.Index(rights[to], f[1])
			if x < 0 || x < l || f[1] != none && (y < 0 || x == l && y < r) {
				return fmt.Errorf("topic pairs, key %s: result %d is %s, of left rows %v and right rows %v of %s; all: %q", key, i, result, lefts[key], rights[to], to, results)
			}
			if x > l {
				r = -1
			}
			if l = x; f[1] != none {
				r = y
			}
		}
		if want := outer[key]; last(results) != want {
			return fmt.Errorf("topic pairs, key %s: the last result is %q, should be %q", key, last(results), want)
		}
	}
	if err := o.table("outer", outer); err != nil {
		return err
	}
	return o.table("inner", inner)
}
