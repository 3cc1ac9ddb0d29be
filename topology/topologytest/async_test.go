package topologytest_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func upper(_ context.Context, ev event) (string, error) { return strings.ToUpper(ev.Value), nil }

// Results come in order, and what follows is a Map's.
func TestMapAsync(t *testing.T) {
	t.Parallel()
	b := newBench()
	words := topology.FlatMap(topology.From(b.in), func(v string) []string { return strings.Fields(v) })
	mapped := topology.Through(topology.MapAsync(topology.Filter(words, func(ev event) bool { return ev.Value != "no" }), 3, upper), b.out)
	topology.Count(topology.GroupBy(mapped, func(v string) string { return v }), b.table)
	d := one(t, b.topo)
	pipe(d, b.in, "a b", "no", "c no d", "a")
	d.Crash()
	pipe(d, b.in, "e")
	require.Equal(t, []string{"A", "B", "C", "D", "A", "E"}, values(d, b.out))
	require.Equal(t, map[string]int64{"A": 2, "B": 1, "C": 1, "D": 1, "E": 1}, topologytest.Table(d, b.table))
	require.Empty(t, d.Failures())
	p, err := b.topo.Plan()
	require.NoError(t, err)
	require.Equal(t, []string{"from in", "flat-map", "filter", "map-async", "to out"}, p.Agents[0].Steps)
}

// A call that fails, whichever way, fails its record and no other, as often as the policy says.
func TestMapAsyncFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fail func() error
		says string
	}{
		"error":  {func() error { return errors.New("refused") }, "refused"},
		"panic":  {func() error { panic("upset") }, "panic: upset"},
		"goexit": {func() error { runtime.Goexit(); return nil }, "runtime.Goexit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench()
			calls := map[string]int{}
			topology.To(topology.MapAsync(topology.From(b.in), 4, func(_ context.Context, ev event) (string, error) {
				if calls[ev.Value]++; ev.Value == "bad" || ev.Value == "once" && calls["once"] == 1 {
					return "", c.fail()
				}
				return ev.Value, nil
			}), b.out)
			topology.Count(topology.GroupByKey(topology.From(b.in)), b.table)
			d := one(t, b.topo)
			pipe(d, b.in, "1", "bad", "once", "2")
			require.Equal(t, []string{"1", "once", "2"}, values(d, b.out))
			l := requireLetter(t, d, "bad", "4", c.says)
			require.Equal(t, 4, calls["bad"])
			require.Equal(t, 2, calls["once"])
			if name == "panic" {
				require.Contains(t, l.headers["troupe.stack"], "TestMapAsyncFails", "the stack of the call, not of the turn")
			}
		})
	}
}

// What is marked permanent is given up at once.
func TestMapAsyncPermanent(t *testing.T) {
	t.Parallel()
	b := newBench()
	topology.To(topology.MapAsync(topology.From(b.in), 4, func(context.Context, event) (string, error) {
		return "", topology.Permanent(errors.New("never"))
	}), b.out)
	topology.Count(topology.GroupByKey(topology.From(b.in)), b.table)
	d := one(t, b.topo)
	pipe(d, b.in, "bad")
	requireLetter(t, d, "bad", "1", "never")
}

// Flows of several topics call ahead each by itself; those of one topic, each for its own records.
func TestMapAsyncOfMergedFlows(t *testing.T) {
	t.Parallel()
	b := newBench()
	more := topology.NewTopic(b.topo, "more", codec.String, codec.String)
	from := topology.From(b.in)
	twice := topology.Map(from, func(v string) string { return v + v })
	topology.To(topology.MapAsync(topology.Merge(from, twice, topology.From(more)), 2, upper), b.out)
	topology.Count(topology.GroupByKey(topology.From(b.in)), b.table)
	d := one(t, b.topo)
	pipe(d, b.in, "a", "b")
	pipe(d, more, "c")
	require.Equal(t, []string{"A", "AA", "B", "BB", "C"}, values(d, b.out))
}

func TestFaultsOfMapAsync(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		define func(b bench) topology.Flow[string, string]
		says   string
	}{
		"none": {func(b bench) topology.Flow[string, string] { return topology.MapAsync(topology.From(b.in), 0, upper) }, "MapAsync for 0 records at a time: use a number from 1 to 1000"},
		"too many": {func(b bench) topology.Flow[string, string] {
			return topology.MapAsync(topology.From(b.in), 1001, upper)
		}, "MapAsync for 1001 records at a time"},
		"no function": {func(b bench) topology.Flow[string, string] {
			return topology.MapAsync[string, string, string](topology.From(b.in), 1, nil)
		}, "a step MapAsync without a function"},
		"twice": {func(b bench) topology.Flow[string, string] {
			return topology.MapAsync(topology.MapAsync(topology.From(b.in), 1, upper), 1, upper)
		}, "has two steps MapAsync"},
		"changes": {func(b bench) topology.Flow[string, string] {
			return topology.MapAsync(topology.ToStream(topology.TableFrom(b.topo, "rows", topology.NewTopic(b.topo, "updates", codec.String, codec.String))), 1, upper)
		}, "begins at the changes of table rows"},
		"joined": {func(b bench) topology.Flow[string, string] {
			rows := topology.TableFrom(b.topo, "rows", topology.NewTopic(b.topo, "updates", codec.String, codec.String))
			return topology.MapAsync(topology.Join(topology.From(b.in), rows, func(v, _ string) string { return v }), 1, upper)
		}, "comes to MapAsync from inside table rows"},
		"global": {func(b bench) topology.Flow[string, string] {
			rows := topology.NewGlobalTable(b.topo, "rows", topology.NewTopic(b.topo, "updates", codec.String, codec.String))
			key := func(ev event) (string, bool) { return ev.Key, true }
			return topology.MapAsync(topology.JoinGlobal(topology.From(b.in), rows, key, func(v, _ string) string { return v }), 1, upper)
		}, "reads tables before MapAsync"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench()
			topology.To(c.define(b), b.out)
			topology.Count(topology.GroupByKey(topology.From(b.in)), b.table)
			_, err := b.topo.Plan()
			require.ErrorContains(t, err, c.says)
		})
	}
}
