package topologytest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// SEMANTICS 1: what stateless steps make of a record has its time, whatever came before it.
func TestStatelessStepsKeepTheTime(t *testing.T) {
	t.Parallel()
	p := newSingle()
	long := topology.Filter(topology.From(p.left), func(ev event) bool { return len(ev.Value) > 1 })
	topology.To(topology.FlatMap(long, func(v string) []string { return []string{v[:1], v[1:]} }), p.out)
	p.run(t, step{"left", "ab", 9, []string{"a@9", "b@9"}}, step{"left", "c", 10, nil}, step{"left", "de", 3, []string{"d@3", "e@3"}})
}

// SEMANTICS 1: records with a null key or value are dropped by aggregations that have no window, and move no time.
func TestNullsOfAggregations(t *testing.T) {
	t.Parallel()
	p := newSingle()
	sums := topology.NewTable(p.topo, "sums", codec.String, codec.String)
	topology.Reduce(topology.GroupByKey(topology.From(p.left)), sums, func(x, y string) string { return x + y })
	topology.To(topology.ToStream(sums), p.out)
	d := p.run(t, step{"left", "a", 5, []string{"a@5"}}, step{"left", "", 90, nil}, step{"left", "b", 4, []string{"ab@5"}})
	d.PipeRaw("left", 0, time.UnixMilli(91), nil, []byte("c"))
	require.Equal(t, map[string]string{"k": "ab"}, topologytest.Table(d, sums))
}

// SEMANTICS 1: a null value deletes the row of a table, and a null key is dropped.
func TestNullsOfTables(t *testing.T) {
	t.Parallel()
	p := newSingle()
	rows := topology.TableFrom(p.topo, "rows", p.left)
	topology.To(topology.ToStream(rows), p.out)
	d := p.run(t, step{"left", "a", 5, []string{"a@5"}}, step{"left", "", 6, []string{"null@6"}}, step{"left", "b", 7, []string{"b@7"}})
	d.PipeRaw("left", 0, time.UnixMilli(8), nil, []byte("c"))
	require.Equal(t, map[string]string{"k": "b"}, topologytest.Table(d, rows))
}

// SEMANTICS 7: tables go by the order of their topic, so that times may go back; a join of two has the later of both.
func TestTablesGoByOffsetNotByTime(t *testing.T) {
	t.Parallel()
	p := newPairs()
	left, right, joined := p.tables()
	topology.JoinTables(left, right, joined, beside)
	p.run(
		t, step{"left", "l1", 9, nil}, step{"right", "r1", 5, []string{"l1+r1@9"}},
		step{"left", "l2", 2, []string{"l2+r1@5"}}, step{"left", "l3", 7, []string{"l3+r1@7"}},
	)
}

// SEMANTICS 7: a table that is on both sides of a chain of joins makes a result for each way that its change comes by.
func TestChainedJoinsMakeDuplicates(t *testing.T) {
	t.Parallel()
	p := newPairs()
	left, right, joined := p.tables()
	again := topology.NewTable(p.topo, "again", codec.String, codec.String)
	both := topology.NewTopic(p.topo, "both", codec.String, codec.String)
	topology.JoinTables(left, right, joined, beside)
	topology.JoinTables(joined, left, again, beside)
	topology.To(topology.ToStream(again), both)
	d := topologytest.New(t, p.topo, topologytest.Partitions(1))
	pipe(d, p.left, "l1")
	pipe(d, p.right, "r")
	before := len(values(d, both))
	pipe(d, p.left, "l2")
	require.Len(t, values(d, both)[before:], 2)
	require.Equal(t, "l2+r+l2", topologytest.Table(d, again)["k"])
}

// SEMANTICS 7, foreign key: a change of the left row has the later time of both, one of the right row has its own; as Kafka Streams has it.
func TestTimesOfForeignKeyJoins(t *testing.T) {
	t.Parallel()
	x := newOrders(false)
	d := topologytest.New(t, x.topo, topologytest.Partitions(1))
	for i, s := range []struct {
		topic, key, value string
		at                int64
	}{{"left", "1", "a1", 9}, {"right", "a", "A", 5}, {"left", "1", "a2", 3}, {"left", "1", "a3", 8}} {
		d.PipeRaw(s.topic, 0, time.UnixMilli(s.at), []byte(s.key), []byte(s.value))
		require.Empty(t, d.Failures(), "%d", i)
	}
	var got []string
	for _, ev := range topologytest.Read(d, x.out) {
		got = append(got, fmt.Sprintf("%s@%d", ev.Value, ev.Timestamp().UnixMilli()))
	}
	require.Equal(t, []string{"a1+A@5", "a2+A@5", "a3+A@8"}, got)
}

// SEMANTICS 7: the time of an aggregation of tables is that of the newest change in it, also if that takes a row away.
func TestTimesOfTableAggregations(t *testing.T) {
	t.Parallel()
	p := newSingle()
	rows := topology.TableFrom(p.topo, "rows", p.left)
	counts := topology.NewTable(p.topo, "counts", codec.String, codec.Int64)
	topology.CountRows(topology.GroupTable(rows, func(_, v string) (string, string, bool) { return v, v, true }, codec.String), counts)
	topology.To(topology.Map(topology.ToStream(counts), func(n int64) string { return fmt.Sprint(n) }), p.out)
	p.run(
		t, step{"left", "a", 9, []string{"1@9"}}, step{"left", "a", 5, []string{"1@9"}},
		step{"left", "b", 7, []string{"0@9", "1@7"}}, step{"left", "", 3, []string{"0@7"}},
	)
}
