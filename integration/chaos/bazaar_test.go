package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/chaos/work"
	"github.com/troupe-stream/troupe/topology/codec"
)

// traded is a bazaar that has seen four lots of two goods, with all that comes of them.
func traded(t *testing.T) *bazaar {
	t.Helper()
	b := newBazaar()
	take := func(topic, key string, id int64) {
		value, err := codec.Int64.Append(nil, id)
		require.NoError(t, err)
		require.NoError(t, b.take(&kgo.Record{Topic: topic, Key: []byte(key), Value: value}))
	}
	for i, good := range []string{"a", "b", "a", "b"} {
		take("tariffs", good, int64(i+1))
	}
	part := work.Forget.Milliseconds() / 4
	b.lot("a", work.Lot{ID: 7, Tariff: 1}, 0, part)
	b.lot("b", work.Lot{ID: 9, Tariff: 2}, 0, 2*part)
	b.lot("a", work.Lot{ID: 14, Tariff: 3}, 0, 3*part)
	b.lot("b", work.Lot{ID: 16, Tariff: 4}, 0, 9*part) // all is forgotten
	take("pleas", "b", 9)
	take("pleas", "b", 9) // asked again
	take("caravan-1", "a", 7)
	b.sacks["sack-1"], b.sacks["sack-2"] = sack{1, true}, sack{2, false}
	for _, all := range b.want {
		for key, told := range all {
			for _, d := range told {
				tell(b.got, key, d)
			}
		}
	}
	tell(b.got, "sack-1", work.Deal{What: work.Unloaded, ID: 1})
	// The lots 7, 9 and 14 are of hall 1, 16 of none.
	for _, h := range []work.Hall{{N: 1, Sum: 7}, {N: 2, Sum: 16}, {N: 2, Sum: 23}, {N: 1, Sum: 14}} {
		tell(b.got, "hall-1", work.Deal{What: work.Crowded, N: h.N, ID: h.Sum})
	}
	for _, d := range []work.Deal{{ID: 5000}, {ID: 6000}, {ID: 9000, N: 2}} {
		d.What = work.Toll
		tell(b.got, work.Toll, d)
	}
	return &b
}

func TestNothingIsWrongWithARightBazaar(t *testing.T) {
	t.Parallel()
	b, v := traded(t), new(verdict)
	b.compare(v)
	require.True(t, v.clean(), v.Details)
	require.EqualValues(t, 4*4+2+2+1+1+4+3, v.Compared)
	require.Equal(t, []work.Deal{{What: work.Kept, ID: 7, N: 1, Found: 1}, {What: work.Kept, ID: 14, N: 2, Found: 1}}, b.want[work.Kept]["a"])
	require.Equal(t, []work.Deal{{What: work.Kept, ID: 9, N: 1, Found: 2}, {What: work.Kept, ID: 16, N: 1, Found: 1}}, b.want[work.Kept]["b"])
	tell(b.got, "sack-2", work.Deal{What: work.Unloaded, ID: 2}) // it was taken, though nobody was told
	b.compare(v)
	require.True(t, v.clean(), v.Details)
}

func TestEveryHarmOfABazaarIsSeen(t *testing.T) {
	t.Parallel()
	sack2 := work.Deal{What: work.Unloaded, ID: 2}
	for name, c := range map[string]struct {
		harm func(b *bazaar)
		want verdict
	}{
		"lot is tagged twice":         {func(b *bazaar) { tell(b.got, "a", b.got[work.Tagged]["a"][1]) }, verdict{Doubled: 1}},
		"lot is not tagged":           {func(b *bazaar) { delete(b.got[work.Tagged], "a") }, verdict{Lost: 2}},
		"tariff goes back":            {func(b *bazaar) { b.got[work.Tagged]["a"][0].N, b.got[work.Tagged]["a"][1].N = 3, 1 }, verdict{Wrong: 1}},
		"tariff of another good":      {func(b *bazaar) { b.got[work.Tagged]["a"][0].N = 2 }, verdict{Wrong: 1}},
		"copy is older than the lot":  {func(b *bazaar) { b.got[work.Looked]["a"][1].N = 1 }, verdict{Wrong: 1}},
		"not forgotten":               {func(b *bazaar) { b.got[work.Kept]["b"][1].N = 2 }, verdict{Lost: 1, Doubled: 1}},
		"not found by the index":      {func(b *bazaar) { b.got[work.Kept]["b"][0].Found = 1 }, verdict{Lost: 1, Doubled: 1}},
		"hall not told of":            {func(b *bazaar) { b.got[work.Crowded]["hall-1"] = b.got[work.Crowded]["hall-1"][:3] }, verdict{Lost: 1}},
		"row counted twice":           {func(b *bazaar) { tell(b.got, "hall-1", work.Deal{What: work.Crowded, N: 2, ID: 21}) }, verdict{Doubled: 1}},
		"sack lost":                   {func(b *bazaar) { delete(b.got[work.Unloaded], "sack-1") }, verdict{Lost: 1}},
		"sack doubled":                {func(b *bazaar) { tell(b.got, "sack-2", sack2); tell(b.got, "sack-2", sack2) }, verdict{Doubled: 1}},
		"sack from nowhere":           {func(b *bazaar) { tell(b.got, "sack-3", sack2) }, verdict{Doubled: 1}},
		"judged once, pleaded twice":  {func(b *bazaar) { b.got[work.Judged]["b"] = b.got[work.Judged]["b"][:1] }, verdict{Lost: 1}},
		"wrong judgement":             {func(b *bazaar) { b.got[work.Pleaded]["b"][0].N++ }, verdict{Lost: 1, Doubled: 1}},
		"caravan lost":                {func(b *bazaar) { delete(b.got, work.Arrived) }, verdict{Lost: 1}},
		"toll lost":                   {func(b *bazaar) { b.got[work.Toll][work.Toll][2].N = 1 }, verdict{Lost: 1}},
		"toll doubled":                {func(b *bazaar) { b.got[work.Toll][work.Toll][1].ID = 5000 }, verdict{Doubled: 1, Lost: 1}},
		"toll missed, though it came": {func(b *bazaar) { b.got[work.Toll][work.Toll][2].N = 3 }, verdict{Doubled: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, v := traded(t), new(verdict)
			c.harm(b)
			b.compare(v)
			require.False(t, v.clean())
			require.NotEmpty(t, v.Details)
			v.Details, v.Compared = nil, 0
			require.Equal(t, c.want, *v)
		})
	}
}
