package topology_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

func word(w string) string { return w }

// through runs all records of a topic that n has sent through an agent.
func (n *node) through(topic, agent string) error {
	n.t.Helper()
	var records []record
	for i, r := range n.out.Records {
		if n.plan.Topics[r.Topic].Name == topic {
			records = append(records, record{key: string(n.out.Key(i)), value: string(n.out.Value(i)), nullKey: n.out.Key(i) == nil, nullValue: n.out.Value(i) == nil})
		}
	}
	_, err := n.run(agent, records...)
	return err
}

// The one line of the design's page on the API.
func TestOperatorsCountWords(t *testing.T) {
	t.Parallel()
	topo := topology.New("wordcount")
	lines := topology.NewTopic(topo, "lines", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.Count(topology.GroupBy(topology.FlatMap(topology.From(lines), strings.Fields), word), counts)

	n := newNode(t, topo, 1, 0)
	const repartition = "wordcount-count-counts-repartition"
	require.Equal(t, plan.Repartition, n.plan.Topics[1].Kind)
	require.Equal(t, repartition, n.plan.Topics[1].Name)
	require.Same(t, n.plan.Topics[0], n.plan.Topics[1].Like)
	require.Equal(t, map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}, n.plan.Topics[1].Config)
	require.Equal(t, []string{"from lines", "flat-map", "group to " + repartition}, n.agent("count-counts-group").Steps)
	require.Equal(t, []string{"from " + repartition, "count into counts"}, n.agent("count-counts").Steps)

	_, err := n.run("count-counts-group", record{value: "to be or"}, record{nullValue: true}, record{value: "not to be"})
	require.NoError(t, err)
	require.Equal(t, []string{"to=null@0", "be=null@0", "or=null@0", "not=null@0", "to=null@0", "be=null@0"}, n.sent(repartition), "nobody looks at the values")
	require.NoError(t, n.through(repartition, "count-counts"))
	require.Equal(t, []string{"be=2", "not=1", "or=1", "to=2"}, rows[int64](n, "counts"))
}

func TestStatelessOperators(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	lengths := topology.NewTopic(topo, "lengths", codec.String, codec.Int64)
	copies := topology.NewTopic(topo, "copies", codec.String, codec.String)
	var peeked []string
	long := topology.Filter(topology.From(in), func(e event) bool { return e.NullValue || len(e.Value) > 1 })
	seen := topology.Peek(long, func(e event) { peeked = append(peeked, e.Value) })
	topology.To(seen, copies)
	topology.To(topology.Map(seen, func(s string) int64 { return int64(len(s)) }), lengths, topology.Named("measure"))

	n := newNode(t, topo, 1, 0)
	records := []record{{key: "a", value: "xx"}, {key: "b", value: "x"}, {nullKey: true, value: "xxx"}, {key: "c", nullValue: true}}
	_, err := n.run("to-copies", records...)
	require.NoError(t, err)
	require.Equal(t, []string{"a=xx@0", "null=xxx@0", "c=null@0"}, n.sent("copies"), "null stays null")
	require.Equal(t, []string{"xx", "xxx", ""}, peeked)
	require.EqualValues(t, 1002, n.out.Records[1].Timestamp)

	_, err = n.run("measure", records...)
	require.NoError(t, err)
	require.Len(t, n.sent("lengths"), 3)
	require.Equal(t, []string{"from in", "filter", "peek", "map", "to lengths"}, n.agent("measure").Steps)
	_, err = n.run("measure", record{key: "bad"}, record{key: "bad"})
	require.NoError(t, err)
}

func TestGroupedByKey(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	seen := topology.NewTable(topo, "seen", codec.String, codec.Int64)
	longest := topology.NewTable(topo, "longest", codec.String, codec.String)
	all := topology.NewTable(topo, "all", codec.String, codec.JSON[[]string]())
	g := topology.GroupByKey(topology.Filter(topology.From(in), func(e event) bool { return e.Value != "skip" }))
	topology.Count(g, seen)
	topology.Reduce(g, longest, func(a, b string) string {
		if len(b) > len(a) {
			return b
		}
		return a
	})
	topology.Aggregate(g, all, func() []string { return []string{"first"} }, func(acc []string, e event) []string { return append(acc, e.Value) }, topology.Named("gather"))

	n := newNode(t, topo, 1, 0)
	for _, x := range n.plan.Topics {
		require.NotEqual(t, plan.Repartition, x.Kind)
	}
	for _, agent := range []string{"count-seen", "reduce-longest", "gather"} {
		_, err := n.run(agent, record{key: "a", value: "x"}, record{key: "a", value: "skip"}, record{key: "a", value: "yy"}, record{key: "a", value: "z"},
			record{key: "b", value: ""}, record{key: "b", nullValue: true}, record{nullKey: true, value: "x"})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"a=3", "b=1"}, rows[int64](n, "seen"), "records without a key or value do not count")
	require.Equal(t, []string{"a=yy", "b="}, rows[string](n, "longest"))
	require.Equal(t, []string{"a=[first x yy z]", "b=[first ]"}, rows[[]string](n, "all"))
}

func TestGroupByCarriesValues(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	sums := topology.NewTable(topo, "sums", codec.String, codec.Int64)
	lengths := topology.NewTable(topo, "lengths", codec.String, codec.Int64)
	first := func(s string) string { return s[:1] }
	size := topology.Map(topology.From(in), func(s string) int64 { return int64(len(s)) })
	topology.Reduce(topology.GroupBy(size, func(int64) string { return "all" }), sums, func(a, b int64) int64 { return a + b })
	known := topology.Map(topology.From(in), func(s string) string { return s }) // Map forgets how values are written
	topology.Aggregate(topology.GroupBy(known, first, topology.WithValues(codec.String)), lengths, func() int64 { return 100 }, func(acc int64, e event) int64 { return acc + int64(len(e.Value)) })

	n := newNode(t, topo, 1, 0)
	for _, op := range []string{"reduce-sums", "aggregate-lengths"} {
		_, err := n.run(op+"-group", record{value: "ab"}, record{value: "acd"}, record{value: "b"})
		require.NoError(t, err)
		require.NoError(t, n.through("test-"+op+"-repartition", op))
	}
	require.Equal(t, []string{"all=6"}, rows[int64](n, "sums"))
	require.Equal(t, []string{"a=105", "b=101"}, rows[int64](n, "lengths"))
}

// A panic in a function of the user's inside the shard fails its record, and no other.
func TestAPanicInsideTheShard(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	table := topology.NewTable(topo, "table", codec.String, codec.String)
	topology.Reduce(topology.GroupByKey(topology.From(in)), table, func(string, string) string { panic("boom") })
	n := newNode(t, topo, 1, 0)
	done, err := n.run("reduce-table", record{key: "a", value: "1"}, record{key: "b", value: "1"}, record{key: "a", value: "2"})
	require.ErrorContains(t, err, "boom")
	require.Equal(t, 2, done)
	require.Equal(t, []string{"a=1", "b=1"}, rows[string](n, "table"))
}
