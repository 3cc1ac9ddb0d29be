package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/integration/chaos/work"
)

// audited is an audit that has seen three transfers, two jobs and some words, all processed.
func audited() *audit {
	a := &audit{
		wantWords: map[string]int64{"a": 2, "b": 1}, gotWords: map[string]int64{"a": 2, "b": 1}, transfers: map[int64]origin{},
		postings: map[string][]work.Posting{}, halves: map[int64]int64{}, statements: map[string][]work.Statement{},
		jobs:    map[string][]int64{"j": {1, 2}, "k": {3}},
		results: map[string]map[string][]int64{},
		// 3 is poison to both agents, 4 to the table of one of them
		orders: map[string][]int64{"o": {3, 5, 6}, "p": {4, 7}}, ordersAt: map[int64]string{3: "orders/0@7"},
		poisoned: map[string]map[int64]int64{work.Serve: {3: 1, 4: 1}, work.Keyed: {3: 1}}, letterFrom: []letterOrigin{{3, "orders/0@7"}, {3, "orders/0@7"}},
	}
	a.results["served"] = map[string][]int64{"o": {5, 6}, "p": {7}}
	a.results["keyed"] = map[string][]int64{"o": {5, 6}, "p": {4, 7}}
	for _, topic := range []string{"quickly", "slowly", "gathered"} {
		a.results[topic] = map[string][]int64{"j": {1, 2}, "k": {3}}
	}
	for i, t := range []work.Transfer{{ID: 1, From: "x", To: "y", Amount: 5}, {ID: 2, From: "y", To: "z", Amount: 7}, {ID: 3, From: "x", To: "x", Amount: 9}} {
		a.transfers[t.ID] = origin{0, int64(i), t}
		for account, p := range t.Postings() {
			a.postings[account] = append(a.postings[account], p)
			n := len(a.statements[account])
			var b work.Balance
			if n > 0 {
				b = a.statements[account][n-1].Balance
			}
			a.statements[account] = append(a.statements[account], work.Statement{ID: p.ID, Balance: b.Add(p)})
		}
	}
	return a
}

func TestNothingIsWrongWithWhatIsRight(t *testing.T) {
	t.Parallel()
	v := audited().outputs()
	require.True(t, v.clean(), v.Details)
	require.EqualValues(t, 3+4+4+9+10, v.Compared)
}

func TestEveryHarmIsSeen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(a *audit)
		want verdict
	}{
		"word lost":              {func(a *audit) { a.gotWords["a"]-- }, verdict{Lost: 1}},
		"word doubled":           {func(a *audit) { a.gotWords["b"]++ }, verdict{Doubled: 1}},
		"word from nowhere":      {func(a *audit) { a.gotWords["c"]++ }, verdict{Doubled: 1}},
		"job lost":               {func(a *audit) { a.results["slowly"]["j"] = []int64{2} }, verdict{Lost: 1}},
		"job doubled":            {func(a *audit) { a.results["quickly"]["j"] = []int64{1, 1, 2} }, verdict{Doubled: 1}},
		"jobs out of order":      {func(a *audit) { a.results["gathered"]["j"] = []int64{2, 1} }, verdict{Disorder: 1}},
		"job of another key":     {func(a *audit) { a.results["gathered"]["k"] = []int64{2} }, verdict{Lost: 1, Doubled: 1}},
		"statement lost":         {func(a *audit) { a.statements["y"] = a.statements["y"][:1] }, verdict{Lost: 1}},
		"wrong balance":          {func(a *audit) { a.statements["z"][0].Amount++ }, verdict{Lost: 1, Doubled: 1}},
		"half a transfer":        {func(a *audit) { a.halves[2] = 7 }, verdict{Unmatched: 1}},
		"postings out of order":  {func(a *audit) { a.postings["y"][0], a.postings["y"][1] = a.postings["y"][1], a.postings["y"][0] }, verdict{Disorder: 1, Lost: 2, Doubled: 2}},
		"posting lost":           {func(a *audit) { a.postings["x"], a.statements["x"] = nil, nil }, verdict{Lost: 1}},
		"posting doubled":        {func(a *audit) { a.postings["z"] = append(a.postings["z"], a.postings["z"][0]) }, verdict{Doubled: 1, Lost: 1}},
		"record given up":        {func(a *audit) { a.deadLetters = []string{"one"} }, verdict{Letters: 1}},
		"order lost":             {func(a *audit) { a.results["served"]["o"] = []int64{6} }, verdict{Lost: 1}},
		"orders out of order":    {func(a *audit) { a.results["keyed"]["p"] = []int64{7, 4} }, verdict{Disorder: 1}},
		"poison is served":       {func(a *audit) { a.results["keyed"]["o"] = []int64{3, 5, 6} }, verdict{Doubled: 1}},
		"dead letter lost":       {func(a *audit) { delete(a.poisoned[work.Serve], 4) }, verdict{Lost: 1}},
		"dead letter doubled":    {func(a *audit) { a.poisoned[work.Keyed][3]++ }, verdict{Doubled: 1}},
		"dead letter of another": {func(a *audit) { a.letterFrom[1].from = "orders/0@8" }, verdict{Wrong: 1}},
		"record not understood":  {func(a *audit) { a.fault(errBusy) }, verdict{Wrong: 1}},
		"transfer never carried": {func(a *audit) { a.transfers[4] = origin{0, 4, work.Transfer{ID: 4, From: "x", To: "z", Amount: 1}} }, verdict{Lost: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := audited()
			c.harm(a)
			v := a.outputs()
			require.False(t, v.clean())
			require.NotEmpty(t, v.Details)
			v.Details, v.Compared = nil, 0
			require.Equal(t, c.want, *v)
		})
	}
}

func TestTablesDiffer(t *testing.T) {
	t.Parallel()
	v := new(verdict)
	rows(v, "t", map[string]int64{"a": 1, "b": 2, "c": 3}, map[string]int64{"a": 1, "b": 3, "d": 0})
	require.EqualValues(t, 3, v.Wrong, v.Details)
	require.EqualValues(t, 4, v.Compared)
}

func TestDifferenceOfMultisets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.IntRange(0, 5)).Draw(t, "want")
		got := rapid.SliceOf(rapid.IntRange(0, 5)).Draw(t, "got")
		lost, doubled := difference(want, got)
		require.ElementsMatch(t, append(append([]int{}, got...), lost...), append(append([]int{}, want...), doubled...))
		for _, x := range lost {
			require.NotContains(t, doubled, x)
		}
	})
}
