package actors_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

type (
	textTopic = *topology.Topic[string, string]
	textEvent = topology.Event[string, string]
)

// places are where user code may kill its process with a record in hand. Each makes of every record one of out, unless it dies.
var places = map[string]func(t *topology.Topology, in, out textTopic, kill func(value string)){
	"a loop": func(t *topology.Topology, in, out textTopic, kill func(string)) {
		topology.Agent(t, "agent", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
			for e := range s.All() {
				kill(e.Value)
				out.Send(ctx, e.Key, e.Value)
			}
			return nil
		}, topology.Sends(out))
	},
	"a handler": func(t *topology.Topology, in, out textTopic, kill func(string)) {
		topology.Each(t, "agent", in, func(ctx *topology.Context, e textEvent) error {
			kill(e.Value)
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Sends(out))
	},
	"batches": func(t *topology.Topology, in, out textTopic, kill func(string)) {
		topology.Agent(t, "agent", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
			for many := range s.Batches(7, time.Second) {
				for _, e := range many {
					kill(e.Value)
					out.Send(ctx, e.Key, e.Value)
				}
			}
			return nil
		}, topology.Sends(out))
	},
	"a durable timer": func(t *topology.Topology, in, out textTopic, kill func(string)) {
		alarms := topology.NewTimers(t, "alarms", codec.String, codec.String)
		topology.Each(t, "set", in, func(ctx *topology.Context, e textEvent) error {
			alarms.At(ctx, e.Value, e.Timestamp(), e.Value) // in the order of the records
			return nil
		}, topology.Writes(alarms))
		topology.OnTimer(t, "agent", alarms, func(ctx *topology.Context, x topology.Timer[string, string]) error {
			kill(x.Payload)
			out.Send(ctx, x.Key, x.Payload)
			return nil
		}, topology.Sends(out))
	},
	"a row": func(t *topology.Topology, in, out textTopic, kill func(string)) {
		rows := topology.NewTable(t, "rows", codec.String, codec.Int64)
		topology.EachRow(t, "agent", in, rows, func(ctx *topology.Context, e textEvent, row *topology.Row[int64]) error {
			kill(e.Value)
			row.Set(1)
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Sends(out))
	},
	"a table function": func(t *topology.Topology, in, out textTopic, kill func(string)) {
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, "agent", in, func(ctx *topology.Context, e textEvent) error {
			counts.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) {
				kill(e.Value)
				return n + 1, nil
			})
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Sends(out), topology.Writes(counts))
	},
	"an operator": func(_ *topology.Topology, in, out textTopic, kill func(string)) {
		topology.To(topology.Map(topology.From(in), func(v string) string { kill(v); return v }), out, topology.Named("agent"))
	},
	"an operator of a table": func(t *topology.Topology, in, out textTopic, kill func(string)) {
		last := topology.NewTable(t, "last", codec.String, codec.String)
		topology.Aggregate(topology.GroupByKey(topology.From(in)), last, func() string { return "" }, func(_ string, e textEvent) string {
			kill(e.Value)
			return e.Value
		}, topology.Named("agent"))
		topology.To(topology.ToStream(last), out, topology.Named("changes"))
	},
	"behind a channel": func(t *topology.Topology, in, out textTopic, kill func(string)) {
		pipe := topology.NewChannel[string, string](t, "pipe")
		topology.Each(t, "agent", in, func(ctx *topology.Context, e textEvent) error {
			pipe.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Sends(pipe))
		topology.Each(t, "behind", pipe, func(ctx *topology.Context, e textEvent) error {
			kill(e.Value)
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Sends(out))
	},
	"several workers": func(t *topology.Topology, in, out textTopic, kill func(string)) {
		topology.Each(t, "agent", in, func(ctx *topology.Context, e textEvent) error {
			kill(e.Value)
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Sends(out), topology.Concurrency(4))
	},
}

// A record that kills its process, wherever user code has it in hand, meets its policy after five deaths with it alone; all others are done once.
func TestWhatKillsWherever(t *testing.T) {
	t.Parallel()
	for place, define := range places {
		for _, then := range []topology.Decision{topology.DeadLetter, topology.Skip, topology.StopPartition, topology.StopNode} {
			t.Run(fmt.Sprint(place, ", ", then), func(t *testing.T) {
				t.Parallel()
				d := &deaths{of: map[string]int{}}
				topo := topology.New("mortal")
				in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
				topo.OnFailure(topology.Policy{Then: then})
				define(topo, in, out, func(value string) {
					if value == "deadly" {
						d.sim.Exit()
						panic("nobody sees this")
					}
				})
				p, err := topo.Plan()
				require.NoError(t, err)
				d.sim, err = actors.NewSim(p, func(*plan.Topic) int32 { return 1 }, time.UnixMilli(1_700_000_000_000))
				require.NoError(t, err)
				defer d.sim.Close()
				var before, after []string
				for n := range 40 {
					value := fmt.Sprint("r", n)
					switch {
					case n == 20:
						value = "deadly"
					case n < 20:
						before = append(before, value)
					default:
						after = append(after, value)
					}
					d.send(t, p, n, value)
				}
				err = d.settle()
				require.LessOrEqual(t, d.sim.Exits(), 9)
				if then == topology.StopNode {
					require.ErrorIs(t, err, topology.ErrProcessExit)
					require.ErrorContains(t, err, "ends the node")
					require.NotContains(t, d.values(p, "out"), "deadly")
					return
				}
				require.NoError(t, err)
				want := before
				letters := []string(nil)
				switch then {
				case topology.StopPartition:
					require.Len(t, d.sim.Stopped(), 1)
				case topology.DeadLetter:
					letters = []string{"deadly"}
					fallthrough
				default:
					want = append(want, after...)
				}
				slices.Sort(want)
				got := d.values(p, "out")
				if then == topology.StopPartition && place == "several workers" { // others of its keys may be done
					require.Subset(t, got, want)
				} else {
					require.Equal(t, want, got)
				}
				require.NotContains(t, got, "deadly")
				require.Equal(t, letters, d.values(p, "mortal-dead-letters"))
			})
		}
	}
}
