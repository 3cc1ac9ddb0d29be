package actors_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// deaths ends the process that a handler runs in.
type deaths struct {
	sim *actors.Sim
	of  map[string]int // by agent and record
}

// strike ends the process if the record is deadly for the agent.
func (d *deaths) strike(agent, value string) error {
	if !strings.HasSuffix(value, "kills "+agent) {
		return nil
	}
	d.of[agent+" "+value]++
	d.sim.Exit()
	return errors.New("nobody sees this")
}

func mortal(d *deaths, policy topology.Policy) *topology.Topology {
	t := topology.New("mortal")
	in := topology.NewTopic(t, "in", codec.String, codec.String)
	out := topology.NewTopic(t, "out", codec.String, codec.String)
	gathered := topology.NewTopic(t, "gathered", codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Each(t, "copy", in, func(ctx *topology.Context, e topology.Event[string, string]) error {
		out.Send(ctx, e.Key, e.Value)
		return d.strike("copy", e.Value)
	}, topology.Sends(out), topology.OnFailure(policy))
	topology.Agent(t, "gather", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
		for evs := range s.Batches(3, time.Second) {
			for _, e := range evs {
				gathered.Send(ctx, e.Key, e.Value)
				if err := d.strike("gather", e.Value); err != nil {
					return err
				}
			}
		}
		return nil
	}, topology.Sends(gathered))
	topology.EachRow(t, "row", in, counts, func(_ *topology.Context, e topology.Event[string, string], row *topology.Row[int64]) error {
		n, _ := row.Get()
		row.Set(n + 1)
		return d.strike("row", e.Value)
	})
	return t
}

func newMortal(t require.TestingT, policy topology.Policy) (*deaths, *plan.Plan) {
	d := &deaths{of: map[string]int{}}
	p, err := mortal(d, policy).Plan()
	require.NoError(t, err)
	d.sim, err = actors.NewSim(p, func(*plan.Topic) int32 { return 2 }, time.UnixMilli(1_700_000_000_000))
	require.NoError(t, err)
	return d, p
}

func (d *deaths) send(t require.TestingT, p *plan.Plan, n int, value string) {
	key, in := fmt.Sprint("k", n%4), p.Topics[topicID(p, "in")]
	require.NoError(t, d.sim.Produce(in, in.Partitioner.Hash([]byte(key), d.sim.Env().Partitions[in.ID]), int64(1000+n), []byte(key), []byte(value), nil))
}

func topicID(p *plan.Plan, name string) int {
	return slices.IndexFunc(p.Topics, func(t *plan.Topic) bool { return t.Name == name })
}

// settle settles, and gives each process the time to live that it has to before it is given what others have died with.
func (d *deaths) settle() error {
	for range 24 {
		if err := d.sim.Advance(9 * time.Second); err != nil {
			return err
		}
	}
	return nil
}

func (d *deaths) values(p *plan.Plan, topic string) (all []string) {
	t := p.Topics[topicID(p, topic)]
	for part := range d.sim.Env().Partitions[t.ID] {
		for _, r := range d.sim.Log(t, part) {
			all = append(all, string(r.Value))
		}
	}
	slices.Sort(all)
	return all
}

// TestWhatKillsIsFound has records that kill the process in any place, and a few processes that are killed from outside at any moment: those
// records become dead letters, of the agent that they kill, nothing else does, and the rest is done once.
func TestWhatKillsIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d, p := newMortal(t, topology.Policy{})
		defer d.sim.Close()
		d.sim.Choose = func(n int) int {
			if n == 1 {
				return 0
			}
			return rapid.IntRange(0, n-1).Draw(t, "next")
		}
		want := map[string][]string{}
		kills := rapid.IntRange(0, 4).Draw(t, "kills from outside") // fewer than it takes
		for n := range rapid.IntRange(1, 12).Draw(t, "records") {
			value, agent := fmt.Sprint("v", n), ""
			if rapid.IntRange(0, 9).Draw(t, "deadly") == 0 {
				agent = rapid.SampledFrom([]string{"copy", "gather", "row"}).Draw(t, "agent")
				value += " kills " + agent
				want["letters"] = append(want["letters"], value)
			}
			d.send(t, p, n, value)
			for topic, of := range map[string]string{"out": "copy", "gathered": "gather"} {
				if agent != of {
					want[topic] = append(want[topic], value)
				}
			}
			for range rapid.IntRange(0, 12).Draw(t, "steps") {
				d.sim.Step()
			}
			if kills > 0 && rapid.IntRange(0, 3).Draw(t, "kill") == 0 {
				kills--
				require.NoError(t, d.sim.Crash())
			}
		}
		for i := 0; i < 100 && len(d.values(p, "mortal-dead-letters")) < len(want["letters"]); i++ { // each takes five deaths, some time apart
			require.NoError(t, d.sim.Advance(9*time.Second))
		}
		require.NoError(t, d.settle())
		for _, values := range want {
			slices.Sort(values)
		}
		require.Equal(t, want["letters"], d.values(p, "mortal-dead-letters"))
		require.Equal(t, want["out"], d.values(p, "out"))
		require.Equal(t, want["gathered"], d.values(p, "gathered"))
	})
}

// TestWhatFailsFirstAndThenKills: a record that fails with an error in each process before it kills it is found as one that kills at once.
func TestWhatFailsFirstAndThenKills(t *testing.T) {
	t.Parallel()
	for _, policy := range []topology.Policy{{}, {KeyOrder: true}, {Attempts: 9, Backoff: topology.Backoff{Min: 2 * time.Second}}} {
		var d *deaths
		failed := map[int]int{} // by process
		topo := topology.New("mortal")
		in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
		topology.Each(topo, "copy", in, func(ctx *topology.Context, e topology.Event[string, string]) error {
			out.Send(ctx, e.Key, e.Value)
			if e.Value == "kills copy" {
				if failed[d.sim.Exits()]++; failed[d.sim.Exits()] < 3 {
					return errors.New("not yet")
				}
			}
			return d.strike("copy", e.Value)
		}, topology.Sends(out), topology.OnFailure(policy))
		p, err := topo.Plan()
		require.NoError(t, err)
		d = &deaths{of: map[string]int{}}
		d.sim, err = actors.NewSim(p, func(*plan.Topic) int32 { return 2 }, time.UnixMilli(1_700_000_000_000))
		require.NoError(t, err)
		d.sim.Backoff = true
		var want []string
		for n := range 60 {
			value := fmt.Sprint("r", n)
			if n == 30 {
				value = "kills copy"
			} else {
				want = append(want, value)
			}
			d.send(t, p, n, value)
		}
		for range 300 {
			require.NoError(t, d.sim.Advance(time.Second))
		}
		slices.Sort(want)
		require.Equal(t, []string{"kills copy"}, d.values(p, "mortal-dead-letters"), "%+v", policy)
		require.Equal(t, want, d.values(p, "out"))
		require.LessOrEqual(t, d.sim.Exits(), 10)
		d.sim.Close()
	}
}

// TestDeathsAreCounted: two deaths narrow the suspicion, five are counted.
func TestDeathsAreCounted(t *testing.T) {
	t.Parallel()
	var asked []error
	d, p := newMortal(t, topology.Policy{Decide: func(f topology.Failure) topology.Decision {
		asked = append(asked, f.Err)
		require.Equal(t, 5, f.Attempts)
		return topology.ByPolicy
	}})
	defer d.sim.Close()
	for n := range 40 {
		d.send(t, p, 4*n, fmt.Sprint("v", n))
	}
	d.send(t, p, 0, "kills copy")
	for n := range 40 {
		d.send(t, p, 4*n, fmt.Sprint("w", n))
	}
	require.NoError(t, d.settle())
	require.Equal(t, 8, d.of["copy kills copy"]) // the first had no reason to suspect anything
	require.Len(t, asked, 1)
	require.ErrorIs(t, asked[0], topology.ErrProcessExit)
	require.Equal(t, []string{"kills copy"}, d.values(p, "mortal-dead-letters"))
	require.Len(t, d.values(p, "out"), 80)
	require.Len(t, d.values(p, "gathered"), 81)
}

// TestPolicyOfWhatKills: the policy's last step, and Decide, hold for it as for anything that is permanent.
func TestPolicyOfWhatKills(t *testing.T) {
	t.Parallel()
	t.Run("skip", func(t *testing.T) {
		t.Parallel()
		d, p := newMortal(t, topology.Policy{Then: topology.Skip})
		defer d.sim.Close()
		d.send(t, p, 0, "kills copy")
		d.send(t, p, 0, "next")
		require.NoError(t, d.settle())
		require.Empty(t, d.values(p, "mortal-dead-letters"))
		require.Equal(t, []string{"next"}, d.values(p, "out"))
	})
	t.Run("stop", func(t *testing.T) {
		t.Parallel()
		d, p := newMortal(t, topology.Policy{Then: topology.StopPartition})
		defer d.sim.Close()
		d.send(t, p, 0, "kills copy")
		d.send(t, p, 0, "next")
		require.NoError(t, d.settle())
		require.Len(t, d.sim.Stopped(), 1)
		died := d.sim.Exits()
		require.NoError(t, d.sim.Crash())
		require.Len(t, d.sim.Stopped(), 1, "a process that comes later stops there too, and does not try it")
		require.Equal(t, died, d.sim.Exits())
		require.NoError(t, d.sim.Resume())
		require.Equal(t, died+1, d.sim.Exits(), "unless it is told to")
		require.Len(t, d.sim.Stopped(), 1)
		require.Empty(t, d.values(p, "out"))
	})
	t.Run("retry", func(t *testing.T) {
		t.Parallel()
		more := 3
		d, p := newMortal(t, topology.Policy{Decide: func(topology.Failure) topology.Decision {
			if more--; more >= 0 {
				return topology.Retry
			}
			return topology.ByPolicy
		}})
		defer d.sim.Close()
		d.send(t, p, 0, "kills copy")
		require.NoError(t, d.settle())
		require.Equal(t, 8+3, d.sim.Exits())
		require.Equal(t, []string{"kills copy"}, d.values(p, "mortal-dead-letters"))
	})
}

// TestATimerThatKills: a firing that kills is skipped as a record would be, those after it come, and records go on.
func TestATimerThatKills(t *testing.T) {
	t.Parallel()
	var sim *actors.Sim
	calls := 0
	topo := topology.New("ticking")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.Each(topo, "copy", in, func(ctx *topology.Context, e topology.Event[string, string]) error {
		out.Send(ctx, e.Key, e.Value)
		return nil
	}, topology.Sends(out))
	topology.Every(topo, "tick", time.Minute, func(ctx *topology.TaskContext) error {
		if calls++; calls <= 8 {
			sim.Exit()
			return errors.New("nobody sees this")
		}
		out.Send(ctx, "k", "tick")
		return nil
	}, topology.Sends(out))
	p, err := topo.Plan()
	require.NoError(t, err)
	now := time.UnixMilli(1_700_000_000_000)
	sim, err = actors.NewSim(p, func(*plan.Topic) int32 { return 1 }, now)
	require.NoError(t, err)
	defer sim.Close()
	d := &deaths{sim: sim}
	d.send(t, p, 0, "before")
	require.NoError(t, sim.Advance(time.Minute))
	require.Equal(t, 4, sim.Exits(), "it is due at once in each process, but for the calm before it")
	for range 10 {
		require.NoError(t, sim.Advance(10*time.Second))
	}
	require.Equal(t, 8, sim.Exits())
	d.send(t, p, 0, "after")
	require.NoError(t, sim.Settle())
	require.Equal(t, []string{"after", "before", "tick"}, d.values(p, "out"), "the first one is given up")
	require.NoError(t, sim.Advance(time.Minute))
	require.Equal(t, []string{"after", "before", "tick", "tick"}, d.values(p, "out"))
	require.Equal(t, 8, sim.Exits())
}

// The policy of a timer that kills holds as that of a record.
func TestPolicyOfATimerThatKills(t *testing.T) {
	t.Parallel()
	for _, then := range []topology.Decision{topology.Skip, topology.StopPartition, topology.StopNode} {
		t.Run(fmt.Sprint(then), func(t *testing.T) {
			t.Parallel()
			var sim *actors.Sim
			mended := false
			topo := topology.New("ticking")
			out := topology.NewTopic(topo, "out", codec.String, codec.String)
			topology.Every(topo, "tick", time.Minute, func(ctx *topology.TaskContext) error {
				if !mended && sim.Exits() < 8 {
					sim.Exit()
					return errors.New("nobody sees this")
				}
				out.Send(ctx, "k", "tick")
				return nil
			}, topology.Sends(out), topology.OnFailure(topology.Policy{Then: then}))
			p, err := topo.Plan()
			require.NoError(t, err)
			sim, err = actors.NewSim(p, func(*plan.Topic) int32 { return 1 }, time.UnixMilli(1_700_000_000_000))
			require.NoError(t, err)
			defer sim.Close()
			for range 20 {
				if err = sim.Advance(10 * time.Second); err != nil {
					break
				}
			}
			require.Equal(t, 8, sim.Exits())
			d := &deaths{sim: sim}
			switch then {
			case topology.StopNode:
				require.ErrorIs(t, err, topology.ErrProcessExit)
				return
			case topology.StopPartition:
				require.NoError(t, err)
				require.Len(t, sim.Stopped(), 1)
				require.Empty(t, d.values(p, "out"))
				mended = true
				require.NoError(t, sim.Resume())
				require.Empty(t, sim.Stopped())
			default:
				require.NoError(t, err)
			}
			require.NoError(t, sim.Advance(time.Minute))
			require.NotEmpty(t, d.values(p, "out"))
		})
	}
}

// A timer that has never been called is due when it would have been without the deaths: the moments of a crontab line stay such moments.
func TestFirstFiringBehindADeath(t *testing.T) {
	t.Parallel()
	for _, begins := range []time.Duration{0, 20 * time.Second, 59 * time.Second} {
		t.Run(begins.String(), func(t *testing.T) {
			t.Parallel()
			var sim *actors.Sim
			var minutes, hours []string
			calls := 0
			topo := topology.New("ticking")
			topology.Cron(topo, "minute", "* * * * *", func(ctx *topology.TaskContext) error {
				if calls++; calls <= 3 {
					sim.Exit()
					return errors.New("nobody sees this")
				}
				minutes = append(minutes, ctx.Due.UTC().Format(time.TimeOnly))
				return nil
			})
			topology.Every(topo, "hour", time.Hour, func(ctx *topology.TaskContext) error {
				hours = append(hours, ctx.Due.UTC().Format(time.TimeOnly))
				return nil
			})
			p, err := topo.Plan()
			require.NoError(t, err)
			start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).Add(begins)
			sim, err = actors.NewSim(p, func(*plan.Topic) int32 { return 1 }, start)
			require.NoError(t, err)
			defer sim.Close()
			for range 25 {
				require.NoError(t, sim.Advance(5*time.Second))
			}
			require.Equal(t, 3, sim.Exits())
			require.Subset(t, []string{"12:01:00", "12:02:00", "12:03:00"}, minutes)
			require.NotEmpty(t, minutes)
			require.NoError(t, sim.Advance(30*time.Minute))
			require.NoError(t, sim.Crash())
			require.NoError(t, sim.Advance(30*time.Minute))
			require.Equal(t, []string{start.Add(time.Hour).Format(time.TimeOnly)}, hours, "restarts do not put it off")
		})
	}
}
