package world

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// deleted marks a record that deletes its row.
const deleted = "-"

// none is how results show a row that is missing.
const none = "none"

// joins sends each record on to one of two topics, which are joined as flow with table and as two tables.
func joins() *Case {
	return &Case{
		Name: "joins",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("joins")
			in, left, right := topicOf(t, "in"), topicOf(t, "left"), topicOf(t, "right")
			joined, pairs := topicOf(t, "joined"), topicOf(t, "pairs")
			topology.Each(t, "route", in, func(ctx *topology.Context, e event) error {
				to := left
				if strings.HasPrefix(e.Value, "R") {
					to = right
				}
				if strings.HasSuffix(e.Value, deleted) {
					to.Delete(ctx, e.Key)
				} else {
					to.Send(ctx, e.Key, e.Value)
				}
				return h.Turn(ctx, "route", e.Value)
			}, topology.Sends(left, right))
			lefts, rights := topology.TableFrom(t, "lefts", left), topology.TableFrom(t, "rights", right)
			both := topology.NewTable(t, "both", codec.String, codec.String)
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			flow := topology.LeftJoin(topology.From(left), rights, func(l, r string, ok bool) string { return pair(h, "flow", l, true, r, ok) })
			topology.To(flow, joined)
			topology.Count(topology.GroupByKey(flow), counts)
			topology.OuterJoinTables(lefts, rights, both, func(l string, hasLeft bool, r string, hasRight bool) string {
				return pair(h, "tables", l, hasLeft, r, hasRight)
			})
			topology.To(topology.ToStream(both), pairs)
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			key, value = someInput(r, i)
			value = string("LR"[r.IntN(2)]) + value
			if !isBad(value) && r.IntN(4) == 0 {
				value += deleted
			}
			return key, value
		},
		Check: checkJoins,
	}
}

// pair shows two rows, unless luck is bad.
func pair(h *Hooks, where, l string, hasLeft bool, r string, hasRight bool) string {
	text := shown(l, hasLeft) + " " + shown(r, hasRight)
	if err := h.Fate(where, text); err != nil {
		panic(err)
	}
	return text
}

func shown(s string, ok bool) string {
	if !ok {
		return none
	}
	return s
}

// checkJoins: the topics between hold what was sent. How the two interleave is not known, but each result must come from some order of
// them, all must, and the tables must hold what comes of their last values.
func checkJoins(o *Oracle) error {
	lefts, rights, live := versions(o.Committed("left")), versions(o.Committed("right")), []Record{}
	n := 0
	for _, v := range []map[string][]string{lefts, rights} {
		for _, all := range v {
			n += len(all)
		}
	}
	if sent := len(o.good()); n != sent {
		return fmt.Errorf("topics left and right have %d records, sent were %d", n, sent)
	}
	for _, r := range o.Committed("left") {
		if !r.Tombstone {
			live = append(live, r)
		}
	}
	if err := o.table("counts", counted(live)); err != nil {
		return err
	}
	joined, pairs, both := values(o.Committed("joined")), values(o.Committed("pairs")), map[string]string{}
	keys := maps.Clone(lefts)
	maps.Copy(keys, rights)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if err := walk(lefts[key], rights[key], joined[key], true); err != nil {
			return fmt.Errorf("topic joined, key %s: %w", key, err)
		}
		if err := walk(lefts[key], rights[key], pairs[key], false); err != nil {
			return fmt.Errorf("topic pairs, key %s: %w", key, err)
		}
		l, r := last(lefts[key]), last(rights[key])
		if l != none || r != none {
			both[key] = l + " " + r
		}
	}
	return o.table("both", both)
}

// versions are the values of each key, one after the other.
func versions(records []Record) map[string][]string {
	all := map[string][]string{}
	for _, r := range records {
		all[r.Key] = append(all[r.Key], shown(r.Value, !r.Tombstone))
	}
	return all
}

// values is versions of results, with an empty one for a tombstone.
func values(records []Record) map[string][]string {
	all := map[string][]string{}
	for _, r := range records {
		all[r.Key] = append(all[r.Key], r.Value)
	}
	return all
}

func last(versions []string) string {
	if len(versions) == 0 {
		return none
	}
	return versions[len(versions)-1]
}

// walk checks that there is an order of the versions of both sides that makes exactly these results: as a flow's with a table, or as an
// outer join of tables.
func walk(lefts, rights, results []string, flow bool) error {
	type at struct{ l, r int } // how many versions of each side have been
	value := func(all []string, n int) string { return last(all[:n]) }
	var visit func(x at, n int) bool
	tried := map[[3]int]bool{}
	visit = func(x at, n int) bool {
		if x.l == len(lefts) && x.r == len(rights) {
			return n == len(results)
		}
		key := [3]int{x.l, x.r, n}
		if tried[key] {
			return false
		}
		tried[key] = true
		step := func(y at, makes string, silent bool) bool {
			if silent {
				return visit(y, n)
			}
			return n < len(results) && results[n] == makes && visit(y, n+1)
		}
		if x.l < len(lefts) {
			l, r, before := lefts[x.l], value(rights, x.r), value(lefts, x.l)
			y := at{x.l + 1, x.r}
			if flow && step(y, l+" "+r, l == none) || !flow && step(y, both(l, r), l == none && r == none && before == none) {
				return true
			}
		}
		if x.r < len(rights) {
			l, r, before := value(lefts, x.l), rights[x.r], value(rights, x.r)
			y := at{x.l, x.r + 1}
			if flow && step(y, "", true) || !flow && step(y, both(l, r), l == none && r == none && before == none) {
				return true
			}
		}
		return false
	}
	if !visit(at{}, 0) {
		return fmt.Errorf("no order of %v and %v makes %q", lefts, rights, results)
	}
	return nil
}

// both is the result of an outer join: a tombstone where neither side has a row.
func both(l, r string) string {
	if l == none && r == none {
		return ""
	}
	return l + " " + r
}
