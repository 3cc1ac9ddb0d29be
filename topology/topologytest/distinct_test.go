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

// idOf is what stands before the colon of a value.
func idOf(ev event) string {
	id, _, _ := strings.Cut(ev.Value, ":")
	return id
}

// distinct is a topology that lets each identity through once.
func distinct(opts ...topology.TableOption) (topo *topology.Topology, in, out texts, seen *topology.SetTable[string, string], flow topology.Flow[string, string]) {
	topo = topology.New("test")
	in = topology.NewTopic(topo, "in", codec.String, codec.String)
	out = topology.NewTopic(topo, "out", codec.String, codec.String)
	seen = topology.NewSetTable(topo, "seen", codec.String, codec.String, opts...)
	return topo, in, out, seen, topology.Distinct(topology.From(in), seen, idOf)
}

func TestDistinct(t *testing.T) {
	t.Parallel()
	topo, in, out, seen, flow := distinct()
	topology.To(flow, out)
	d := one(t, topo)
	pipe(d, in, "x:1", "y:1", "x:2")
	d.Crash()
	pipe(d, in, "y:2", "z:1", "x:3")
	require.Equal(t, []string{"x:1", "y:1", "z:1"}, values(d, out))
	topologytest.Pipe(d, in, "another", "x:4") // an identity is one of its key
	require.Equal(t, []string{"x:1", "y:1", "z:1", "x:4"}, values(d, out))
	require.Equal(t, map[string][]string{"k": {"x", "y", "z"}, "another": {"x"}}, topologytest.Set(d, seen))
	d.PipeRaw("in", 0, d.Now(), nil, []byte("w:1"))
	d.PipeRaw("in", 0, d.Now(), []byte("k"), nil) // the identity of nothing is that of ""
	d.PipeRaw("in", 0, d.Now(), []byte("k"), nil)
	all := topologytest.Read(d, out)
	require.Len(t, all, 5)
	require.True(t, all[4].NullValue)
	require.Empty(t, d.Failures())
}

// What fails behind Distinct has not been seen: neither by its next attempt, nor by the next record of its identity.
func TestDistinctForgetsWhatFails(t *testing.T) {
	t.Parallel()
	topo, in, out, seen, flow := distinct()
	tried := 0
	topology.To(topology.Peek(flow, func(ev event) {
		switch ev.Value {
		case "x:bad":
			panic("bad")
		case "y:once":
			if tried++; tried == 1 {
				panic("unlucky")
			}
		}
	}), out)
	d := one(t, topo)
	pipe(d, in, "x:bad", "y:once", "x:good", "x:late", "y:late")
	require.Equal(t, []string{"y:once", "x:good"}, values(d, out))
	requireLetter(t, d, "x:bad", "4", "bad")
	require.Equal(t, map[string][]string{"k": {"x", "y"}}, topologytest.Set(d, seen))
}

// An identity is remembered for the TTL, counted from the record that has passed.
func TestDistinctWithTTL(t *testing.T) {
	t.Parallel()
	topo, in, out, seen, flow := distinct(topology.TTL(time.Minute, topology.EventTime))
	topology.To(flow, out)
	d := one(t, topo)
	at := func(seconds int, value string) {
		topologytest.PipeAt(d, in, d.Now().Add(time.Duration(seconds)*time.Second), "k", value)
	}
	at(0, "x:1")
	at(40, "x:2")
	d.Crash()
	at(59, "x:3")
	at(61, "x:4")
	at(80, "y:1")
	at(130, "z:1")
	require.Equal(t, []string{"x:1", "x:4", "y:1", "z:1"}, values(d, out))
	require.Equal(t, map[string][]string{"k": {"y", "z"}}, topologytest.Set(d, seen))
}

// What follows Distinct may be kept in a table, joined, and grouped.
func TestBehindDistinct(t *testing.T) {
	t.Parallel()
	topo, in, out, _, flow := distinct(topology.TTL(time.Hour, topology.EventTime))
	names := topology.NewTopic(topo, "names", codec.String, codec.String)
	table := topology.TableFrom(topo, "table", names)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	on := topology.Through(topology.Join(flow, table, func(v, name string) string { return v + " of " + name }), out)
	topology.Count(topology.GroupBy(topology.Distinct(on, topology.NewSetTable(topo, "words", codec.String, codec.String), func(ev event) string { return ev.Value }), func(v string) string { return v[:1] }), counts)
	d := one(t, topo)
	pipe(d, names, "Ann")
	pipe(d, in, "x:1", "x:2", "y:1")
	require.Equal(t, []string{"x:1 of Ann", "y:1 of Ann"}, values(d, out))
	require.Equal(t, map[string]int64{"x": 1, "y": 1}, topologytest.Table(d, counts))
}

// Of several topics the first record of an identity passes, wherever it is from.
func TestDistinctOfSeveralTopics(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	a, b := topology.NewTopic(topo, "a", codec.String, codec.String), topology.NewTopic(topo, "b", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	seen := topology.NewSetTable(topo, "seen", codec.String, codec.String)
	topology.To(topology.Distinct(topology.Merge(topology.From(a), topology.From(b)), seen, idOf), out)
	d := one(t, topo)
	pipe(d, a, "x:a")
	pipe(d, b, "x:b", "y:b")
	pipe(d, a, "y:a", "z:a")
	require.Equal(t, []string{"x:a", "y:b", "z:a"}, values(d, out))
}

func TestFaultsOfDistinct(t *testing.T) {
	t.Parallel()
	ttl := topology.TTL(time.Minute, topology.EventTime)
	for name, c := range map[string]struct {
		define func(topo *topology.Topology, out texts, flow topology.Flow[string, string])
		says   []string
	}{
		"two ends": {func(topo *topology.Topology, out texts, flow topology.Flow[string, string]) {
			topology.To(flow, out)
			topology.Count(topology.GroupByKey(flow), topology.NewTable(topo, "counts", codec.String, codec.Int64))
		}, []string{"distinct by seen", "to-out", "count-counts", "topology.Through"}},
		"branches": {func(topo *topology.Topology, out texts, flow topology.Flow[string, string]) {
			both := topology.Branch(flow, func(event) bool { return true })
			topology.To(both[0], out)
			topology.To(both[1], topology.NewTopic(topo, "others", codec.String, codec.String))
		}, []string{"distinct by seen", "to-out", "to-others", "topology.Through"}},
		"merged with itself": {func(_ *topology.Topology, out texts, flow topology.Flow[string, string]) {
			topology.To(topology.Merge(flow, topology.Map(flow, strings.ToUpper)), out)
		}, []string{"more than once behind distinct by seen", "topology.Through"}},
		"one table for two": {func(topo *topology.Topology, out texts, flow topology.Flow[string, string]) {
			topology.To(topology.Distinct(flow, topology.SetTableOf[string, string](topo, "seen"), idOf), out)
		}, []string{"set table seen remembers for more than one Distinct", "a table of its own"}},
		"no function": {func(topo *topology.Topology, out texts, flow topology.Flow[string, string]) {
			topology.To(topology.Distinct[string, string, string](flow, topology.NewSetTable(topo, "more", codec.String, codec.String), nil), out)
		}, []string{"a step Distinct without a function"}},
		"no table": {func(_ *topology.Topology, out texts, flow topology.Flow[string, string]) {
			topology.To(topology.Distinct[string, string, string](flow, nil, idOf), out)
		}, []string{"Distinct with a nil table"}},
		"to a channel": {func(topo *topology.Topology, out texts, flow topology.Flow[string, string]) {
			channel := topology.NewChannel[string, string](topo, "pipe")
			topology.To(flow, channel)
			topology.To(topology.From(channel), out)
		}, []string{"sends to channel pipe from inside table seen"}},
		"inside another table": {func(topo *topology.Topology, out texts, flow topology.Flow[string, string]) {
			more := topology.NewSetTable(topo, "more", codec.String, codec.String, ttl)
			topology.To(topology.Distinct(flow, more, idOf), out)
		}, []string{"comes to table more from inside table seen", "remove topology.TTL"}},
		"a table that expires, inside another one": {func(topo *topology.Topology, _ texts, flow topology.Flow[string, string]) {
			topology.Count(topology.GroupByKey(flow), topology.NewTable(topo, "counts", codec.String, codec.Int64, ttl))
		}, []string{"comes to table counts from inside table seen"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topo, _, out, _, flow := distinct()
			c.define(topo, out, flow)
			_, err := topo.Plan()
			require.Error(t, err)
			for _, s := range c.says {
				require.ErrorContains(t, err, s)
			}
		})
	}
}
