package topologytest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func textTopics(topo *topology.Topology, names ...string) (all []texts) {
	for _, n := range names {
		all = append(all, topology.NewTopic(topo, n, codec.String, codec.String))
	}
	return all
}

// A record goes to the branch of the first predicate that takes it, or to the last.
func TestBranch(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	x := textTopics(topo, "in", "short", "upper", "rest")
	branches := topology.Branch(topology.From(x[0]),
		func(e event) bool { return len(e.Value) < 3 },
		func(e event) bool { return strings.ToUpper(e.Value) == e.Value })
	for i, b := range branches {
		topology.To(b, x[i+1])
	}
	d := one(t, topo)
	for _, v := range []string{"a", "AB", "ABC", "abc", ""} {
		topologytest.Pipe(d, x[0], "k", v)
	}
	require.Empty(t, d.Failures())
	require.Equal(t, []string{"a", "AB", ""}, values(d, x[1]))
	require.Equal(t, []string{"ABC"}, values(d, x[2]))
	require.Equal(t, []string{"abc"}, values(d, x[3]))
}

// A record is in all topics or in none.
func TestEcho(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	x := textTopics(topo, "in", "one", "two")
	topology.Echo(topology.Filter(topology.From(x[0]), func(e event) bool {
		if e.Value == "bad" {
			panic("bad")
		}
		return true
	}), x[1:])
	d := topologytest.New(t, topo)
	for _, v := range []string{"a", "bad", "b"} {
		topologytest.Pipe(d, x[0], "k", v)
	}
	require.Equal(t, []string{"a", "b"}, values(d, x[1]))
	require.Equal(t, []string{"a", "b"}, values(d, x[2]))
}

// What follows runs with the partitions of the topic between, by the keys that the records have; null keys and values stay what they are.
func TestRepartition(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	x := textTopics(topo, "in", "between", "out")
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	wide := topology.Repartition(topology.Map(topology.Through(topology.From(x[0]), x[1]), strings.ToUpper), "wide", 7, topology.WithValues(codec.String))
	topology.To(wide, x[2])
	topology.Count(topology.GroupByKey(wide), counts)
	d := one(t, topo)
	for _, k := range []string{"a", "b", "c", "a"} {
		topologytest.Pipe(d, x[0], k, "v")
	}
	d.PipeRaw("in", 0, d.Now(), nil, []byte("w"))
	require.Empty(t, d.Failures())
	require.Len(t, d.Records("test-wide-repartition"), 7)
	require.Equal(t, map[string]int64{"a": 2, "b": 1, "c": 1}, topologytest.Table(d, counts))
	require.ElementsMatch(t, []string{"V", "V", "V", "V", "W"}, values(d, x[2]))
	d.Crash()
	require.Equal(t, map[string]int64{"a": 2, "b": 1, "c": 1}, topologytest.Table(d, counts))

	bad := topology.New("bad")
	in := textTopics(bad, "in")[0]
	topology.To(topology.Repartition(topology.From(in), "none", 0), in)
	topology.To(topology.Repartition(topology.Map(topology.From(in), strings.ToUpper), "how", 3), in)
	_, err := bad.Plan()
	require.ErrorContains(t, err, "repartition none has 0 partitions")
	require.ErrorContains(t, err, "repartition how needs to know how to write values")
}
