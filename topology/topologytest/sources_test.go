package topologytest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// An agent of several topics handles the records of all, and of channels too; one that fails in a record of one holds up no other.
func TestSources(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	x := textTopics(topo, "in", "orders", "refunds", "out")
	pipe := topology.NewChannel[string, string](topo, "pipe")
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.To(topology.From(x[0]), pipe)
	topology.Each(topo, "all", topology.Sources(topology.Sources(x[1], x[2]), pipe), func(ctx ctxOf, ev event) error {
		x[3].Send(ctx, ev.Key, ev.Topic()+" "+ev.Value)
		if ev.Value == "bad" {
			return topology.Permanent(errors.New("bad"))
		}
		return nil
	}, topology.Sends(x[3]))
	topology.EachRow(topo, "count", topology.Sources(x[1], x[2]), counts, func(_ ctxOf, _ event, row *topology.Row[int64]) error {
		n, _ := row.Get()
		row.Set(n + 1)
		return nil
	})
	d := one(t, topo)
	for i, topic := range x[:3] {
		topologytest.Pipe(d, topic, "k", fmt.Sprint(i))
		topologytest.Pipe(d, topic, "k", "bad")
		d.Crash()
	}
	require.ElementsMatch(t, []string{"pipe 0", "orders 1", "refunds 2"}, values(d, x[3]))
	require.Equal(t, map[string]int64{"k": 4}, topologytest.Table(d, counts))
	var failed []string
	for _, l := range letters(d) {
		failed = append(failed, l.headers["troupe.agent"])
	}
	require.ElementsMatch(t, []string{"to-pipe", "all-orders", "all-refunds"}, failed)
}

// What an agent has done of a topic stays done when it gets another one, or is left with one.
func TestSourcesCome(t *testing.T) {
	t.Parallel()
	define := func(names ...string) (*topology.Topology, []texts) {
		topo := topology.New("test")
		x := textTopics(topo, append(names, "out")...)
		topology.Agent(topo, "copy", topology.Sources[string, string](x[0], sourcesOf(x[1:len(x)-1])...), func(ctx ctxOf, in topology.Stream[string, string]) error {
			for ev := range in.All() {
				x[len(x)-1].Send(ctx, ev.Key, ev.Value)
			}
			return nil
		}, topology.Sends(x[len(x)-1]))
		return topo, x
	}
	first, x := define("a")
	d := one(t, first)
	topologytest.Pipe(d, x[0], "k", "1")
	second, y := define("a", "b")
	require.NoError(t, d.Upgrade(second))
	topologytest.Pipe(d, y[1], "k", "2")
	topologytest.Pipe(d, y[0], "k", "3")
	require.NoError(t, d.Upgrade(first))
	topologytest.Pipe(d, x[0], "k", "4")
	require.Equal(t, []string{"1", "2", "3", "4"}, values(d, x[1]))
}

func sourcesOf(topics []texts) (all []topology.Source[string, string]) {
	for _, t := range topics {
		all = append(all, t)
	}
	return all
}

// A record that comes by several of the flows that are merged goes through one after the other, in one turn.
func TestMerge(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	x := textTopics(topo, "a", "b", "out", "table")
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	byWord := topology.NewTable(topo, "words", codec.String, codec.Int64)
	rows := topology.TableFrom(topo, "rows", x[3])
	upper := topology.Map(topology.From(x[0]), strings.ToUpper)
	joined := topology.Join(topology.From(x[1]), rows, func(v, row string) string { return v + row })
	all := topology.Filter(topology.Merge(topology.From(x[0]), upper, joined), func(e event) bool {
		if e.Value == "BAD" {
			panic("bad")
		}
		return e.Value != "-"
	})
	topology.To(all, x[2])
	topology.Count(topology.GroupByKey(all), counts)
	topology.Count(topology.GroupBy(topology.Merge(topology.From(topology.Sources(x[0], x[1])), topology.ToStream(rows)), strings.ToLower), byWord)
	d := one(t, topo)
	topologytest.Pipe(d, x[3], "k", "!")
	for _, v := range []string{"x", "-", "bad", "y"} {
		topologytest.Pipe(d, x[0], "k", v)
		topologytest.Pipe(d, x[1], "k", v)
		topologytest.Pipe(d, x[1], "other", v)
	}
	require.Equal(t, []string{"x", "X", "x!", "-!", "bad!", "y", "Y", "y!"}, values(d, x[2]))
	require.Equal(t, map[string]int64{"k": 8}, topologytest.Table(d, counts))
	require.Equal(t, map[string]int64{"!": 1, "x": 3, "-": 3, "bad": 3, "y": 3}, topologytest.Table(d, byWord))
	d.Crash()
	require.Equal(t, map[string]int64{"k": 8}, topologytest.Table(d, counts))
}

// Results may go to a channel: what its agents do with them is part of the record.
func TestSinkChannel(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	x := textTopics(topo, "a", "b", "out")
	words := topology.NewChannel[string, string](topo, "words")
	topology.Process(topo, "split", topology.Sources(x[0], x[1]), func(_ ctxOf, ev event, emit func(string)) error {
		for w := range strings.FieldsSeq(ev.Value) {
			emit(w)
		}
		return nil
	}).AddSink(topology.SinkChannel(words))
	topology.Agent(topo, "join", words, func(ctx ctxOf, in topology.Stream[string, string]) error {
		for batch := range in.Batches(10, time.Hour) {
			for _, ev := range batch {
				if ev.Value == "bad" {
					return topology.Permanent(errors.New("bad"))
				}
				x[2].Send(ctx, ev.Key, ev.Value)
			}
		}
		return nil
	}, topology.Sends(x[2]))
	d := one(t, topo)
	topologytest.Pipe(d, x[0], "k", "a b")
	topologytest.Pipe(d, x[1], "k", "c bad d")
	topologytest.Pipe(d, x[1], "k", "e")
	got := values(d, x[2])
	slices.Sort(got)
	require.Equal(t, []string{"a", "b", "e"}, got)
	require.Equal(t, "split-b", letters(d)[0].headers["troupe.agent"])
}
