package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/sched"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// peeked is a flow in which records fail as handlers do.
func (h *Hooks) peeked(flow topology.Flow[string, string], where string) topology.Flow[string, string] {
	return topology.Peek(flow, func(e event) {
		if err := h.Fate(where, e.Value); err != nil {
			panic(err)
		}
	})
}

// throttle hands out records no faster than a limit says, to an agent that lets other keys go on while a record is retried; another one is as fast as it is.
func throttle() *Case {
	const n, per = 4, 150 * time.Millisecond
	return &Case{
		Name: "throttle", Agents: 2,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("throttle")
			in, out, fast := topicOf(t, "in"), topicOf(t, "out"), topicOf(t, "fast")
			type who struct {
				p         *sched.Proc
				partition int32
			}
			calls := map[who][]time.Time{}
			topology.Each(t, "slow", topology.Throttle(in, n, per), func(ctx *topology.Context, e event) error {
				me := who{h.s.Running(), e.Partition()}
				calls[me] = append(calls[me], h.s.Now())
				if i := len(calls[me]) - 1 - n; i >= 0 {
					if gap := calls[me][i+n].Sub(calls[me][i]); gap >= per && gap < per+per/8 {
						h.o.Saw(sawThrottled)
					}
				}
				out.Send(ctx, e.Key, e.Value)
				return h.Turn(ctx, "slow", e.Value)
			}, topology.Sends(out), topology.OnFailure(topology.Policy{KeyOrder: true}))
			topology.To(h.peeked(topology.From(in), "fast"), fast)
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			return errors.Join(o.inOrder("out", o.good(), nil), o.inOrder("fast", o.good(), nil))
		},
	}
}

// async calls a function for some records at a time, which takes its time and fails, before their turns, which fail too.
func async() *Case {
	return &Case{
		Name: "async",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("async")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			under := map[*sched.Proc]map[int32]int{} // calls under way, by partition
			called := topology.MapAsync(h.peeked(topology.From(in), "before"), 4, func(ctx context.Context, e event) (string, error) {
				p := h.s.Running()
				if under[p] == nil {
					under[p] = map[int32]int{}
				}
				if under[p][e.Partition()]++; under[p][e.Partition()] > 1 {
					h.o.Saw(sawAhead)
				}
				defer func() { under[p][e.Partition()]-- }()
				h.s.Sleep(ctx, time.Duration(h.s.Rand().Int64N(int64(60*time.Millisecond))))
				return e.Value, h.Fate("call", e.Value)
			})
			topology.To(h.peeked(called, "behind"), out)
			t.OnFailure(topology.Policy{Attempts: 25, Deadline: 400 * time.Millisecond, Backoff: topology.Backoff{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}})
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error { return o.inOrder("out", o.good(), nil) },
	}
}

// distinct lets the first record of each identity through, which it remembers for a while, by the times of records, some of which are late. Records fail before and behind it.
func distinct() *Case {
	identity := func(value string) string { return strings.Fields(value)[1] }
	return &Case{
		Name: "distinct", Compaction: 200,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("distinct")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			seen := topology.NewSetTable(t, "seen", codec.String, codec.String, topology.TTL(entryLife*time.Millisecond, topology.EventTime))
			once := topology.Distinct(h.peeked(topology.From(in), "before"), seen, func(e event) string { return identity(e.Value) })
			topology.To(h.peeked(once, "behind"), out)
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			key, id := someInput(r, i)
			return key, id + " " + word(r, 4)
		},
		At: someTime,
		Check: func(o *Oracle) error {
			clocks, rows := map[int32]int64{}, map[int32]map[string]int64{} // when rows expire
			purge := func(p int32) {
				maps.DeleteFunc(rows[p], func(_ string, expires int64) bool { return expires <= clocks[p] })
			}
			var want []Record
			for _, r := range o.good() {
				p, row := r.Partition, fmt.Sprintf("%c%s%s", rune(len(r.Key)), r.Key, identity(r.Value))
				if rows[p] == nil {
					rows[p] = map[string]int64{}
				}
				clocks[p] = max(clocks[p], r.At)
				purge(p)
				if _, known := rows[p][row]; known {
					o.Saw(sawAgain)
					continue
				}
				want = append(want, r)
				rows[p][row] = r.At + entryLife
				purge(p)
			}
			if err := o.inOrder("out", want, nil); err != nil {
				return err
			}
			left := map[string]string{}
			for _, of := range rows {
				for row := range of {
					left[row] = ""
				}
			}
			return o.table("seen", left)
		},
	}
}
