package topologytest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// rooms keeps who is in which room: values are "in NAME", "out NAME", "close", with a "!" behind what fails after it.
func rooms(t *testing.T) (*topologytest.Driver, *topology.Topic[string, string], *topology.Topic[string, string], *topology.SetTable[string, string]) {
	t.Helper()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	set := topology.NewSetTable(topo, "rooms", codec.String, codec.String)
	topology.Each(topo, "agent", in, func(ctx ctxOf, ev event) error {
		what, who, _ := strings.Cut(strings.TrimSuffix(ev.Value, "!"), " ")
		had, err := set.Has(ctx, ev.Key, who)
		if err != nil {
			return err
		}
		switch what {
		case "in":
			set.Add(ctx, ev.Key, who)
		case "out":
			set.Remove(ctx, ev.Key, who)
		case "close":
			set.Clear(ctx, ev.Key)
		}
		n, err := set.Len(ctx, ev.Key)
		if err != nil {
			return err
		}
		all := []string{}
		for who := range set.Elements(ctx, ev.Key, topology.Reverse()) {
			all = append(all, who)
		}
		out.Send(ctx, ev.Key, fmt.Sprint(had, n, all))
		if strings.HasSuffix(ev.Value, "!") {
			return errors.New("after all not")
		}
		return nil
	}, topology.Writes(set), topology.Sends(out))
	require.Same(t, set, topology.SetTableOf[string, string](topo, "rooms"))
	return one(t, topo), in, out, set
}

func TestSetTable(t *testing.T) {
	t.Parallel()
	d, in, out, set := rooms(t)
	pipe := func(key, value string) { t.Helper(); topologytest.Pipe(d, in, key, value) }
	pipe("a", "in x")
	pipe("a", "in x") // again changes nothing
	pipe("a", "in y")
	pipe("a", "in ") // the empty element
	pipe("ax", "in z")
	pipe("", "in ax") // framing: no two of these are one row
	pipe("a", "out x")
	pipe("a", "in q!")
	require.Len(t, d.Failures(), 4)
	require.Equal(t, []string{"false 1 [x]", "true 1 [x]", "false 2 [y x]", "false 3 [y x ]", "false 1 [z]", "false 1 [ax]", "true 2 [y ]"}, values(d, out))
	want := map[string][]string{"a": {"", "y"}, "ax": {"z"}, "": {"ax"}}
	require.Equal(t, want, topologytest.Set(d, set))
	d.Crash()
	require.Equal(t, want, topologytest.Set(d, set), "after a crash")
	pipe("a", "close")
	pipe("a", "in again")
	d.Crash()
	require.Equal(t, map[string][]string{"a": {"again"}, "ax": {"z"}, "": {"ax"}}, topologytest.Set(d, set))
}

// The partition of a set is that of its key, whatever its elements.
func TestSetTablePartitions(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	set := topology.NewSetTable(topo, "set", codec.String, codec.String)
	elsewhere := ""
	topology.Each(topo, "agent", in, func(ctx ctxOf, ev event) error {
		if ev.Value == "bad" {
			set.Add(ctx, elsewhere, ev.Value)
			return nil
		}
		for i := range 20 {
			set.Add(ctx, ev.Key, fmt.Sprint(i))
		}
		return nil
	}, topology.Writes(set))
	d := topologytest.New(t, topo)
	for i := range 10 {
		topologytest.Pipe(d, in, fmt.Sprint("k", i), "")
	}
	require.Empty(t, d.Failures())
	all := topologytest.Set(d, set)
	require.Len(t, all, 10)
	for _, elements := range all {
		require.Len(t, elements, 20)
	}
	for i := 1; elsewhere == ""; i++ {
		if k := fmt.Sprint("k", i); kafka.Murmur2().Hash([]byte(k), 4) != kafka.Murmur2().Hash([]byte("k0"), 4) {
			elsewhere = k
		}
	}
	topologytest.Pipe(d, in, "k0", "bad")
	require.ErrorContains(t, d.Failures()[0], fmt.Sprintf(`table set: key %q belongs to partition`, elsewhere))
}

func TestDefaultValues(t *testing.T) {
	t.Parallel()
	b := newBench(topology.Default(func() int64 { return 40 }))
	d := each(t, b, func(ctx ctxOf, ev event) error {
		before, ok, err := b.table.Get(ctx, ev.Key)
		if err != nil {
			return err
		}
		b.table.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 2, nil })
		n, err := b.table.Len(ctx)
		b.out.Send(ctx, ev.Key, fmt.Sprint(before, ok, n))
		return err
	})
	pipe(d, b.in, "a", "b")
	require.Equal(t, []string{"40 false 1", "42 true 1"}, values(d, b.out))
	require.Equal(t, map[string]int64{"k": 44}, topologytest.Table(d, b.table))
}
