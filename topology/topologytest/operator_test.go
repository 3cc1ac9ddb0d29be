package topologytest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func TestOperators(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	upper := topology.NewTopic(topo, "upper", codec.String, codec.String)
	perKey := topology.NewTable(topo, "per-key", codec.String, codec.Int64)
	words := topology.NewTable(topo, "words", codec.String, codec.Int64)
	longest := topology.NewTable(topo, "longest", codec.String, codec.String)
	letters := topology.NewTable(topo, "letters", codec.String, codec.Int64)
	var seen []string
	lines := topology.Peek(topology.From(in), func(ev event) { seen = append(seen, ev.Value) })
	full := topology.Filter(topology.From(in), func(ev event) bool { return ev.Value != "" })
	topology.To(topology.Map(lines, strings.ToUpper), upper)
	topology.Count(topology.GroupByKey(full), perKey)
	split := topology.FlatMap(full, strings.Fields)
	itself := func(w string) string { return w }
	topology.Count(topology.GroupBy(split, itself), words)
	first := func(w string) string { return w[:1] }
	topology.Reduce(topology.GroupBy(split, first), longest, func(a, b string) string {
		if len(b) > len(a) {
			return b
		}
		return a
	})
	topology.Aggregate(topology.GroupBy(split, first, topology.WithValues(codec.String)), letters, func() int64 { return 0 },
		func(n int64, ev event) int64 { return n + int64(len(ev.Value)) })

	d := topologytest.New(t, topo)
	topologytest.Pipe(d, in, "ada", "to be or")
	topologytest.Pipe(d, in, "grace", "not too bad")
	topologytest.Pipe(d, in, "ada", "")
	topologytest.Pipe(d, in, "ada", "to")
	require.Empty(t, d.Failures())
	require.Equal(t, []string{"to be or", "not too bad", "", "to"}, seen)
	require.ElementsMatch(t, []string{"TO BE OR", "NOT TOO BAD", "", "TO"}, values(d, upper))
	require.Equal(t, map[string]int64{"ada": 2, "grace": 1}, topologytest.Table(d, perKey))
	want := map[string]int64{"to": 2, "be": 1, "or": 1, "not": 1, "too": 1, "bad": 1}
	require.Equal(t, want, topologytest.Table(d, words))
	require.Equal(t, map[string]string{"t": "too", "b": "bad", "o": "or", "n": "not"}, topologytest.Table(d, longest))
	require.Equal(t, map[string]int64{"t": 7, "b": 5, "o": 2, "n": 3}, topologytest.Table(d, letters))
	d.Crash()
	require.Equal(t, want, topologytest.Table(d, words))
}

// An aggregator that panics does so inside the shard: its record alone is given up.
func TestOperatorThatPanics(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	table := topology.NewTable(topo, "table", codec.String, codec.String)
	topology.Reduce(topology.GroupByKey(topology.From(in)), table, func(a, b string) string {
		if b == "bad" {
			panic("bad fold")
		}
		return a + b
	})
	d := one(t, topo)
	pipe(d, in, "a", "bad", "c")
	require.Equal(t, map[string]string{"k": "ac"}, topologytest.Table(d, table))
	requireLetter(t, d, "bad", "4", "bad fold")
}
