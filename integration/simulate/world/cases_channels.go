package world

import (
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// channels sends each record on through pipes in memory, to agents that fail and wait: a record and all that it causes is one.
func channels() *Case {
	return &Case{
		Name: "channels",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("channels")
			in, out, twice, end := topicOf(t, "in"), topicOf(t, "out"), topicOf(t, "twice"), topicOf(t, "end")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			deep := topology.NewTable(t, "deep", codec.String, codec.Int64)
			rows := topology.NewTable(t, "rows", codec.String, codec.Int64)
			one := topology.NewChannel[string, string](t, "one", topology.Capacity(8))
			two := topology.NewChannel[string, string](t, "two", topology.Capacity(2))
			three := topology.NewChannel[string, string](t, "three")
			plain := func(v string) string { return strings.TrimSuffix(v, poison) } // what is poison is so at the ends only
			topology.Each(t, "begin", in, func(ctx *topology.Context, e event) error {
				out.Send(ctx, e.Key, e.Value)
				counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Fate("update", plain(e.Value)) })
				one.Send(ctx, e.Key, e.Value)
				one.Send(ctx, e.Key, e.Value)
				three.Send(ctx, e.Key, e.Value)
				return h.Turn(ctx, "begin", plain(e.Value))
			}, topology.Sends(out, one, three), topology.Writes(counts))
			topology.Agent(t, "gather", one, func(ctx *topology.Context, s topology.Stream[string, string]) error {
				for batch := range s.Batches(3, time.Minute) {
					for _, e := range batch {
						twice.Send(ctx, e.Key, e.Value)
						two.Send(ctx, e.Key, e.Value)
						if err := h.Turn(ctx, "gather", plain(e.Value)); err != nil {
							return err
						}
					}
				}
				return nil
			}, topology.Sends(twice, two), topology.Concurrency(2))
			topology.Each(t, "end", two, func(ctx *topology.Context, e event) error {
				end.Send(ctx, e.Key, e.Value)
				deep.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Fate("deep", plain(e.Value)) })
				return h.Turn(ctx, "end", e.Value)
			}, topology.Sends(end), topology.Writes(deep), topology.Concurrency(3))
			topology.EachRow(t, "row", three, rows, func(_ *topology.Context, e event, row *topology.Row[int64]) error {
				n, _ := row.Get()
				row.Set(n + 1)
				return h.Fate("row", plain(e.Value))
			})
			t.OnFailure(topology.Policy{Attempts: 25, Backoff: topology.Backoff{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}})
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) { return someInput(r, i) },
		Check: func(o *Oracle) error {
			var double []Record
			once := counted(o.good())
			both := map[string]int64{}
			for _, r := range o.good() {
				double = append(double, r, r)
				both[r.Key] += 2
			}
			return errors.Join(o.inOrder("out", o.good(), nil), o.inOrder("twice", double, nil), o.inOrder("end", double, nil),
				o.table("counts", once), o.table("rows", once), o.table("deep", encoded(both)))
		},
	}
}

// lanes has several workers in each partition, which fail, wait and gather: the order of each key is kept.
func lanes() *Case {
	return &Case{
		Name: "lanes",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("lanes")
			in, out, some := topicOf(t, "in"), topicOf(t, "out"), topicOf(t, "some")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			seen := topology.NewTable(t, "seen", codec.String, codec.Int64)
			topology.Each(t, "work", in, func(ctx *topology.Context, e event) error {
				n, _, err := seen.Get(ctx, e.Key)
				if err != nil {
					return err
				}
				seen.Set(ctx, e.Key, n+1)
				out.Send(ctx, e.Key, e.Value)
				counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Fate("update", e.Value) })
				return h.Turn(ctx, "work", e.Value)
			}, topology.Sends(out), topology.Writes(counts, seen), topology.Concurrency(3))
			topology.Agent(t, "gather", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
				for batch := range s.Batches(3, 30*time.Millisecond) {
					for _, e := range batch {
						some.Send(ctx, e.Key, e.Value)
						if err := h.Turn(ctx, "gather", e.Value); err != nil {
							return err
						}
					}
				}
				return nil
			}, topology.Sends(some), topology.Concurrency(2))
			t.OnFailure(topology.Policy{Attempts: 25, Backoff: topology.Backoff{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}})
			return t
		},
		Agents: 2,
		Input:  someInput,
		Check: func(o *Oracle) error {
			want := counted(o.good())
			return errors.Join(o.inOrder("out", o.good(), nil), o.inOrder("some", o.good(), nil), o.table("counts", want), o.table("seen", want))
		},
	}
}
