package actors_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// newAlarms runs a topology in which each record sets a timer for a minute later, and the given function is called by it.
func newAlarms(
	t *testing.T, call func(sim *actors.Sim, p *plan.Plan, ctx *topology.Context, out *topology.Topic[string, string], x topology.Timer[string, string]) error,
) (sim *actors.Sim, p *plan.Plan) {
	t.Helper()
	topo := topology.New("alarms")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	alarms := topology.NewTimers(topo, "alarms", codec.String, codec.String)
	topology.Each(topo, "set", in, func(ctx *topology.Context, e topology.Event[string, string]) error {
		alarms.After(ctx, e.Key, time.Minute, e.Value)
		return nil
	}, topology.Writes(alarms))
	topology.OnTimer(topo, "alarm", alarms, func(ctx *topology.Context, x topology.Timer[string, string]) error {
		return call(sim, p, ctx, out, x)
	}, topology.Sends(out))
	p, err := topo.Plan()
	require.NoError(t, err)
	sim, err = actors.NewSim(p, func(*plan.Topic) int32 { return 1 }, time.UnixMilli(1_700_000_000_000))
	require.NoError(t, err)
	t.Cleanup(sim.Close)
	return sim, p
}

// A durable timer that kills its process each time is given up as a record would be, and the others are called, once.
func TestADurableTimerThatKills(t *testing.T) {
	t.Parallel()
	sim, p := newAlarms(t, func(sim *actors.Sim, _ *plan.Plan, ctx *topology.Context, out *topology.Topic[string, string], x topology.Timer[string, string]) error {
		out.Send(ctx, x.Key, x.Payload)
		if x.Payload == "kills" {
			sim.Exit()
			return errors.New("nobody sees this")
		}
		return nil
	})
	var want []string
	for i := range 40 {
		value := fmt.Sprintf("%02d", i)
		if want = append(want, value); i == 20 {
			value = "kills"
			want = want[:20]
		}
		require.NoError(t, sim.Produce(p.Topics[0], 0, int64(i+1), fmt.Appendf(nil, "%02d", i), []byte(value), nil))
	}
	require.NoError(t, sim.Settle())
	require.NoError(t, sim.Advance(time.Minute))
	for range 20 {
		require.NoError(t, sim.Advance(10*time.Second))
	}
	d := &deaths{sim: sim}
	require.Equal(t, want, d.values(p, "out"))
	require.GreaterOrEqual(t, sim.Exits(), 5)
	require.LessOrEqual(t, sim.Exits(), 10)
	for _, x := range p.Topics {
		if x.Kind != plan.DeadLetters {
			continue
		}
		log := sim.Log(x, 0)
		require.Len(t, log, 1)
		require.Equal(t, "kills", string(log[0].Value))
		letter, _, ok, err := kafka.ParseLetter(log[0].RawHeaders)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, kafka.StepProcess, letter.Step)
	}
}

// Where processes have ended with timers in hand, some at a time are called between two commits, as records are: one by one only when one has ended with some of them.
func TestTimersBehindADeathAreCalledSomeAtATime(t *testing.T) {
	t.Parallel()
	calls, commits := 0, map[int]bool{}
	sim, p := newAlarms(t, func(sim *actors.Sim, p *plan.Plan, ctx *topology.Context, out *topology.Topic[string, string], x topology.Timer[string, string]) error {
		if calls++; calls <= 2 {
			sim.Exit()
			return errors.New("nobody sees this")
		}
		out.Send(ctx, x.Key, x.Payload)
		commits[len(sim.Log(p.Topics[topicID(p, "out")], 0))] = true // what is committed so far
		return nil
	})
	for i := range 200 {
		require.NoError(t, sim.Produce(p.Topics[topicID(p, "in")], 0, int64(i+1), fmt.Append(nil, i), fmt.Append(nil, i), nil))
	}
	require.NoError(t, sim.Settle())
	require.NoError(t, sim.Advance(2*time.Minute))
	for range 20 {
		require.NoError(t, sim.Advance(10*time.Second))
	}
	require.Equal(t, 2, sim.Exits())
	require.Len(t, (&deaths{sim: sim}).values(p, "out"), 200)
	require.Equal(t, 202, calls)
	require.Less(t, len(commits), 30)
}
