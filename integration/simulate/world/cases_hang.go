package world

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// hangs has handlers, and functions inside a shard, that do not heed the end of their context, under a deadline.
func hangs() *Case {
	return &Case{
		Name: "hangs",
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("hangs")
			in, out := topicOf(t, "in"), topicOf(t, "out")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			again := topology.NewTable(t, "again", codec.String, codec.Int64)
			topology.Each(t, "count", in, func(ctx *topology.Context, e event) error {
				out.Send(ctx, e.Key, e.Value)
				counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Hang("update", e.Value, 200) })
				again.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) { return old + 1, h.Hang("again", e.Value, 200) })
				return h.Hang("count", e.Value, 150)
			}, topology.Sends(out), topology.Writes(counts, again))
			// A process that stands still has all its handlers late: that is nobody's fault, and may come often.
			t.OnFailure(topology.Policy{Attempts: 25, Deadline: 300 * time.Millisecond, Grace: 100 * time.Millisecond, Backoff: topology.Backoff{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}})
			return t
		},
		Input: someInput,
		Check: func(o *Oracle) error {
			if err := o.inOrder("out", o.good(), nil); err != nil {
				return err
			}
			return errors.Join(o.table("counts", counted(o.good())), o.table("again", counted(o.good())))
		},
	}
}

// Hang is Fate, and may hang before: for less than its deadline, or for more than deadline and grace.
func (h *Hooks) Hang(agent, value string, per int) error {
	if key := agent + "/" + value; h.failed[key] < maxBadLuck && h.s.Chance("handler: hangs", per) {
		h.failed[key]++
		h.s.Sleep(context.Background(), time.Duration(h.s.Rand().Int64N(int64(1500*time.Millisecond))))
	}
	return h.Fate(agent, value)
}

// halts stops a partition whenever a record fails, until an operator resumes it.
func halts() *Case {
	resume := func(w *World) {
		for _, n := range w.nodes {
			if n.running() && n.until.IsZero() {
				n.ground.Tell("partition-", actors.Resume{})
			}
		}
	}
	return &Case{
		Name: "halts", Compaction: 50, Calm: resume,
		Disturb: func(w *World) {
			if w.s.Chance("operator: resumes all partitions", 100) {
				resume(w)
			}
		},
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := counting("halts", h)
			t.OnFailure(topology.Policy{Attempts: 1, Then: topology.StopPartition})
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			key, value = someInput(r, i)
			return key, strings.TrimSuffix(value, poison)
		},
		Check: countedInOrder,
	}
}
