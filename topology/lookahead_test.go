package topology_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// counter is a topology whose agent counts by Get and Set.
func counter(opts ...topology.TableOption) (*topology.Topology, *topology.Topic[string, string], *topology.Table[string, int64]) {
	t := topology.New("t")
	in := topology.NewTopic(t, "in", codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64, opts...)
	return t, in, counts
}

func count(counts *topology.Table[string, int64]) func(*topology.Context, topology.Event[string, string]) error {
	return func(ctx *topology.Context, e topology.Event[string, string]) error {
		n, _, err := counts.Get(ctx, e.Key)
		counts.Set(ctx, e.Key, n+1)
		return err
	}
}

func distinct(n int) (recs []record) {
	for i := range n {
		recs = append(recs, record{key: fmt.Sprint(i)})
	}
	return recs
}

// TestGetAsksAhead: a handler that asks for the rows of its records' keys asks for many at once, if nobody else can change them.
func TestGetAsksAhead(t *testing.T) {
	t.Parallel()
	const n = 200
	type (
		table = *topology.Table[string, int64]
		topic = *topology.Topic[string, string]
	)
	define := func(t *topology.Topology, in topic, counts table, opts ...topology.AgentOption) {
		topology.Each(t, "count", in, count(counts), append(opts, topology.Writes(counts))...)
	}
	for name, x := range map[string]struct {
		table  []topology.TableOption
		define func(t *topology.Topology, in topic, counts table)
		ahead  bool
	}{
		"alone": {nil, func(t *topology.Topology, in topic, counts table) { define(t, in, counts) }, true},
		"beside readers": {nil, func(t *topology.Topology, in topic, counts table) {
			define(t, in, counts)
			topology.Each(t, "other", in, func(ctx *topology.Context, e topology.Event[string, string]) error {
				_, _, err := counts.Get(ctx, e.Key)
				return err
			}, topology.Reads(counts))
		}, true},
		"beside another writer": {nil, func(t *topology.Topology, in topic, counts table) {
			define(t, in, counts)
			topology.Each(t, "other", in, count(counts), topology.Writes(counts))
		}, false},
		"several workers": {nil, func(t *topology.Topology, in topic, counts table) {
			define(t, in, counts, topology.Concurrency(2))
		}, false},
		"entries expire": {[]topology.TableOption{topology.TTL(time.Hour, topology.EventTime)}, func(t *topology.Topology, in topic, counts table) { define(t, in, counts) }, false},
		"followed": {nil, func(t *topology.Topology, in topic, counts table) {
			define(t, in, counts)
			topology.To(topology.Changes(counts), topology.NewTopic(t, "out", codec.String, codec.JSON[topology.Change[int64]]()))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topo, in, counts := counter(x.table...)
			x.define(topo, in, counts)
			node := newNode(t, topo, 1, 0)
			node.async = true
			done, err := node.run("count", distinct(n)...)
			require.NoError(t, err)
			require.Equal(t, n, done)
			require.Len(t, rows[int64](node, "counts"), n)
			if !x.ahead {
				require.Equal(t, n, node.queries)
				return
			}
			require.LessOrEqual(t, node.queries, n/16)
			node.queries = 0
			_, err = node.run("count", distinct(n)...)
			require.NoError(t, err)
			require.LessOrEqual(t, node.queries, n/16)
			for _, row := range rows[int64](node, "counts") {
				require.Regexp(t, "=2$", row)
			}
		})
	}
}

// TestGetDoesNotAskAheadInVain: a handler whose writes make what was asked for worthless stops to ask for it.
func TestGetDoesNotAskAheadInVain(t *testing.T) {
	t.Parallel()
	topo, in, counts := counter()
	topology.Each(topo, "count", in, func(ctx *topology.Context, e topology.Event[string, string]) error {
		_, _, err := counts.Get(ctx, e.Key)
		counts.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return err
	}, topology.Writes(counts))
	node := newNode(t, topo, 1, 0)
	node.async = true
	_, err := node.run("count", distinct(1000)...)
	require.NoError(t, err)
	require.Less(t, node.many, 20)
	require.Equal(t, 1000, node.queries)
}

// TestGetOfAValueThatDoesNotDecode gives out nothing of it, and fails the record.
func TestGetOfAValueThatDoesNotDecode(t *testing.T) {
	t.Parallel()
	type pair struct{ A, B []string }
	topo := topology.New("t")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	pairs := topology.NewTable(topo, "pairs", codec.String, codec.JSON[pair]())
	var got pair
	topology.Each(topo, "get", in, func(ctx *topology.Context, e topology.Event[string, string]) error {
		v, ok, err := pairs.Get(ctx, e.Key)
		require.False(t, ok)
		got = v
		return err
	}, topology.Writes(pairs))
	n := newNode(t, topo, 1, 0)
	b := new(kafka.Batch)
	b.Append(0, 1, []byte("k"), []byte(`{"A":["a"],"B":7}`), nil)
	require.NoError(t, n.shards[0].Replay(b))
	_, err := n.run("get", record{key: "k"})
	require.ErrorContains(t, err, "pairs")
	require.Equal(t, pair{}, got)
}

// TestGetAheadIsWhatGetIs lets a handler do anything at all with the rows of its record's key and others, fail now and then, and compares each row that it is
// told with what it has written.
func TestGetAheadIsWhatGetIs(t *testing.T) {
	t.Parallel()
	asked := 0
	rapid.Check(t, func(rt *rapid.T) {
		topo, in, counts := counter()
		model, before := map[string]int64{}, map[string]int64(nil)
		var faults []string
		fails := map[int64]bool{}
		topology.Each(topo, "any", in, func(ctx *topology.Context, e topology.Event[string, string]) error {
			before = maps.Clone(model)
			for i := 0; i+1 < len(e.Value); i += 2 {
				key := string(e.Value[i+1])
				if key == "=" {
					key = e.Key
				}
				switch e.Value[i] {
				case 'g':
					n, ok, err := counts.Get(ctx, key)
					if want, is := model[key]; err != nil || n != want || ok != is {
						faults = append(faults, fmt.Sprintf("offset %d, step %d: %s is %d, %v, %v; want %d, %v", e.Offset(), i, key, n, ok, err, want, is))
					}
				case 's':
					model[key] = e.Offset()*100 + int64(i)
					counts.Set(ctx, key, model[key])
				case 'd':
					delete(model, key)
					counts.Delete(ctx, key)
				case 'u':
					model[key] += 7
					counts.Update(ctx, key, func(n int64, _ bool) (int64, error) { return n + 7, nil })
				}
			}
			if fails[e.Offset()] {
				return errors.New("no")
			}
			return nil
		}, topology.Writes(counts))
		key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		// Most do nothing but ask for the row of their key first, so that it is asked ahead.
		step := rapid.OneOf(rapid.SampledFrom([]string{"g=", "g=", "s=", "d="}), rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"g", "s", "d", "u"}).Draw(t, "what") + key.Draw(t, "key")
		}))
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) record {
			value := "g="
			for range rapid.IntRange(0, 3).Draw(t, "steps") {
				value += step.Draw(t, "step")
			}
			return record{key: key.Draw(t, "key"), value: value}
		}), 1, 80).Draw(rt, "records")
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(records)-1), 0, 3).Draw(rt, "fail") {
			fails[100+int64(i)] = true
		}
		node := newNode(t, topo, 1, 0)
		node.async = true
		a := node.agent("any")
		program := a.Program()
		for recs := node.batch(a, records...); len(recs) > 0; {
			done, err := node.drive(a, program, recs)
			if recs = recs[done:]; err != nil {
				r := recs[0]
				delete(fails, r.B.Records[r.I].Offset) // the next time it is not
				model = before
				if rapid.Bool().Draw(rt, "begin anew") {
					program = a.Program()
				}
			}
		}
		if len(faults) > 0 {
			rt.Fatalf("%v", faults)
		}
		asked += node.many
	})
	require.Positive(t, asked)
}

var _ plan.Async = aheadInput{}
