package topologytest_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// folds is a topology whose rows, such as "a1", are grouped by their first letter; those with an x are in no group.
func folds() (topo *topology.Topology, left *topology.Topic[string, string], groups topology.GroupedTable[string, string]) {
	topo = topology.New("test")
	left = topology.NewTopic(topo, "left", codec.String, codec.String)
	rows := topology.TableFrom(topo, "rows", left)
	return topo, left, topology.GroupTable(rows, func(k, v string) (string, string, bool) { return v[:1], k + v, v[0] != 'x' }, codec.String)
}

// changesOf are the records of a topic of changes, in order.
func changesOf(d *topologytest.Driver, name string) (all []string) {
	for _, b := range d.Records(name) {
		for i := range b.Records {
			v := b.Value(i)
			all = append(all, fmt.Sprintf("%s %d %q", b.Key(i), v[0], v[1:]))
		}
	}
	return all
}

// SEMANTICS 7: the old value is subtracted first, then the new one added; a group whose function leaves nothing is deleted, and begins anew.
func TestTableAggregationSubtractsTheOldValueFirst(t *testing.T) {
	t.Parallel()
	topo, left, groups := folds()
	sums := topology.NewTable(topo, "sums", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.AggregateRows(groups, sums, func() string { return "0" }, func(acc, v string) string { return acc + "+" + v }, func(acc, v string) (string, bool) {
		return acc + "-" + v, v != "k1b2"
	})
	topology.To(topology.Map(topology.Changes(sums), func(c topology.Change[string]) string { return fmt.Sprintf("%s→%s", c.Old, c.New) }), out)
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	for _, v := range []string{"a1", "a2", "x", "b1", "b2", "b3"} {
		topologytest.Pipe(d, left, "k1", v)
	}
	require.Equal(t, []string{
		"→0+k1a1", "0+k1a1→0+k1a1-k1a1+k1a2", "0+k1a1-k1a1+k1a2→0+k1a1-k1a1+k1a2-k1a2", // out of its group, into none
		"→0+k1b1", "0+k1b1→0+k1b1-k1b1+k1b2", "0+k1b1-k1b1+k1b2→0+k1b3",
	}, values(d, out))
	d.Crash()
	require.Equal(t, map[string]string{"a": "0+k1a1-k1a1+k1a2-k1a2", "b": "0+k1b3"}, topologytest.Table(d, sums))
}

// SEMANTICS 7 (KIP-904): a change is one record if the group stays, and two otherwise: first the one that takes the row out of its old group.
func TestOneRepartitionRecordIfTheGroupStays(t *testing.T) {
	t.Parallel()
	topo, left, groups := folds()
	sums := topology.NewTable(topo, "sums", codec.String, codec.String)
	topology.ReduceRows(groups, sums, func(acc, v string) string { return acc + "+" + v }, func(acc, v string) (string, bool) { return acc + "-" + v, true })
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	for _, v := range []string{"a1", "a2", "b3", "x"} {
		topologytest.Pipe(d, left, "k", v)
	}
	require.Equal(t, []string{
		`a 2 "ka1"`, `a 3 "\x03ka1ka2"`, `a 1 "\x03ka2"`, `b 2 "kb3"`, `b 1 "\x03kb3"`,
	}, changesOf(d, "test-reduce-rows-sums-repartition"))
	require.Equal(t, map[string]string{"a": "ka1-ka1+ka2-ka2", "b": "kb3-kb3"}, topologytest.Table(d, sums))
}

// A row that is deleted leaves its group, as one that moves does; deleting it again changes nothing. Groups are spread over all partitions.
func TestCountRows(t *testing.T) {
	t.Parallel()
	topo, left, groups := folds()
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.CountRows(groups, counts, topology.Named("tally"))
	d := topologytest.New(t, topo)
	for i := range 20 {
		topologytest.Pipe(d, left, fmt.Sprint(i), string(rune('a'+i%4)))
	}
	d.Crash()
	topologytest.Pipe(d, left, "0", "b")
	for range 2 {
		key := []byte("1")
		d.PipeRaw("left", d.PartitionOf("left", key), d.Now(), key, nil)
	}
	require.Empty(t, d.Failures())
	require.Equal(t, map[string]int64{"a": 4, "b": 5, "c": 5, "d": 5}, topologytest.Table(d, counts))
	require.NotEmpty(t, d.Records("test-tally-repartition"))
}

// A function of a group that panics fails the record at hand alone: inside the table that is grouped, or the one that is made of it.
func TestGroupTableThatPanics(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	left := topology.NewTopic(topo, "left", codec.String, codec.String)
	rows := topology.TableFrom(topo, "rows", left)
	groups := topology.GroupTable(rows, func(_, v string) (string, string, bool) {
		if v == "bad" {
			panic("bad group")
		}
		return v[:1], v, true
	}, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.CountRows(groups, counts)
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	pipe(d, left, "a1", "bad", "a2")
	require.Equal(t, map[string]string{"k": "a2"}, topologytest.Table(d, rows))
	require.Equal(t, map[string]int64{"a": 1}, topologytest.Table(d, counts))
	requireLetter(t, d, "bad", "4", "bad group")
}

// What cannot be grouped is refused, with the mend.
func TestFaultsOfGroupTable(t *testing.T) {
	t.Parallel()
	topo, _, groups := folds()
	rows := topology.TableOf[string, string](topo, "rows")
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	sums := topology.NewTable(topo, "sums", codec.String, codec.String)
	topology.CountRows(topology.GroupTable[string, string, string, string](rows, nil, nil), counts)
	topology.ReduceRows(groups, sums, nil, nil)
	topology.AggregateRows(groups, sums, nil, func(a, _ string) string { return a }, nil, topology.Named("again"))
	topology.CountRows(topology.GroupTable(sums, func(k, v string) (string, string, bool) { return k, v, true }, codec.String), counts, topology.Named("round"))
	topology.ReduceRows(topology.GroupTable(sums, func(k, v string) (string, string, bool) { return k, v, true }, codec.String), rows, keep, drop, topology.Named("loop"))
	_, err := topo.Plan()
	require.ErrorContains(t, err, "GroupTable of table rows has no function: pass one")
	require.ErrorContains(t, err, "GroupTable of table rows has no codec")
	require.ErrorContains(t, err, "ReduceRows into table sums lacks a function")
	require.ErrorContains(t, err, "AggregateRows into table sums lacks a function")
	require.ErrorContains(t, err, "records go round in a loop")
}

func keep(acc, _ string) string { return acc }

func drop(acc, _ string) (string, bool) { return acc, false }

// A table of the rows of another one that are let through, with other values: as docs/from-faust.md has it for KTable.filter and mapValues.
func TestGroupTableFiltersRows(t *testing.T) {
	t.Parallel()
	p := newSingle()
	rows := topology.TableFrom(p.topo, "rows", p.left)
	long := topology.NewTable(p.topo, "long", codec.String, codec.String)
	kept := topology.GroupTable(rows, func(k, v string) (string, string, bool) { return k, v + "!", len(v) > 1 }, codec.String)
	topology.ReduceRows(kept, long, func(_, v string) string { return v }, func(v, _ string) (string, bool) { return v, false })
	topology.To(topology.ToStream(long), p.out)
	d := p.run(
		t, step{"left", "a", 1, nil}, step{"left", "ab", 2, []string{"ab!@2"}}, step{"left", "cd", 3, []string{"cd!@3"}},
		step{"left", "e", 4, []string{"null@4"}}, step{"left", "", 5, nil}, step{"left", "fg", 6, []string{"fg!@6"}},
	)
	require.Equal(t, map[string]string{"k": "fg!"}, topologytest.Table(d, long))
}
