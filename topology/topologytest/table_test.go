package topologytest_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func TestGetSeesOwnWrites(t *testing.T) {
	t.Parallel()
	b := newBench()
	d := each(t, b, func(ctx ctxOf, ev event) error {
		if ev.Value == "delete" {
			b.table.Delete(ctx, ev.Key)
		} else {
			b.table.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 10, nil })
		}
		n, ok, err := b.table.Get(ctx, ev.Key)
		b.out.Send(ctx, ev.Key, fmt.Sprint(n, ok))
		return err
	})
	pipe(d, b.in, "a", "b", "delete", "c")
	require.Equal(t, []string{"10 true", "20 true", "0 false", "10 true"}, values(d, b.out))
	require.Equal(t, map[string]int64{"k": 10}, topologytest.Table(d, b.table))
	pipe(d, b.in, "delete")
	d.Crash()
	require.Empty(t, topologytest.Table(d, b.table), "a deleted row stays deleted")
}

func TestScansSeeOwnWrites(t *testing.T) {
	t.Parallel()
	b := newBench(topology.Ordered())
	d := each(t, b, func(ctx ctxOf, ev event) error {
		if ev.Value != "scan" {
			b.table.Set(ctx, ev.Value, 1)
			return nil
		}
		b.table.Set(ctx, "b2", 2)
		b.table.Delete(ctx, "b1")
		for k := range b.table.Range(ctx, "a", "b3") {
			b.out.Send(ctx, "range", k)
		}
		for k := range b.table.Prefix(ctx, "b") {
			b.out.Send(ctx, "prefix", k)
		}
		for k := range b.table.All(ctx) {
			b.out.Send(ctx, "all", k)
			break // leaving early is no fault
		}
		return nil
	})
	pipe(d, b.in, "b3", "", "c", "b1", "a", "scan")
	require.Empty(t, d.Failures())
	require.Equal(t, []string{"a", "b2", "b2", "b3", ""}, values(d, b.out))
}

func TestRangeNeedsOrder(t *testing.T) {
	t.Parallel()
	b := newBench()
	d := each(t, b, func(ctx ctxOf, _ event) error {
		for range b.table.Range(ctx, "a", "b") {
			continue
		}
		return nil
	})
	pipe(d, b.in, "bad")
	requireLetter(t, d, "bad", "1", "table table: Range and Prefix need an ordered table: declare it with topology.Ordered()")
}

// mutated defines an agent that changes a value wherever it has had it in its hands: nothing of it must be seen.
func mutated[V any](t *testing.T, c codec.Codec[V], first V, change func(V), show func(V) string) {
	t.Helper()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, c)
	out := topology.NewTopic(topo, "out", codec.String, c)
	table := topology.NewTable(topo, "table", codec.String, c)
	topology.Each(topo, "agent", in, func(ctx ctxOf, ev topology.Event[string, V]) error {
		table.Set(ctx, ev.Key, ev.Value)
		out.Send(ctx, ev.Key, ev.Value)
		change(ev.Value)
		got, _, err := table.Get(ctx, ev.Key)
		change(got)
		return err
	}, topology.Writes(table), topology.Sends(out))
	again := topology.NewTopic(topo, "again", codec.String, codec.String)
	topology.Each(topo, "update", again, func(ctx ctxOf, ev event) error {
		table.Update(ctx, ev.Key, func(old V, _ bool) (V, error) {
			change(old)
			return old, errors.New("after all not")
		})
		return nil
	}, topology.Writes(table))
	d := one(t, topo)
	want := show(first)
	topologytest.Pipe(d, in, "k", first)
	check := func(when string) {
		require.Equal(t, want, show(topologytest.Table(d, table)["k"]), when)
		require.Equal(t, want, show(topologytest.Read(d, out)[0].Value), when)
	}
	check("after Set, Send and Get")
	pipe(d, again, "bad")
	require.Len(t, letters(d), 1)
	check("after an Update that failed")
	d.Crash()
	check("after a crash")
}

func TestMutatedValues(t *testing.T) {
	t.Parallel()
	mutated(t, codec.JSON[map[string]int](), map[string]int{"a": 1}, func(m map[string]int) { m["a"]++; m["b"] = 2 }, func(m map[string]int) string { return fmt.Sprint(m) })
	mutated(t, codec.Bytes, []byte("abc"), func(b []byte) { b[0]++ }, func(b []byte) string { return string(b) })
	type page struct{ Views int }
	mutated(t, codec.JSON[*page](), &page{1}, func(p *page) { p.Views++ }, func(p *page) string { return fmt.Sprint(*p) })
}

func TestNullAndEmpty(t *testing.T) {
	t.Parallel()
	b := newBench()
	d := each(t, b, func(ctx ctxOf, ev event) error {
		var opts []topology.SendOption
		if ev.NullKey {
			opts = append(opts, topology.NullKey())
		}
		if ev.NullValue {
			opts = append(opts, topology.NullValue())
		}
		b.out.Send(ctx, ev.Key, ev.Value, opts...)
		return nil
	})
	for _, k := range [][]byte{nil, {}} {
		for _, v := range [][]byte{nil, {}} {
			d.PipeRaw("in", 0, d.Now(), k, v)
		}
	}
	var got []string
	for _, ev := range topologytest.Read(d, b.out) {
		got = append(got, fmt.Sprint(ev.NullKey, ev.NullValue))
	}
	require.Equal(t, []string{"true true", "true false", "false true", "false false"}, got)
}

func TestSendOptions(t *testing.T) {
	t.Parallel()
	b := newBench()
	at := time.UnixMilli(1_700_000_000_000)
	topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
		b.out.Send(ctx, ev.Key, "plain")
		b.out.Send(ctx, ev.Key, "all", topology.WithTimestamp(at), topology.ToPartition(3), topology.WithHeaders(kafka.Header{Key: "h", Value: []byte("1")}, kafka.Header{Key: "n"}))
		b.out.Delete(ctx, ev.Key, topology.ToPartition(3))
		return nil
	}, b.all()...)
	d := topologytest.New(t, b.topo)
	sent := at.Add(-time.Hour)
	topologytest.PipeAt(d, b.in, sent, "k", "v")
	var all []event
	for _, ev := range topologytest.Read(d, b.out) {
		if ev.Partition() == 3 && (ev.Value == "all" || ev.NullValue) {
			all = append(all, ev)
			continue
		}
		require.Equal(t, "plain", ev.Value)
		require.Equal(t, sent.UnixMilli(), ev.Timestamp().UnixMilli(), "the time of the record at hand")
		require.Equal(t, kafka.Murmur2().Hash([]byte("k"), 4), ev.Partition())
	}
	require.Len(t, all, 2)
	require.Equal(t, at.UnixMilli(), all[0].Timestamp().UnixMilli())
	var headers []string
	for h := range all[0].Headers() {
		headers = append(headers, fmt.Sprintf("%s=%v", h.Key, h.Value))
	}
	require.Equal(t, []string{"h=[49]", "n=[]"}, headers)
	require.True(t, all[1].NullValue)
}

func TestEachRowSends(t *testing.T) {
	t.Parallel()
	b := newBench()
	topology.EachRow(b.topo, "agent", b.in, b.table, func(ctx ctxOf, ev event, row *topology.Row[int64]) error {
		n, _ := row.Get()
		row.Set(n + 1)
		b.out.Send(ctx, ev.Key, fmt.Sprint(ev.Value, n+1))
		switch ev.Value {
		case "bad":
			return errors.New("bad row")
		case "delete":
			row.Delete()
		}
		return nil
	}, topology.Sends(b.out))
	d := one(t, b.topo)
	pipe(d, b.in, "a", "bad", "b")
	require.Equal(t, []string{"a1", "b2"}, values(d, b.out))
	require.Equal(t, map[string]int64{"k": 2}, topologytest.Table(d, b.table))
	requireLetter(t, d, "bad", "4", "bad row")
	pipe(d, b.in, "delete", "c")
	d.PipeRaw("in", 0, d.Now(), nil, []byte("skipped"))
	require.Equal(t, map[string]int64{"k": 1}, topologytest.Table(d, b.table))
	require.Len(t, letters(d), 1)
}
