package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

//go:embed golden.gz
var packed []byte

func goldens(t *testing.T) []golden {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	b, err := io.ReadAll(z)
	require.NoError(t, err)
	all, err := parseGolden(b)
	require.NoError(t, err)
	require.Len(t, all, len(kinds)*seedsPerKind, "golden.gz is of other scripts: go run ./integration/reference")
	return all
}

// What Kafka Streams makes of the scripts, record by record, with times, headers and tombstones, is what ours makes of them. With one partition
// the order of all records is the same; with several, that of each key's.
func TestReference(t *testing.T) {
	t.Parallel()
	byKind := map[string][]golden{}
	for _, g := range goldens(t) {
		byKind[g.kind] = append(byKind[g.kind], g)
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			for _, g := range byKind[k.name] {
				records := script(k, g.seed)
				require.Equal(t, g.sum, crc32.ChecksumIEEE([]byte(text(k, records))), "script %d has changed since golden.gz was made: go run ./integration/reference", g.seed)
				replay(t, k, g, records, 1)
				if g.seed%3 == 0 && !k.ordered {
					replay(t, k, g, records, 3)
				}
			}
		})
	}
}

// replay runs a script through ours, and now and then loses all memory on the way.
func replay(t *testing.T, k kind, g golden, records []record, partitions int32) {
	t.Helper()
	d := topologytest.New(t, define(t, k.name), topologytest.Partitions(partitions))
	seen := make([]int, partitions)
	for i, r := range records {
		var key, value []byte
		part := int32(0)
		if r.key != nil {
			key = []byte(*r.key)
			part = d.PartitionOf(r.topic, key)
		}
		if r.value != nil {
			value = []byte(*r.value)
		}
		if g.seed%2 == 1 && i == len(records)/2 {
			d.Crash()
		}
		d.PipeRaw(r.topic, part, time.UnixMilli(r.at), key, value, kafka.Header{Key: "n", Value: strconv.AppendInt(nil, int64(i), 10)})
		require.Empty(t, d.Failures())
		var got []string
		for p, b := range d.Records("out") {
			for at := seen[p]; at < len(b.Records); at++ {
				x := record{topic: "out", at: b.Records[at].Timestamp}
				if key := b.Key(at); key != nil {
					x.key = new(string(key))
				}
				if value := b.Value(at); value != nil {
					x.value = new(string(value))
				}
				for h := range b.Headers(at) {
					x.headers = strings.TrimPrefix(x.headers+" "+h.Key+string(h.Value), " ")
				}
				got = append(got, x.result())
			}
			seen[p] = len(b.Records)
		}
		var want []string
		for _, x := range g.made[i] {
			want = append(want, x.result())
		}
		if k.mixed {
			slices.SortStableFunc(got, byKey)
			slices.SortStableFunc(want, byKey)
		}
		if partitions > 1 { // of one record at a time: few keys, whose order is compared over the script as a whole with one partition
			slices.Sort(got)
			slices.Sort(want)
		}
		require.Equal(t, want, got, "script %d of %s, %d partitions, record %d: %s; all of it:\n%s", g.seed, k.name, partitions, i, r.line(), text(k, records))
	}
}

// byKey compares lines of records by their keys.
func byKey(a, b string) int {
	return strings.Compare(strings.Split(a, "\t")[1], strings.Split(b, "\t")[1])
}

// plus is what all joins do.
func plus(l, r string) string { return l + "+" + r }

func plusLeft(l, r string, ok bool) string { return plus(l, orNull(r, ok)) }

func plusOuter(l string, hasLeft bool, r string, hasRight bool) string {
	return plus(orNull(l, hasLeft), orNull(r, hasRight))
}

func orNull(s string, ok bool) string {
	if !ok {
		return "null"
	}
	return s
}

func first(v string) string { return v[:1] }

// byFirst groups rows by their first letter.
func byFirst(_, v string) (group, value string, ok bool) { return first(v), v, true }

// byForeign is the same, but for rows with an x, which are in no group.
func byForeign(k, v string) (group, value string, ok bool) {
	group, ok = foreign(k, v)
	return group, k + v, ok
}

func foreign(_, v string) (string, bool) { return first(v), first(v) != "x" }

// mapped is foreign for joins with a global table.
func mapped(ev topology.Event[string, string]) (string, bool) { return foreign(ev.Key, ev.Value) }

// modulo groups numbers.
func modulo(m int64) func(k string, n int64) (group, value string, ok bool) {
	return func(k string, n int64) (string, string, bool) { return fmt.Sprint(n % m), k, true }
}

func nothing() string { return "" }

func minus(x, y string) (string, bool) { return x + "-" + y, true }

// minusOrGone now and then leaves nothing.
func minusOrGone(x, y string) (string, bool) { return x + "-" + y, len(x) <= 12 }

// define is what Reference.java defines under the same name.
func define(t *testing.T, kind string) *topology.Topology {
	t.Helper()
	topo := topology.New("reference")
	topic := func(name string) *topology.Topic[string, string] {
		return topology.NewTopic(topo, name, codec.String, codec.String)
	}
	table := func(name string) *topology.Table[string, string] {
		return topology.NewTable(topo, name, codec.String, codec.String)
	}
	from := func(name string) *topology.Table[string, string] {
		return topology.TableFrom(topo, name+"-table", topic(name))
	}
	out := topic("out")
	switch kind {
	case "stream-table":
		topology.To(topology.Join(topology.From(topic("left")), from("right"), plus), out)
	case "stream-table-left":
		topology.To(topology.LeftJoin(topology.From(topic("left")), from("right"), plusLeft), out)
	case "stream-table-table":
		topology.To(topology.LeftJoin(topology.Join(topology.From(topic("left")), from("right"), plus), from("third"), plusLeft), out)
	case "stream-table-count":
		counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
		topology.Count(topology.GroupByKey(topology.Join(topology.From(topic("left")), from("right"), plus)), counts)
		toText(counts, out)
	case "table-stream":
		topology.To(topology.ToStream(from("left")), out)
	case "table-table":
		joined := table("joined")
		topology.JoinTables(from("left"), from("right"), joined, plus)
		topology.To(topology.ToStream(joined), out)
	case "table-table-left":
		joined := table("joined")
		topology.LeftJoinTables(from("left"), from("right"), joined, plusLeft)
		topology.To(topology.ToStream(joined), out)
	case "table-table-outer":
		joined := table("joined")
		topology.OuterJoinTables(from("left"), from("right"), joined, plusOuter)
		topology.To(topology.ToStream(joined), out)
	case "table-table-table":
		joined, again := table("joined"), table("joined-again")
		topology.JoinTables(from("left"), from("right"), joined, plus)
		topology.OuterJoinTables(joined, from("third"), again, plusOuter)
		topology.To(topology.ToStream(again), out)
	case "count":
		counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
		topology.Count(topology.GroupByKey(topology.From(topic("left"))), counts)
		toText(counts, out)
	case "count-by":
		counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
		keyed := topology.Filter(topology.From(topic("left")), func(ev topology.Event[string, string]) bool { return !ev.NullValue })
		topology.Count(topology.GroupBy(keyed, first), counts)
		toText(counts, out)
	case "reduce":
		sums := table("sums")
		topology.Reduce(topology.GroupByKey(topology.From(topic("left"))), sums, func(x, y string) string { return x + y })
		topology.To(topology.ToStream(sums), out)
	case "aggregate":
		sums := table("sums")
		topology.Aggregate(topology.GroupByKey(topology.From(topic("left"))), sums, func() string { return "" },
			func(x string, ev topology.Event[string, string]) string { return x + "[" + ev.Value + "]" })
		topology.To(topology.ToStream(sums), out)
	case "count-table":
		counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
		joined := table("joined")
		topology.Count(topology.GroupByKey(topology.From(topic("left"))), counts)
		topology.LeftJoinTables(counts, from("right"), joined, func(n int64, r string, ok bool) string { return plusLeft(fmt.Sprint(n), r, ok) })
		topology.To(topology.ToStream(joined), out)
	case "group-table-count":
		counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
		topology.CountRows(topology.GroupTable(from("left"), byFirst, codec.String), counts)
		toText(counts, out)
	case "group-table-reduce":
		sums := table("sums")
		topology.ReduceRows(topology.GroupTable(from("left"), byFirst, codec.String), sums, plus, minus)
		topology.To(topology.ToStream(sums), out)
	case "group-table-aggregate":
		sums := table("sums")
		topology.AggregateRows(topology.GroupTable(from("left"), byFirst, codec.String), sums, nothing, plus, minus)
		topology.To(topology.ToStream(sums), out)
	case "group-table-gone":
		sums := table("sums")
		topology.AggregateRows(topology.GroupTable(from("left"), byForeign, codec.String), sums, nothing, plus, minusOrGone)
		topology.To(topology.ToStream(sums), out)
	case "group-table-reduce-gone":
		sums := table("sums")
		topology.ReduceRows(topology.GroupTable(from("left"), byForeign, codec.String), sums, plus, minusOrGone)
		topology.To(topology.ToStream(sums), out)
	case "group-table-chain":
		counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
		perCount := topology.NewTable(topo, "per-count", codec.String, codec.Int64)
		sums := table("sums")
		topology.Count(topology.GroupByKey(topology.From(topic("left"))), counts)
		topology.CountRows(topology.GroupTable(counts, modulo(3), codec.String), perCount)
		topology.ReduceRows(topology.GroupTable(perCount, modulo(2), codec.String), sums, plus, minus)
		topology.To(topology.ToStream(sums), out)
	case "foreign":
		joined := table("joined")
		topology.JoinForeign(from("left"), from("right"), joined, foreign, plus)
		topology.To(topology.ToStream(joined), out)
	case "foreign-left":
		joined := table("joined")
		topology.LeftJoinForeign(from("left"), from("right"), joined, foreign, plusLeft)
		topology.To(topology.ToStream(joined), out)
	case "foreign-chain":
		rights, joined, again := table("rights"), table("joined"), table("joined-again")
		topology.Reduce(topology.GroupByKey(topology.From(topic("right"))), rights, func(x, y string) string { return x + y })
		topology.LeftJoinForeign(from("left"), rights, joined, foreign, plusLeft)
		topology.JoinForeign(joined, from("third"), again, foreign, plus)
		topology.To(topology.ToStream(again), out)
	case "foreign-self":
		left, joined := from("left"), table("joined")
		topology.LeftJoinForeign(left, left, joined, foreign, plusLeft)
		topology.To(topology.ToStream(joined), out)
	case "foreign-group":
		joined, sums := table("joined"), table("sums")
		topology.JoinForeign(from("left"), from("right"), joined, foreign, plus)
		topology.ReduceRows(topology.GroupTable(joined, byFirst, codec.String), sums, plus, minus)
		topology.To(topology.ToStream(sums), out)
	case "stream-global":
		right := topology.NewGlobalTable(topo, "right-table", topic("right"))
		topology.To(topology.JoinGlobal(topology.From(topic("left")), right, mapped, plus), out)
	case "stream-global-left":
		right := topology.NewGlobalTable(topo, "right-table", topic("right"))
		topology.To(topology.LeftJoinGlobal(topology.From(topic("left")), right, mapped, plusLeft), out)
	case "stream-global-table":
		right, sums := topology.NewGlobalTable(topo, "right-table", topic("right")), table("sums")
		global := topology.LeftJoinGlobal(topology.From(topic("left")), right, mapped, plusLeft)
		topology.Reduce(topology.GroupByKey(topology.LeftJoin(global, from("third"), plusLeft)), sums, func(x, y string) string { return x + y })
		topology.To(topology.ToStream(sums), out)
	default:
		require.FailNow(t, "no kind "+kind)
	}
	return topo
}

// toText sends the changes of a table of numbers as texts.
func toText(counts *topology.Table[string, int64], out *topology.Topic[string, string]) {
	topology.To(topology.Map(topology.ToStream(counts), func(n int64) string { return fmt.Sprint(n) }), out)
}
