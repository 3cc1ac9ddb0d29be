package world

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// exits counts records, some of which end the process that has them in hand, in the handler or inside the table. Its timer does so now
// and then, too: the deaths of which no record must be blamed for.
func exits() *Case {
	return &Case{
		Name: "exits", Busy: 3,
		Define: func(h *Hooks, _ int) *topology.Topology {
			t := topology.New("exits")
			in, out, ticks := topicOf(t, "in"), topicOf(t, "out"), topicOf(t, "ticks")
			counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
			topology.Each(t, "count", in, func(ctx *topology.Context, e event) error {
				out.Send(ctx, e.Key, e.Value)
				if strings.HasSuffix(e.Value, deadly) {
					h.Exit(e.Value)
				}
				counts.Update(ctx, e.Key, func(old int64, _ bool) (int64, error) {
					if strings.HasSuffix(e.Value, deep) {
						h.Exit(e.Value)
					}
					return old + 1, h.Fate("update", e.Value)
				})
				return h.Turn(ctx, "count", e.Value)
			}, topology.Sends(out), topology.Writes(counts))
			topology.Every(t, "tick", 500*time.Millisecond, func(ctx *topology.TaskContext) error {
				if h.s.Chance("timer: exits", 100) {
					h.Exit("of the timer")
				}
				ticks.Send(ctx, "tick", "tick", topology.ToPartition(ctx.Partition()))
				return nil
			}, topology.Reads(counts), topology.Sends(ticks))
			return t
		},
		Input: func(r *rand.Rand, i int) (key, value string) {
			switch key, value = someInput(r, i); r.IntN(200) {
			case 0:
				value = fmt.Sprintf("r%d%s", i, deadly)
			case 1:
				value = fmt.Sprintf("r%d%s", i, deep)
			}
			return key, value
		},
		Check: func(o *Oracle) error {
			if err := o.inOrder("out", o.good(), nil); err != nil {
				return err
			}
			if err := o.found(); err != nil {
				return err
			}
			return o.table("counts", counted(o.good()))
		},
	}
}
