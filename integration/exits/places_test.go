package exits

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// deadly ends the process whose user code gets it.
const deadly = "deadly"

// slow begins records that take a while.
const slow = "slow"

// agent is the one that has the record in hand.
const agent = "copy"

type (
	textTopic = *topology.Topic[string, string]
	textEvent = topology.Event[string, string]
)

// inHandler is a place whose topology also counts in a table.
const inHandler = "handler"

// places are where user code may have a record in hand. Each copies what it gets, unless it dies.
var places = map[string]func(t *topology.Topology, in, out textTopic){
	inHandler: func(t *topology.Topology, in, out textTopic) {
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, agent, in, func(ctx *topology.Context, e textEvent) error {
			strike(e.Value)
			counts.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Writes(counts), topology.Sends(out))
	},
	"row": func(t *topology.Topology, in, out textTopic) {
		rows := topology.NewTable(t, "rows", codec.String, codec.Int64)
		topology.EachRow(t, agent, in, rows, func(ctx *topology.Context, e textEvent, row *topology.Row[int64]) error {
			strike(e.Value)
			row.Set(1)
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Sends(out))
	},
	"update": func(t *topology.Topology, in, out textTopic) {
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, agent, in, func(ctx *topology.Context, e textEvent) error {
			counts.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) {
				strike(e.Value)
				return n + 1, nil
			})
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Writes(counts), topology.Sends(out))
	},
	"operator": func(_ *topology.Topology, in, out textTopic) {
		topology.To(topology.Map(topology.From(in), func(v string) string { strike(v); return v }), out, topology.Named(agent))
	},
	// Nothing but the call for a timer that the deadly record has set ends the process.
	"timer": func(t *topology.Topology, in, out textTopic) {
		alarms := topology.NewTimers(t, "alarms", codec.String, codec.String)
		topology.Each(t, "set", in, func(ctx *topology.Context, e textEvent) error {
			if e.Value == deadly {
				alarms.After(ctx, e.Key, 0, e.Value)
				return nil
			}
			out.Send(ctx, e.Key, e.Value)
			return nil
		}, topology.Writes(alarms), topology.Sends(out))
		topology.OnTimer(t, agent, alarms, func(_ *topology.Context, x topology.Timer[string, string]) error {
			strike(x.Payload)
			return nil
		})
	},
	"props": func(t *topology.Topology, in, out textTopic) {
		topology.Props(t, agent, in, actor.PropsFromProducer(func() actor.Actor { return &copier{out} }), topology.Sends(out))
	},
}

// define makes the topology of a place.
func define(place string) *topology.Topology {
	t := topology.New(place)
	in := topology.NewTopic(t, place+"-in", codec.String, codec.String)
	out := topology.NewTopic(t, place+"-out", codec.String, codec.String)
	places[place](t, in, out)
	return t
}

func strike(value string) {
	if value == deadly {
		fmt.Fprintln(os.Stderr, "handler: os.Exit(1)")
		os.Exit(1)
	}
	if strings.HasPrefix(value, slow) {
		<-time.After(20 * time.Millisecond)
	}
}

// copier is an actor of a user's own.
type copier struct{ out textTopic }

func (a *copier) Receive(c actor.Context) {
	b, ok := c.Message().(*topology.Batch[string, string])
	if !ok {
		return
	}
	for i := range b.Len() {
		ctx, err := b.Begin(i)
		if err != nil {
			return
		}
		e, err := b.At(i)
		if err == nil {
			strike(e.Value)
			a.out.Send(ctx, e.Key, e.Value)
			err = b.Done(i)
		} else {
			err = b.Fail(i, err)
		}
		if err != nil {
			return
		}
	}
}
