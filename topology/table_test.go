package topology_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

type counts = *topology.Table[string, int64]

// tableNode is a node with an agent that does fn with a table.
func tableNode(t *testing.T, partitions int32, fn func(ctxOf, counts, event) error, table []topology.TableOption, source ...topology.TopicOption) *node {
	t.Helper()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String, source...)
	tb := topology.NewTable(topo, "counts", codec.String, codec.Int64, table...)
	topology.Each(topo, "each", in, func(ctx ctxOf, ev event) error { return fn(ctx, tb, ev) }, topology.Writes(tb))
	return newNode(t, topo, partitions, 0)
}

func TestTableSeesItsOwnWrites(t *testing.T) {
	t.Parallel()
	n := tableNode(t, 1, func(ctx ctxOf, tb counts, ev event) error {
		before, ok, err := tb.Get(ctx, ev.Key)
		require.NoError(t, err)
		require.Equal(t, before > 0, ok)
		tb.Update(ctx, ev.Key, func(old int64, ok bool) (int64, error) {
			require.Equal(t, old > 0, ok)
			return old + 1, nil
		})
		tb.Set(ctx, "other", 40)
		tb.Update(ctx, "other", func(old int64, _ bool) (int64, error) { return old + 2, nil })
		after, ok, err := tb.Get(ctx, ev.Key)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, before+1, after)
		tb.Delete(ctx, "gone")
		if ev.Value == "fail" {
			return errors.New("no")
		}
		return nil
	}, nil)
	done, err := n.run("each", record{key: "a"}, record{key: "a"}, record{key: "b"}, record{key: "a", value: "fail"})
	require.EqualError(t, err, "no")
	require.Equal(t, 3, done)
	require.Equal(t, []string{"a=2", "b=1", "other=42"}, rows[int64](n, "counts"))
	require.Equal(t, 8, n.queries)
}

func TestUpdateFails(t *testing.T) {
	t.Parallel()
	n := tableNode(t, 1, func(ctx ctxOf, tb counts, _ event) error {
		tb.Update(ctx, "a", func(int64, bool) (int64, error) { return 0, errors.New("never") })
		return nil
	}, nil)
	done, err := n.run("each", record{key: "a"})
	require.ErrorContains(t, err, "never")
	require.Zero(t, done)
}

func TestTableKeysOfOtherPartitions(t *testing.T) {
	t.Parallel()
	write := func(ctx ctxOf, tb counts, ev event) error { tb.Set(ctx, ev.Key, 1); return nil }
	key := func(here, elsewhere kafka.Partitioner) string {
		for i := range 1000 {
			k := fmt.Sprint(i)
			if here.Hash([]byte(k), 4) == 0 && elsewhere.Hash([]byte(k), 4) != 0 {
				return k
			}
		}
		return ""
	}
	murmur, crc := kafka.Murmur2(), kafka.CRC32()

	n := tableNode(t, 4, write, nil)
	_, err := n.run("each", record{key: key(murmur, crc)})
	require.NoError(t, err)
	_, err = n.run("each", record{key: key(crc, murmur)})
	require.ErrorContains(t, err, "not to 0 (if the keys are those of topic in, it is written with the partitioner crc32: declare it with topology.WithPartitioner)")
	require.ErrorContains(t, err, "or declare the table Local()")

	n = tableNode(t, 4, write, nil, topology.WithPartitioner(crc))
	_, err = n.run("each", record{key: key(crc, murmur)})
	require.NoError(t, err)

	n = tableNode(t, 4, write, []topology.TableOption{topology.Local()})
	_, err = n.run("each", record{key: key(crc, murmur)})
	require.NoError(t, err)

	n = tableNode(t, 4, func(ctx ctxOf, tb counts, ev event) error { _, _, err := tb.Get(ctx, ev.Key); return err }, nil)
	_, err = n.run("each", record{key: key(crc, murmur)})
	require.ErrorContains(t, err, "belongs to partition", "a key that cannot be here is not absent")
}

func TestUndeclaredUse(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	tb := topology.NewTable(topo, "counts", codec.String, codec.Int64, topology.Ordered())
	topology.Each(topo, "owner", in, func(ctxOf, event) error { return nil }, topology.Writes(tb), topology.Sends(out))
	var fn func(ctxOf)
	each := func(ctx ctxOf, _ event) error { fn(ctx); return nil }
	topology.Each(topo, "none", in, each)
	topology.Each(topo, "reader", in, each, topology.Reads(tb))
	n := newNode(t, topo, 1, 0)
	for _, c := range []struct {
		agent, want string
		fn          func(ctxOf)
	}{
		{"none", "agent none sends to topic out without having declared it: add topology.Sends(out) to it", func(ctx ctxOf) { out.Send(ctx, "", "") }},
		{"none", "agent none reads table counts without having declared it: add topology.Reads(counts) to it", func(ctx ctxOf) { tb.Get(ctx, "") }}, //nolint:errcheck // it fails the record
		{"none", "topology.Reads(counts)", func(ctx ctxOf) {
			for range tb.All(ctx) {
				t.Error("there is nothing to read")
			}
		}},
		{"reader", "agent reader writes table counts without having declared it: add topology.Writes(counts) to it", func(ctx ctxOf) { tb.Set(ctx, "", 1) }},
		{"reader", "topology.Writes(counts)", func(ctx ctxOf) { tb.Delete(ctx, "") }},
		{"reader", "topology.Writes(counts)", func(ctx ctxOf) { tb.Update(ctx, "", nil) }},
	} {
		fn = c.fn
		_, err := n.run(c.agent, record{key: "k"})
		require.ErrorContains(t, err, c.want)
	}
}

func TestScans(t *testing.T) {
	t.Parallel()
	for _, ordered := range []bool{true, false} {
		var got []string
		var opts []topology.TableOption
		if ordered {
			opts = append(opts, topology.Ordered())
		}
		n := tableNode(t, 1, func(ctx ctxOf, tb counts, ev event) error {
			switch ev.Key {
			case "fill":
				for i := range 1300 { // several chunks
					tb.Set(ctx, fmt.Sprintf("%04d", i), int64(i))
				}
			case "all":
				tb.Set(ctx, "own", 1)
				for k := range tb.All(ctx) {
					got = append(got, k)
				}
			case "writing": // while it is read
				for k := range tb.All(ctx) {
					got = append(got, k)
					tb.Delete(ctx, "1299")
				}
			case "range":
				for k := range tb.Range(ctx, "0010", "0700") {
					got = append(got, k)
				}
			case "prefix":
				for k := range tb.Prefix(ctx, "120") {
					got = append(got, k)
				}
			case "reverse":
				for k := range tb.All(ctx, topology.Reverse()) {
					got = append(got, k)
				}
			case "back range":
				for k := range tb.Range(ctx, "0010", "0700", topology.Reverse()) {
					got = append(got, k)
				}
			case "break":
				for k := range tb.All(ctx) {
					got = append(got, k)
					break
				}
			}
			return nil
		}, opts)
		scan := func(key string) ([]string, error) {
			got = nil
			_, err := n.run("each", record{key: key})
			return got, err
		}
		_, err := scan("fill")
		require.NoError(t, err)
		all, err := scan("all")
		require.NoError(t, err)
		require.Len(t, all, 1301)
		require.IsIncreasing(t, all)
		slices.Reverse(all)
		back, err := scan("reverse")
		require.NoError(t, err)
		require.Equal(t, all, back)
		one, err := scan("break")
		require.NoError(t, err)
		require.Equal(t, []string{"0000"}, one)
		for key, want := range map[string]int{"range": 690, "prefix": 10} {
			some, err := scan(key)
			if !ordered {
				require.ErrorContains(t, err, "table counts: Range and Prefix need an ordered table: declare it with topology.Ordered()")
				require.Empty(t, some)
				continue
			}
			require.NoError(t, err)
			require.Len(t, some, want)
			require.IsIncreasing(t, some)
		}
		if ordered {
			back, err = scan("back range")
			require.NoError(t, err)
			require.Len(t, back, 690)
			require.IsDecreasing(t, back)
			left, err := scan("writing")
			require.NoError(t, err)
			require.Len(t, left, 1300)
			require.NotContains(t, left, "1299")
		}
	}
}

func TestPrefixOfTheLastKeys(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.Bytes, codec.String)
	tb := topology.NewTable(topo, "counts", codec.Bytes, codec.Int64, topology.Ordered())
	keys := [][]byte{{}, {0xfe}, {0xfe, 0xff}, {0xff}, {0xff, 0xff}, {0xff, 0xff, 1}}
	var got [][]byte
	topology.Each(topo, "each", in, func(ctx ctxOf, ev topology.Event[[]byte, string]) error {
		for i, k := range keys {
			tb.Set(ctx, k, int64(i))
		}
		for k := range tb.Prefix(ctx, ev.Key) {
			got = append(got, k)
		}
		return nil
	}, topology.Writes(tb))
	n := newNode(t, topo, 1, 0)
	for prefix, want := range map[string][][]byte{"": keys, "\xff": keys[3:], "\xff\xff": keys[4:], "\xfe": keys[1:3], "\xfe\xff": keys[2:3], "a": nil} {
		got = nil
		_, err := n.run("each", record{key: prefix})
		require.NoError(t, err)
		require.Equal(t, want, got, "%x", prefix)
	}
}

// A value that is changed after Set, or after Get, changes nothing.
func TestValuesAreCopies(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	tb := topology.NewTable(topo, "maps", codec.String, codec.JSON[map[string]int]())
	topology.Each(topo, "each", in, func(ctx ctxOf, ev event) error {
		m := map[string]int{"a": 1}
		tb.Set(ctx, ev.Key, m)
		m["a"] = 2
		got, _, err := tb.Get(ctx, ev.Key)
		require.NoError(t, err)
		require.Equal(t, map[string]int{"a": 1}, got)
		got["a"] = 3
		return nil
	}, topology.Writes(tb))
	n := newNode(t, topo, 1, 0)
	_, err := n.run("each", record{key: "k"})
	require.NoError(t, err)
	require.Equal(t, []string{"k=map[a:1]"}, rows[map[string]int](n, "maps"))
}

func TestSetOfWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	tb := topology.NewTable(topo, "any", codec.String, codec.JSON[map[string]any]())
	topology.Each(topo, "each", in, func(ctx ctxOf, ev event) error {
		tb.Set(ctx, ev.Key, map[string]any{"f": func() {}})
		return nil
	}, topology.Writes(tb))
	n := newNode(t, topo, 1, 0)
	_, err := n.run("each", record{key: "k"})
	require.ErrorContains(t, err, "set table any: encode the value: json: unsupported type")
}

func TestFaultsOfTableOptions(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	topology.NewTable(topo, "other", codec.String, codec.Int64, topology.Default(func() string { return "" }))
	topology.NewTable(topo, "nothing", codec.String, codec.Int64, topology.Default[int64](nil))
	topology.NewSetTable(topo, "set", codec.String, codec.String, topology.Default(func() string { return "" }))
	topology.NewTable(topo, "brief", codec.String, codec.Int64, topology.TTL(time.Microsecond, topology.EventTime))
	followed := topology.NewTable(topo, "followed", codec.String, codec.Int64, topology.TTL(time.Hour, topology.EventTime))
	topology.To(topology.ToStream(followed), topology.NewTopic(topo, "out", codec.String, codec.Int64))
	topology.NewTable(topo, "ahead", codec.String, codec.Int64, topology.Migrate(1, codec.Int64, func(n int64) (int64, error) { return n, nil }))
	topology.NewTable(topo, "mixed", codec.String, codec.Int64, topology.Version(1), topology.Migrate(0, codec.Int64, func(int64) (string, error) { return "", nil }))
	twice := topology.NewTable(topo, "twice", codec.String, codec.Int64)
	for range 2 {
		topology.NewIndex(twice, "i", func(string, int64) string { return "" }, codec.String)
	}
	topology.NewIndex[string, int64, string](twice, "none", nil, codec.String)
	topology.NewSetTable(topo, "fickle", codec.String, codec.Compressed(codec.String, codec.S2))
	_, err := topo.Plan()
	for _, want := range []string{
		"table other: topology.Default was given a func() string, and the table has values of type int64: pass a function that makes one",
		"table nothing: topology.Default was given no function: pass one that makes a value",
		"table set is a set table: topology.Default is for values",
		"table brief: topology.TTL was given 1µs: pass a millisecond at least",
		"table followed has a TTL, and is joined or its changes are followed",
		"table ahead: topology.Migrate from version 1, and the table is of version 0: declare the newer one with topology.Version",
		"table mixed: topology.Migrate from version 0 makes a string, and the table has values of type int64",
		"table twice has two indexes i: name one of them otherwise",
		"index none of table twice lacks its function or its codec",
		"table fickle: the codec of its keys cannot be used for keys: its elements: ",
	} {
		require.ErrorContains(t, err, want)
	}
}
