package actors

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
)

// TestProgressModel holds progress against a plain set of offsets, and its way through the metadata of a committed offset.
func TestProgressModel(t *testing.T) {
	t.Parallel()
	const most = 40
	rapid.Check(t, func(t *rapid.T) {
		p, model := progress{}, map[int64]bool{}
		for range rapid.IntRange(0, 15).Draw(t, "adds") {
			from := rapid.Int64Range(0, most).Draw(t, "from")
			to := rapid.Int64Range(0, most).Draw(t, "to")
			fresh := false
			for at := from; at < to; at++ {
				fresh = fresh || !model[at]
				model[at] = true
			}
			before := p.clone()
			changed := p.add(from, to)
			if fresh {
				require.True(t, changed, "add(%d, %d) to %v says that nothing changed", from, to, before)
			}
			if !fresh {
				require.Equal(t, before.upTo, p.upTo)
			}
			sameProgress(t, model, p, most)
		}
		committed := rapid.Int64Range(0, p.upTo).Draw(t, "committed")
		meta := kafka.Meta{Seq: 7, Agents: map[string]kafka.Ahead{"a": p.ahead(committed)}}
		back, err := kafka.ParseMeta(meta.Encode())
		require.NoError(t, err)
		require.Equal(t, int64(7), kafka.SeqOf(meta.Encode()))
		again := progressOf(back.Agents["a"], committed)
		require.Equal(t, p.upTo, again.upTo)
		require.ElementsMatch(t, p.beyond, again.beyond)
	})
}

func sameProgress(t *rapid.T, model map[int64]bool, p progress, most int64) {
	t.Helper()
	for at := range most {
		require.Equal(t, model[at], p.has(at), "offset %d of %v", at, p)
	}
	require.False(t, p.has(p.upTo), "upTo is done in %v", p)
	last := p.upTo
	for _, r := range p.beyond {
		require.Greater(t, r.from, last, "%v: not sorted, or not apart", p)
		require.Greater(t, r.to, r.from, "%v: an empty range", p)
		last = r.to
	}
}

// A clone shares nothing with the original.
func TestProgressClone(t *testing.T) {
	t.Parallel()
	p := progress{upTo: 1, beyond: []offsets{{3, 4}, {6, 7}}}
	q := p.clone()
	p.add(1, 7)
	require.Equal(t, progress{upTo: 1, beyond: []offsets{{3, 4}, {6, 7}}}, q)
	require.Equal(t, int64(7), p.upTo)
}
