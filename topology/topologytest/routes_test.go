package topologytest_test

import (
	"strings"
	"testing"
	"time"

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

// Flows of several topics, and two of one, are one flow; a table counts them all.
func TestMerge(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	x := textTopics(topo, "a", "b", "out")
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	words := topology.NewTable(topo, "words", codec.String, codec.Int64)
	long := func(e event) bool { return len(e.Value) > 1 }
	branches := topology.Branch(topology.From(x[0]), long)
	all := topology.Map(topology.Merge(topology.From(x[1]), branches...), strings.ToUpper)
	topology.To(all, x[2])
	topology.Count(topology.GroupByKey(all), counts)
	topology.Count(topology.GroupBy(all, func(v string) string { return v }), words)
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, x[0], "k", "one")
	topologytest.Pipe(d, x[1], "k", "one")
	topologytest.Pipe(d, x[0], "l", "x")
	d.Crash()
	topologytest.Pipe(d, x[0], "k", "two")
	require.Empty(t, d.Failures())
	require.ElementsMatch(t, []string{"ONE", "ONE", "X", "TWO"}, values(d, x[2]))
	require.Equal(t, map[string]int64{"k": 3, "l": 1}, topologytest.Table(d, counts))
	require.Equal(t, map[string]int64{"ONE": 2, "X": 1, "TWO": 1}, topologytest.Table(d, words))
	p, err := topo.Plan()
	require.NoError(t, err)
	var names []string
	for _, a := range p.Agents[:3] {
		names = append(names, a.Name)
	}
	require.Equal(t, []string{"to-out-from-b", "to-out-from-a", "to-out-from-a-2"}, names)
}

// What must be co-partitioned and is not is said, and flows of two topologies are not merged.
func TestMergeFaults(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	a := topology.NewTopic(topo, "a", codec.String, codec.String, topology.Partitions(2))
	b := topology.NewTopic(topo, "b", codec.String, codec.String, topology.Partitions(3))
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.Count(topology.GroupByKey(topology.Merge(topology.From(a), topology.From(b))), counts)
	foreign := textTopics(topology.New("other"), "foreign")
	topology.To(topology.Merge(topology.From(a), topology.From(foreign[0])), textTopics(topo, "c")[0])
	_, err := topo.Plan()
	require.ErrorContains(t, err, "they are declared with 2 and 3 partitions")
	require.ErrorContains(t, err, "the flow from topic a is merged with one of another topology")
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

// Of the records of a key one is let through each while, or ever; also after a crash, and not for one that fails.
func TestDistinct(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	x := textTopics(topo, "in", "minute", "ever")
	seen := topology.NewTable(topo, "seen", codec.String, codec.Int64)
	forever := topology.NewTable(topo, "forever", codec.String, codec.Int64)
	fail := true
	poison := topology.Filter(topology.Distinct(topology.From(x[0]), seen, time.Minute), func(e event) bool {
		if e.Value == "1" && fail {
			fail = false
			panic("once")
		}
		return true
	})
	topology.To(poison, x[1])
	topology.To(topology.Distinct(topology.From(x[0]), forever, 0), x[2])
	d := one(t, topo)
	at := d.Now()
	pipe := func(key, value string, after time.Duration) { topologytest.PipeAt(d, x[0], at.Add(after), key, value) }
	pipe("a", "1", 0)
	pipe("a", "2", 59*time.Second)
	pipe("b", "3", 0)
	d.Crash()
	pipe("a", "4", time.Minute)
	pipe("a", "5", 0) // late
	pipe("a", "6", 2*time.Minute-time.Millisecond)
	d.PipeRaw("in", 0, at, nil, []byte("7"))
	d.PipeRaw("in", 0, at, nil, []byte("8"))
	require.Equal(t, []string{"1", "3", "4", "7", "8"}, values(d, x[1]))
	require.Equal(t, []string{"1", "3", "7", "8"}, values(d, x[2]))
	require.Len(t, d.Failures(), 1)

	bad := topology.New("bad")
	in := textTopics(bad, "in")[0]
	topology.To(topology.Distinct(topology.From(in), nil, 0), in)
	topology.To(topology.Distinct(topology.From(in), topology.NewTable(bad, "s", codec.String, codec.Int64), -1), in)
	_, err := bad.Plan()
	require.ErrorContains(t, err, "step Distinct with a nil table")
	require.ErrorContains(t, err, "step Distinct within -1ns")
}
