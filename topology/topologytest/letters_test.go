package topologytest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// What a handler has not declared makes a dead letter at once, whose error names the option to add.
func TestUndeclaredUse(t *testing.T) {
	t.Parallel()
	for want, use := range map[string]func(bench, ctxOf){
		"agent agent sends to topic out without having declared it: add topology.Sends(out) to it": func(b bench, ctx ctxOf) { b.out.Send(ctx, "", "") },
		"agent agent reads table table without having declared it: add topology.Reads(table) to it": func(b bench, ctx ctxOf) {
			_, _, _ = b.table.Get(ctx, "") // the error fails the record too
		},
		"agent agent writes table table without having declared it: add topology.Writes(table) to it": func(b bench, ctx ctxOf) { b.table.Set(ctx, "", 1) },
	} {
		b := newBench()
		topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
			if ev.Value == "bad" {
				use(b, ctx)
			}
			return nil
		})
		topology.Each(b.topo, "other", topology.NewTopic(b.topo, "in2", codec.String, codec.String), func(ctxOf, event) error { return nil }, b.all()...)
		d := one(t, b.topo)
		pipe(d, b.in, "fine", "bad", "fine")
		requireLetter(t, d, "bad", "1", want)
	}
}

func TestWrongPartition(t *testing.T) {
	t.Parallel()
	for _, local := range []bool{false, true} {
		var opts []topology.TableOption
		if local {
			opts = append(opts, topology.Local())
		}
		b := newBench(opts...)
		topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
			b.table.Set(ctx, ev.Key, 1)
			return nil
		}, b.all()...)
		d := topologytest.New(t, b.topo)
		key := ""
		for k := range strings.SplitSeq("abcdefghijklmnop", "") { // one that another client would put elsewhere
			if kafka.CRC32().Hash([]byte(k), 4) != kafka.Murmur2().Hash([]byte(k), 4) {
				key = k
				break
			}
		}
		d.PipeRaw("in", kafka.CRC32().Hash([]byte(key), 4), d.Now(), []byte(key), []byte("v"))
		if local {
			require.Empty(t, letters(d))
			require.Equal(t, map[string]int64{key: 1}, topologytest.Table(d, b.table))
			continue
		}
		requireLetter(t, d, "v", "1", "table table: key", "crc32", "topology.WithPartitioner", "Local()")
		require.Empty(t, topologytest.Table(d, b.table))
	}
}

func TestUndecodable(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.Int64, codec.Int64)
	sum := int64(0)
	topology.Each(topo, "agent", in, func(_ ctxOf, ev topology.Event[int64, int64]) error { sum += ev.Value; return nil })
	d := one(t, topo)
	topologytest.Pipe(d, in, 1, 20)
	d.PipeRaw("in", 0, d.Now(), nil, []byte("bad"), kafka.Header{Key: "h", Value: []byte("own")})
	topologytest.Pipe(d, in, 1, 3)
	require.EqualValues(t, 23, sum)
	l := requireLetter(t, d, "bad", "1", "decode the value of in/0@1 as int64", "an int64 has 8 bytes, got 3")
	require.Equal(t, "own", l.headers["h"])
	require.Len(t, d.Failures(), 1)
	var bad *topology.DecodeError
	require.ErrorAs(t, d.Failures()[0], &bad)

	d.PipeRaw("in", 0, d.Now(), []byte("k"), nil)
	require.Contains(t, letters(d)[1].headers["troupe.error"], "decode the key of in/0@3 as int64")
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	b := newBench()
	d := each(t, b, func(ctx ctxOf, ev event) error {
		v := ev.Value
		if v == "bad" {
			v = strings.Repeat("x", 2_000_000)
		}
		b.out.Send(ctx, ev.Key, v)
		return nil
	})
	pipe(d, b.in, "a", "bad", "b")
	require.Equal(t, []string{"a", "b"}, values(d, b.out))
	requireLetter(t, d, "bad", "1", "a record of 2000001 bytes to topic out", "raise its max.message.bytes")
}

// The table's shard finds out about a value that its changelog does not take.
func TestTooLargeForATable(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	table := topology.NewTable(topo, "table", codec.String, codec.String)
	topology.Each(topo, "agent", in, func(ctx ctxOf, ev event) error {
		v := ev.Value
		if v == "bad" {
			v = strings.Repeat("x", 2_000_000)
		}
		table.Set(ctx, v[:1], v)
		return nil
	}, topology.Writes(table))
	d := one(t, topo)
	pipe(d, in, "a", "bad", "b")
	require.Equal(t, map[string]string{"a": "a", "b": "b"}, topologytest.Table(d, table))
	requireLetter(t, d, "bad", "1", "table", "200000", "max.message.bytes")
}

// A failure inside the shard fails its record alone, with all effects of it.
func TestUpdateThatFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() (int64, error){
		"bad error": func() (int64, error) { return 0, errors.New("bad error") },
		"bad panic": func() (int64, error) { panic("bad panic") },
	} {
		b := newBench()
		d := each(t, b, func(ctx ctxOf, ev event) error {
			b.out.Send(ctx, ev.Key, ev.Value)
			b.table.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) {
				if ev.Value == "bad" {
					return fail()
				}
				return n + 1, nil
			})
			return nil
		})
		pipe(d, b.in, "a", "bad", "c")
		require.Equal(t, []string{"a", "c"}, values(d, b.out), name)
		require.Equal(t, map[string]int64{"k": 2}, topologytest.Table(d, b.table), name)
		requireLetter(t, d, "bad", "4", name)
	}
}

// A context, or a row, that is kept past its turn says so.
func TestKeptContext(t *testing.T) {
	t.Parallel()
	b := newBench()
	var kept ctxOf
	topology.EachRow(b.topo, "agent", b.in, b.table, func(ctx ctxOf, _ event, row *topology.Row[int64]) error {
		kept = ctx
		row.Set(1)
		return nil
	}, topology.Sends(b.out))
	d := one(t, b.topo)
	pipe(d, b.in, "a")
	require.Panics(t, func() { b.out.Send(kept, "k", "v") })
	require.Empty(t, letters(d))
}
