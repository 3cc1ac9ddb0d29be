package work

import (
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// RemindAfter is how long after an errand was begun its timer is due.
const RemindAfter = 300 * time.Millisecond

// Errands has what agents do beside reading and writing topics. Each errand, whose key no other has, is begun by one of two workers: it goes through a channel in
// memory to an agent that walks it, a clerk in another partition is asked about it and the answer told, and a timer of its own reminds of
// it later. Until then it is in a set: at the end that is empty.
func Errands() *topology.Topology {
	t := topology.New("errands")
	errands := topology.NewTopic(t, "errands", codec.String, codec.Int64)
	walked := topology.NewTopic(t, "walked", codec.String, codec.Int64)
	questions := topology.NewTopic(t, "questions", codec.String, codec.Int64)
	told := topology.NewTopic(t, "told", codec.String, codec.Int64)
	reminded := topology.NewTopic(t, "reminded", codec.String, codec.Int64)
	open := topology.NewSetTable(t, "open", codec.String, codec.Int64)
	reminders := topology.NewTimers(t, "reminders", codec.String, codec.Int64)
	legs := topology.NewChannel[string, int64](t, "legs", topology.Capacity(16))

	clerk := topology.Answer(t, "clerk", questions, func(_ *topology.Context, ev topology.Event[string, int64]) (int64, error) {
		return ev.Value, nil
	}, codec.Int64)
	tell := topology.Then(t, "tell", errands, clerk, func(ctx *topology.Context, ev topology.Event[string, topology.Outcome[int64]]) error {
		if ev.Value.Err != nil {
			return topology.Permanent(ev.Value.Err)
		}
		told.Send(ctx, ev.Key, ev.Value.Result)
		return nil
	}, topology.Sends(told))
	topology.Each(t, "begin", errands, func(ctx *topology.Context, ev topology.Event[string, int64]) error {
		legs.Send(ctx, ev.Key, ev.Value)
		open.Add(ctx, ev.Key, ev.Value)
		reminders.After(ctx, ev.Key, RemindAfter, ev.Value)
		topology.AskThen(ctx, tell, ev.Key, fmt.Sprintf("clerk-%d", ev.Value%16), ev.Value)
		return nil
	}, topology.Concurrency(2), topology.Sends(legs, tell), topology.Writes(open, reminders))
	topology.Each(t, "walk", legs, func(ctx *topology.Context, ev topology.Event[string, int64]) error {
		walked.Send(ctx, ev.Key, ev.Value)
		return nil
	}, topology.Sends(walked))
	topology.OnTimer(t, "remind", reminders, func(ctx *topology.Context, x topology.Timer[string, int64]) error {
		open.Remove(ctx, x.Key, x.Payload)
		reminded.Send(ctx, x.Key, x.Payload)
		return nil
	}, topology.Writes(open), topology.Sends(reminded))
	return t
}
