package topologytest_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// Several workers keep the order of each key, write tables, and lose nothing in a crash; one record that fails costs nobody else.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	for _, loop := range []bool{false, true} {
		t.Run(fmt.Sprint("loop ", loop), func(t *testing.T) {
			t.Parallel()
			topo := topology.New("test")
			in := topology.NewTopic(topo, "in", codec.String, codec.String)
			out := topology.NewTopic(topo, "out", codec.String, codec.String)
			counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
			programs := 0
			handle := func(ctx ctxOf, ev event) error {
				out.Send(ctx, ev.Key, ev.Value)
				counts.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
				if ev.Value == "bad" {
					return errors.New("bad value")
				}
				return nil
			}
			opts := []topology.AgentOption{topology.Sends(out), topology.Writes(counts), topology.Concurrency(4), topology.OnFailure(topology.Policy{Attempts: 3})}
			if loop {
				topology.Agent(topo, "work", in, func(ctx ctxOf, s topology.Stream[string, string]) error {
					programs++
					for ev := range s.All() {
						if err := handle(ctx, ev); err != nil {
							return err
						}
					}
					return nil
				}, opts...)
			} else {
				topology.Each(topo, "work", in, handle, opts...)
			}
			d := one(t, topo)
			want, table := map[string][]string{}, map[string]int64{}
			for i := range 60 {
				key, value := fmt.Sprint("k", i%7), fmt.Sprint("v", i)
				if i == 31 {
					value = "bad"
				} else {
					want[key] = append(want[key], value)
					table[key]++
				}
				topologytest.Pipe(d, in, key, value)
				if i%20 == 15 {
					d.Crash()
				}
			}
			got := map[string][]string{}
			for _, ev := range topologytest.Read(d, out) {
				got[ev.Key] = append(got[ev.Key], ev.Value)
			}
			require.Equal(t, want, got)
			require.Equal(t, table, topologytest.Table(d, counts))
			requireLetter(t, d, "bad", "3", "bad value")
			if loop {
				require.Greater(t, programs, 4, "each worker has one of its own")
			}
		})
	}
}

func TestConcurrencyFaults(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	table := topology.NewTable(topo, "table", codec.String, codec.String)
	none := func(ctxOf, event) error { return nil }
	topology.Each(topo, "none", in, none, topology.Concurrency(0))
	topology.Each(topo, "many", in, none, topology.Concurrency(101))
	topology.EachRow(topo, "row", in, table, func(ctxOf, event, *topology.Row[string]) error { return nil }, topology.Concurrency(2))
	topology.Every(topo, "tick", time.Second, func(*topology.TaskContext) error { return nil }, topology.Concurrency(2))
	_, err := topo.Plan()
	for _, says := range []string{
		"agent none has the concurrency 0: use a number from 1 to 100", "agent many has the concurrency 101",
		"agent row has a concurrency of 2: its handler runs inside its table", "timer tick has a concurrency of 2: only agents have it",
	} {
		require.ErrorContains(t, err, says)
	}
}

// A batch that fails is one record's fault: the others are done, in batches again behind it, and that one alone is counted and given up.
func TestABatchThatFails(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	mid := topology.NewTopic(topo, "mid", codec.String, codec.String)
	topology.Each(topo, "spell", in, func(ctx ctxOf, ev event) error { // so that they come at once
		for c := range strings.SplitSeq(ev.Value, "") {
			mid.Send(ctx, ev.Key, c)
		}
		return nil
	}, topology.Sends(mid))
	var sizes []string
	topology.Agent(topo, "gather", mid, func(ctx ctxOf, s topology.Stream[string, string]) error {
		for batch := range s.Batches(4, time.Minute) {
			all := ""
			for _, ev := range batch {
				all += ev.Value
				out.Send(ctx, ev.Key, ev.Value)
			}
			sizes = append(sizes, all)
			if strings.Contains(all, "x") {
				return errors.New("poison")
			}
		}
		return nil
	}, topology.Sends(out), topology.OnFailure(topology.Policy{Attempts: 2}))
	d := one(t, topo)
	topologytest.Pipe(d, in, "k", "abxcdefg")
	require.Equal(t, []string{"a", "b", "c", "d", "e", "f", "g"}, values(d, out))
	requireLetter(t, d, "x", "2", "poison")
	require.Equal(t, []string{"abxc", "ab", "x", "x", "cdef", "g"}, sizes)
}

// The record at fault is found in a number of turns that grows with the logarithm of the batch, wherever it is, and others beside it.
func TestABatchThatFailsIsBisected(t *testing.T) {
	t.Parallel()
	const n = 64
	for _, bad := range [][]int{{0}, {1}, {31}, {32}, {62}, {63}, {5, 40}, {0, 1, 2, 63}} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			t.Parallel()
			topo := topology.New("test")
			in := topology.NewTopic(topo, "in", codec.String, codec.String)
			out := topology.NewTopic(topo, "out", codec.String, codec.String)
			mid := topology.NewTopic(topo, "mid", codec.String, codec.Int64)
			topology.Each(topo, "spell", in, func(ctx ctxOf, ev event) error { // so that they come at once
				for i := range int64(n) {
					mid.Send(ctx, ev.Key, i)
				}
				return nil
			}, topology.Sends(mid))
			turns := 0
			topology.Agent(topo, "gather", mid, func(ctx ctxOf, s topology.Stream[string, int64]) error {
				for batch := range s.Batches(n, time.Minute) {
					turns++
					for _, ev := range batch {
						if slices.Contains(bad, int(ev.Value)) {
							return errors.New("poison")
						}
						out.Send(ctx, ev.Key, strconv.FormatInt(ev.Value, 10))
					}
				}
				return nil
			}, topology.Sends(out), topology.OnFailure(topology.Policy{Attempts: 1}))
			d := one(t, topo)
			topologytest.Pipe(d, in, "k", "")
			var want []string
			for i := range n {
				if !slices.Contains(bad, i) {
					want = append(want, strconv.Itoa(i))
				}
			}
			require.Equal(t, want, values(d, out))
			require.Len(t, letters(d), len(bad))
			require.LessOrEqual(t, turns, len(bad)*(2*6+2)+1) // the batch, at most one that fails and one that does not for each half, and the rest
		})
	}
}
