package topologytest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// A global table is read by agents of any partition, by handlers inside a shard and by timers, and follows its topic; a crash changes nothing.
func TestGlobalTable(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	prices := topology.NewTopic(topo, "prices", codec.String, codec.Int64)
	global := topology.NewGlobalTable(topo, "prices", prices)
	last := topology.NewTable(topo, "last", codec.String, codec.Int64)
	topology.Each(topo, "price", in, func(ctx *topology.Context, e event) error {
		p, ok, err := global.Get(ctx, e.Value)
		out.Send(ctx, e.Key, fmt.Sprint(p, ok))
		return err
	}, topology.Reads(global), topology.Sends(out))
	topology.EachRow(topo, "last", in, last, func(ctx *topology.Context, e event, row *topology.Row[int64]) error {
		p, _, err := global.Get(ctx, e.Value)
		row.Set(p)
		return err
	}, topology.Reads(global))
	var seen []string
	topology.Every(topo, "list", time.Minute, func(ctx *topology.TaskContext) error {
		seen = nil
		for k, v := range global.All(ctx) {
			seen = append(seen, fmt.Sprint(k, v))
		}
		for k := range global.Range(ctx, "b", "c") {
			seen = append(seen, k)
		}
		return nil
	}, topology.Reads(global))

	d := topologytest.New(t, topo)
	topologytest.Pipe(d, in, "1", "a")
	for i, k := range []string{"a", "b", "c", "d", "e"} { // in different partitions
		topologytest.Pipe(d, prices, k, int64(i))
	}
	for i := range 5 {
		topologytest.Pipe(d, in, fmt.Sprint(i), "e")
	}
	d.Crash()
	d.PipeRaw("prices", 0, d.Now(), nil, make([]byte, 8)) // is passed over
	topologytest.Pipe(d, in, "2", "b")
	part := topologytest.Read(d, prices)
	for _, e := range part {
		if e.Key == "b" {
			d.PipeRaw("prices", e.Partition(), d.Now(), []byte("b"), nil)
		}
	}
	topologytest.Pipe(d, in, "3", "b")
	require.Empty(t, d.Failures())
	require.ElementsMatch(t, []string{"0 false", "4 true", "4 true", "4 true", "4 true", "4 true", "1 true", "0 false"}, values(d, out))
	require.Equal(t, map[string]int64{"0": 4, "1": 4, "2": 1, "3": 0, "4": 4}, topologytest.Table(d, last))
	topologytest.Pipe(d, prices, "bb", 9)
	d.Advance(time.Minute)
	require.Equal(t, []string{"a0", "bb9", "c2", "d3", "e4", "bb"}, seen)
}

// What a handler sends to a global table's topic is seen once it is committed, and not if it fails.
func TestGlobalTableIsWrittenThroughItsTopic(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	flags := topology.NewTopic(topo, "flags", codec.String, codec.String)
	global := topology.NewGlobalTable(topo, "flags", flags)
	var seen []string
	topology.Each(topo, "set", in, func(ctx *topology.Context, e event) error {
		v, _, err := global.Get(ctx, "x")
		seen = append(seen, v)
		flags.Send(ctx, "x", e.Value)
		if strings.HasPrefix(e.Value, "bad") {
			return topology.Permanent(fmt.Errorf("refused"))
		}
		return err
	}, topology.Reads(global), topology.Sends(flags))
	d := topologytest.New(t, topo)
	for _, v := range []string{"1", "bad", "2", "3"} {
		topologytest.Pipe(d, in, "k", v)
	}
	require.Equal(t, []string{"", "1", "1", "2"}, seen)
}

// The rules of SEMANTICS 7 for joins with a global table, one by one.
func TestJoinGlobal(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	inner := topology.NewTopic(topo, "inner", codec.String, codec.String)
	left := topology.NewTopic(topo, "left", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	users := topology.NewTopic(topo, "users", codec.String, codec.String)
	global := topology.NewGlobalTable(topo, "users", users)
	mapped := func(e event) (string, bool) { return e.Value, !strings.HasPrefix(e.Value, "null") }
	joined := topology.JoinGlobal(topology.From(in), global, mapped, func(v, row string) string { return v + "+" + row })
	topology.To(joined, inner)
	topology.Count(topology.GroupByKey(joined), counts)
	topology.To(topology.LeftJoinGlobal(topology.From(in), global, mapped, func(v, row string, ok bool) string { return fmt.Sprint(v, "+", row, ok) }), left)

	d := topologytest.New(t, topo, topologytest.Partitions(1))
	topologytest.Pipe(d, in, "k", "ada")                            // no row yet
	topologytest.Pipe(d, users, "ada", "Lovelace")                  // changes no result of before
	topologytest.Pipe(d, in, "k", "ada")                            // a row
	topologytest.Pipe(d, in, "k", "null")                           // no mapped key
	d.PipeRaw("in", 0, d.Now(), []byte("k"), nil)                   // no value
	d.PipeRaw("in", 0, d.Now(), nil, []byte("ada"))                 // no key of its own
	d.PipeRaw("users", 0, d.Now(), []byte("ada"), nil)              // the row is deleted
	topologytest.PipeAt(d, in, d.Now().Add(-time.Hour), "k", "ada") // times play no part
	require.Empty(t, d.Failures())
	require.Equal(t, []string{"ada+Lovelace", "ada+Lovelace"}, values(d, inner))
	require.Equal(t, []string{"ada+false", "ada+Lovelacetrue", "null+false", "ada+Lovelacetrue", "ada+false"}, values(d, left))
	require.Equal(t, map[string]int64{"k": 1}, topologytest.Table(d, counts), "a record without a key is joined, and not counted")
	require.True(t, topologytest.Read(d, inner)[1].NullKey)
}

func TestGlobalTableFaults(t *testing.T) {
	t.Parallel()
	other := topology.New("other")
	foreign := topology.NewTopic(other, "foreign", codec.String, codec.String)
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	users := topology.NewTopic(topo, "users", codec.Compressed(codec.String, codec.Zstd), codec.String)
	topology.NewGlobalTable(topo, "users", users)
	again := topology.NewGlobalTable(topo, "users", in)
	topology.NewGlobalTable(topo, "abroad", foreign)
	topology.NewGlobalTable[string, string](topo, "nothing", nil)
	topology.NewTable(topo, "users", codec.String, codec.String)
	topology.Each(topo, "read", in, func(*topology.Context, event) error { return nil }, topology.Reads(again, (*topology.GlobalTable[string, string])(nil), nil))
	topology.To(topology.JoinGlobal[string, string, string, string, string](topology.From(in), nil, nil, nil), in)
	_, err := topo.Plan()
	require.Error(t, err)
	for _, want := range []string{
		"two global tables are called users", "a table and a global table are called users: rename one", "global table users is read by no agent",
		"global table abroad is a copy of topic foreign of another topology, other", "global table nothing was given a nil topic",
		"global table users: the codec of the keys of topic users cannot be used for keys",
		"agent read: topology.Reads was given a nil table", "step join with a nil global table", "step JoinGlobal without a function",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, 1, strings.Count(err.Error(), "without a function"), "one step, one fault")
}

// A handler that has not declared a global table may not read it.
func TestGlobalTableUndeclared(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	global := topology.NewGlobalTable(topo, "users", topology.NewTopic(topo, "users", codec.String, codec.String))
	topology.Each(topo, "declared", in, func(*topology.Context, event) error { return nil }, topology.Reads(global))
	topology.Each(topo, "undeclared", in, func(ctx *topology.Context, _ event) error {
		for range global.All(ctx) {
			t.Error("it reads")
		}
		return nil
	})
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, in, "k", "v")
	require.ErrorContains(t, d.Failures()[0], "agent undeclared reads global table users without having declared it: add topology.Reads(users) to it")
}

// The driver ends as a node does when a record does not decode.
func TestGlobalTableUndecodable(t *testing.T) {
	t.Parallel()
	for _, skip := range []bool{false, true} {
		topo := topology.New("test")
		in := topology.NewTopic(topo, "in", codec.String, codec.String)
		out := topology.NewTopic(topo, "out", codec.String, codec.String)
		prices := topology.NewTopic(topo, "prices", codec.String, codec.Int64)
		var opts []topology.GlobalOption
		if skip {
			opts = append(opts, topology.SkipUndecodable())
		}
		global := topology.NewGlobalTable(topo, "prices", prices, opts...)
		topology.To(topology.JoinGlobal(topology.From(in), global, func(event) (string, bool) { return "a", true }, func(v string, n int64) string { return fmt.Sprint(v, n) }), out)
		fails := &failing{TB: t}
		d := topologytest.New(fails, topo, topologytest.Partitions(1))
		topologytest.Pipe(d, prices, "a", 1)
		d.PipeRaw("prices", 0, d.Now(), []byte("a"), []byte("not a number"))
		if !skip {
			require.Contains(t, fails.said, "global table prices: decode the value of prices/0@1")
			continue
		}
		topologytest.Pipe(d, in, "k", "v")
		require.Equal(t, []string{"v1"}, values(d, out))
		require.Empty(t, fails.said)
	}
}

// failing notes what a driver fails its test with.
type failing struct {
	testing.TB
	said string
}

// Fatalf implements testing.TB.
func (f *failing) Fatalf(format string, args ...any) { f.said = fmt.Sprintf(format, args...) }
