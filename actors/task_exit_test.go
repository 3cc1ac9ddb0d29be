package actors_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// A task that ends its process does so in each, until it is mended: it is not contained, since it is in hand for as long as a process lives, and
// kills from outside would count for it. But no record is taken for the reason: once it is mended, all are done, once.
func TestATaskThatKills(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const until = 20 // deaths: four times what a record is given
		d, mended := &deaths{of: map[string]int{}}, false
		topo := topology.New("mortal")
		in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
		topology.Each(topo, "copy", in, func(ctx *topology.Context, e textEvent) error {
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Sends(out))
		topology.Task(topo, "kills", func(*topology.TaskContext) error {
			if d.sim.Exits() >= until {
				mended = true
				return nil
			}
			d.sim.Exit()
			return errors.New("nobody sees this")
		})
		p, err := topo.Plan()
		require.NoError(t, err)
		d.sim, err = actors.NewSimBegun(p, func(*plan.Topic) int32 { return 2 }, time.UnixMilli(1_700_000_000_000))
		require.NoError(t, err)
		defer d.sim.Close()
		d.sim.Choose = func(n int) int {
			if n == 1 {
				return 0
			}
			return rapid.IntRange(0, n-1).Draw(t, "next")
		}
		var want []string
		for n := range 12 {
			want = append(want, fmt.Sprint("v", n))
			d.send(t, p, n, want[n])
			for range rapid.IntRange(0, 12).Draw(t, "steps") {
				d.sim.Step()
			}
		}
		require.NoError(t, d.settle())
		require.True(t, mended)
		require.Equal(t, until, d.sim.Exits())
		slices.Sort(want)
		require.Equal(t, want, d.values(p, "out"))
		require.Empty(t, d.values(p, "mortal-dead-letters"))
	})
}
