package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/troupe-stream/troupe/integration/chaos/work"
)

// detailLines bounds what is said of one kind of fault.
const detailLines = 8

// verdict is what a comparison has found.
type verdict struct {
	Compared  int64    `json:"compared"`  // records and rows
	Lost      int64    `json:"lost"`      // that should be there and are not
	Doubled   int64    `json:"doubled"`   // that are there and should not
	Disorder  int64    `json:"disorder"`  // keys whose records are all there in another order
	Wrong     int64    `json:"wrong"`     // rows and statements with another value than the fold's
	Unmatched int64    `json:"unmatched"` // transfers of which only one posting is there
	Letters   int64    `json:"letters"`   // records that were given up, and should not
	Details   []string `json:"details,omitempty"`
}

// clean says whether nothing is wrong.
func (v *verdict) clean() bool {
	return v.Lost+v.Doubled+v.Disorder+v.Wrong+v.Unmatched+v.Letters == 0
}

func (v *verdict) say(format string, args ...any) {
	if len(v.Details) < 5*detailLines {
		v.Details = append(v.Details, fmt.Sprintf(format, args...))
	}
}

// counts compares numbers by key.
func (v *verdict) counts(what string, want, got map[string]int64) {
	said := 0
	for _, k := range union(want, got) {
		w, g := want[k], got[k]
		v.Compared += w
		v.Lost, v.Doubled = v.Lost+max(w-g, 0), v.Doubled+max(g-w, 0)
		if said++; w != g && said < detailLines {
			v.say("%s: %q is there %d times, not %d", what, k, g, w)
		} else if w == g {
			said--
		}
	}
}

// lists compares sequences by key: as multisets, and where those are equal, their order.
func lists[T comparable](v *verdict, what string, want, got map[string][]T) {
	said := 0
	for _, k := range union(want, got) {
		w, g := want[k], got[k]
		v.Compared += int64(len(w))
		if slices.Equal(w, g) {
			continue
		}
		lost, doubled := difference(w, g)
		v.Lost, v.Doubled = v.Lost+int64(len(lost)), v.Doubled+int64(len(doubled))
		if len(lost)+len(doubled) == 0 {
			v.Disorder++
		}
		if said++; said < detailLines {
			v.say("%s: key %q has %d records, not %d: lost %v, doubled %v, first difference at %d", what, k, len(g), len(w), few(lost), few(doubled), differ(w, g))
		}
	}
}

// rows compares tables by key.
func rows[T comparable](v *verdict, what string, want, got map[string]T) {
	said := 0
	for _, k := range union(want, got) {
		w, inWant := want[k]
		g, inGot := got[k]
		v.Compared++
		if inWant && inGot && w == g {
			continue
		}
		v.Wrong++
		if said++; said < detailLines {
			v.say("%s: %q is %v (there: %t), not %v (there: %t)", what, k, g, inGot, w, inWant)
		}
	}
}

func union[V any](a, b map[string]V) []string {
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// difference of two multisets.
func difference[T comparable](want, got []T) (lost, doubled []T) {
	n := map[T]int{}
	for _, x := range want {
		n[x]++
	}
	for _, x := range got {
		if n[x]--; n[x] < 0 {
			doubled = append(doubled, x)
			n[x] = 0
		}
	}
	for _, x := range want {
		if n[x] > 0 {
			lost = append(lost, x)
			n[x]--
		}
	}
	return lost, doubled
}

func few[T any](x []T) string {
	if len(x) > 5 {
		return fmt.Sprintf("%v and %d more", x[:5], len(x)-5)
	}
	return fmt.Sprint(x)
}

func differ[T comparable](a, b []T) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// outputs compares everything that nodes have written to topics with what a plain fold of the input makes.
func (a *audit) outputs() *verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := new(verdict)
	if a.err != nil {
		v.Wrong++
		v.say("%v", a.err)
	}
	for _, s := range subjects() {
		s.compare(a, v)
	}
	v.Letters = int64(len(a.deadLetters))
	for _, l := range a.deadLetters[:min(len(a.deadLetters), detailLines)] {
		v.say("given up: %s", l)
	}
	return v
}

// troubles checks that each order is served once by each agent, in order per key, or else is one dead letter of that agent.
func (a *audit) troubles(v *verdict) {
	for agent, topic := range map[string]string{work.Serve: "served", work.Keyed: "keyed"} {
		done, given := map[string][]int64{}, map[string]int64{}
		for key, ids := range a.orders {
			for _, id := range ids {
				if work.Poison(agent, id) {
					given[strconv.FormatInt(id, 10)]++
				} else {
					done[key] = append(done[key], id)
				}
			}
		}
		lists(v, "topic "+topic, done, a.results[topic])
		got := map[string]int64{}
		for id, n := range a.poisoned[agent] {
			got[strconv.FormatInt(id, 10)] = n
		}
		v.counts("dead letters of agent "+agent, given, got)
	}
	for _, l := range a.letterFrom {
		if at := a.ordersAt[l.id]; at != l.from {
			v.Wrong++
			v.say("the dead letter of order %d says it is %s, and it is %s", l.id, l.from, at)
		}
	}
}

// ledger checks postings and statements: the multiset of postings is that of the transfers; for one account they are in the
// order of the transfers of one partition; statements are the fold of the account's postings.
func (a *audit) ledger(v *verdict) {
	want := map[string]map[work.Posting]int64{}
	for _, o := range a.transfers {
		for account, p := range o.transfer.Postings() {
			if want[account] == nil {
				want[account] = map[work.Posting]int64{}
			}
			want[account][p]++
		}
	}
	for _, account := range union(want, countAll(a.postings)) {
		flat := map[string]int64{}
		got := map[string]int64{}
		for p, n := range want[account] {
			flat[fmt.Sprintf("%s, transfer %d: %+d", account, p.ID, p.Amount)] = n
		}
		for _, p := range a.postings[account] {
			got[fmt.Sprintf("%s, transfer %d: %+d", account, p.ID, p.Amount)]++
		}
		v.counts("topic postings", flat, got)
	}
	for account, list := range a.postings {
		last := map[int32]int64{}
		for _, p := range list {
			o := a.transfers[p.ID]
			if before, ok := last[o.partition]; ok && o.offset < before {
				v.Disorder++
				v.say("topic postings: account %s: transfer %d comes after a later one of its partition", account, p.ID)
				break
			}
			last[o.partition] = o.offset
		}
	}
	v.Unmatched = int64(len(a.halves))
	for id, sum := range a.halves {
		v.say("transfer %d sums to %d", id, sum)
	}
	statements := map[string][]work.Statement{}
	for account, list := range a.postings {
		var b work.Balance
		for _, p := range list {
			b = b.Add(p)
			statements[account] = append(statements[account], work.Statement{ID: p.ID, Balance: b})
		}
	}
	lists(v, "topic statements", statements, a.statements)
}

func countAll(postings map[string][]work.Posting) map[string]map[work.Posting]int64 {
	out := map[string]map[work.Posting]int64{}
	for account := range postings {
		out[account] = nil
	}
	return out
}
