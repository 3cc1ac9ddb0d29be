package topologytest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

type timers = topology.Timers[string, string]

// alarms sets a timer by each record "PAUSE PAYLOAD", and cancels it by "cancel".
func alarms(b bench, fn func(ctx *topology.Context, timer topology.Timer[string, string]) error, opts ...topology.AgentOption) *timers {
	x := topology.NewTimers(b.topo, "alarms", codec.String, codec.String)
	topology.Each(b.topo, "set", b.in, func(ctx ctxOf, ev event) error {
		pause, payload, _ := strings.Cut(ev.Value, " ")
		if pause == "cancel" {
			x.Cancel(ctx, ev.Key)
			return nil
		}
		d, err := time.ParseDuration(pause)
		if err != nil {
			return err
		}
		x.After(ctx, ev.Key, d, payload)
		b.table.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(x, b.table))
	if fn == nil {
		fn = func(ctx *topology.Context, timer topology.Timer[string, string]) error {
			b.out.Send(ctx, timer.Key, timer.Payload)
			return nil
		}
	}
	topology.OnTimer(b.topo, "alarm", x, fn, append([]topology.AgentOption{topology.Sends(b.out)}, opts...)...)
	return x
}

func TestDurableTimers(t *testing.T) {
	t.Parallel()
	b := newBench()
	alarms(b, nil)
	d := one(t, b.topo)
	topologytest.Pipe(d, b.in, "late", "3m late")
	topologytest.Pipe(d, b.in, "soon", "1m soon")
	topologytest.Pipe(d, b.in, "never", "2m never")
	topologytest.Pipe(d, b.in, "never", "cancel")
	topologytest.Pipe(d, b.in, "again", "1m first")
	d.Crash()
	topologytest.Pipe(d, b.in, "again", "2m replaced")
	d.Advance(59 * time.Second)
	require.Empty(t, values(d, b.out))
	d.Advance(time.Second)
	require.Equal(t, []string{"soon"}, values(d, b.out))
	d.Crash()
	d.Advance(10 * time.Minute)
	require.Equal(t, []string{"soon", "replaced", "late"}, values(d, b.out), "in the order in which they are due")
	d.Crash()
	d.Advance(10 * time.Minute)
	require.Len(t, values(d, b.out), 3, "once")
	topologytest.Pipe(d, b.in, "past", "-1h past")
	require.Equal(t, []string{"soon", "replaced", "late", "past"}, values(d, b.out), "what is due already comes at once")
	require.Empty(t, d.Failures())
}

// The function of OnTimer is an agent: it sets timers anew, and writes tables of the stage.
func TestDurableTimersSetThemselves(t *testing.T) {
	t.Parallel()
	b := newBench()
	x := topology.NewTimers(b.topo, "alarms", codec.String, codec.String)
	topology.Each(b.topo, "set", b.in, func(ctx ctxOf, ev event) error {
		x.After(ctx, ev.Key, time.Minute, ev.Value)
		b.table.Set(ctx, ev.Key, 1)
		return nil
	}, topology.Writes(x, b.table))
	topology.OnTimer(b.topo, "alarm", x, func(ctx *topology.Context, timer topology.Timer[string, string]) error {
		n, _, err := b.table.Get(ctx, timer.Key)
		if err != nil {
			return err
		}
		due, _, ok, err := x.Get(ctx, timer.Key)
		if err != nil || ok {
			return fmt.Errorf("it is pending for %v while it is called: %w", due, err)
		}
		b.table.Set(ctx, timer.Key, 10*n)
		b.out.Send(ctx, timer.Key, fmt.Sprint(timer.Payload, " ", n))
		if n < 1000 {
			x.At(ctx, timer.Key, timer.Due.Add(time.Minute), timer.Payload)
		}
		return nil
	}, topology.Writes(x, b.table), topology.Sends(b.out))
	d := one(t, b.topo)
	topologytest.Pipe(d, b.in, "k", "x")
	for range 5 {
		d.Advance(time.Minute)
		d.Crash()
	}
	require.Equal(t, []string{"x 1", "x 10", "x 100", "x 1000"}, values(d, b.out))
	require.Equal(t, map[string]int64{"k": 10_000}, topologytest.Table(d, b.table))
	require.Empty(t, d.Failures())
}

// A call that fails is tried again before others; one that is given up is a dead letter, and is not called again.
func TestDurableTimersThatFail(t *testing.T) {
	t.Parallel()
	for _, inside := range []bool{false, true} {
		b := newBench()
		calls := map[string]int{}
		alarms(b, func(ctx *topology.Context, timer topology.Timer[string, string]) error {
			b.out.Send(ctx, timer.Key, timer.Payload)
			bad := func() error {
				if calls[timer.Key]++; timer.Payload == "bad" || timer.Payload == "flaky" && calls[timer.Key] == 1 {
					return errors.New("bad timer")
				}
				return nil
			}
			if inside {
				b.table.Update(ctx, timer.Key, func(n int64, _ bool) (int64, error) { return n, bad() })
				return nil
			}
			return bad()
		}, topology.Writes(b.table))
		d := one(t, b.topo)
		for i, payload := range []string{"one", "flaky", "bad", "two"} {
			topologytest.Pipe(d, b.in, payload, fmt.Sprintf("%ds %s", 60+i, payload))
		}
		d.Advance(time.Hour)
		require.Equal(t, []string{"one", "flaky", "two"}, values(d, b.out))
		letters := d.Records(b.topo.Name() + "-dead-letters")[0]
		require.Equal(t, 1, letters.Len())
		require.Equal(t, "bad", string(letters.Key(0)))
		require.Equal(t, "bad", string(letters.Value(0)))
		d.Crash()
		d.Advance(time.Hour)
		require.Len(t, values(d, b.out), 3)
	}
}

// What is committed is what one gets who does it all in order, whatever crashes.
func TestDurableTimersModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench()
		alarms(b, nil)
		d := one(t, b.topo)
		type pending struct {
			due     time.Time
			payload string
		}
		model := map[string]pending{}
		var want []string
		for i := range rapid.IntRange(1, 30).Draw(rt, "steps") {
			key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key")
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				pause := time.Duration(rapid.IntRange(1, 5).Draw(rt, "pause")) * time.Second
				topologytest.Pipe(d, b.in, key, fmt.Sprint(pause, " ", i))
				model[key] = pending{d.Now().Add(pause), fmt.Sprint(i)}
			case 1:
				topologytest.Pipe(d, b.in, key, "cancel")
				delete(model, key)
			case 2:
				d.Crash()
			case 3:
				d.Advance(time.Duration(rapid.IntRange(0, 6).Draw(rt, "advance")) * time.Second)
				for {
					first := ""
					for k, p := range model {
						if !p.due.After(d.Now()) && (first == "" || p.due.Before(model[first].due) || p.due.Equal(model[first].due) && k < first) {
							first = k
						}
					}
					if first == "" {
						break
					}
					want = append(want, model[first].payload)
					delete(model, first)
				}
			}
			if len(want) == 0 {
				require.Empty(rt, values(d, b.out))
			} else {
				require.Equal(rt, want, values(d, b.out))
			}
		}
		require.Empty(rt, d.Failures())
	})
}

// A policy that stops the partition keeps the timer pending until an operator goes on.
func TestDurableTimersThatStop(t *testing.T) {
	t.Parallel()
	b := newBench()
	broken := true
	alarms(b, func(ctx *topology.Context, timer topology.Timer[string, string]) error {
		b.out.Send(ctx, timer.Key, timer.Payload)
		if broken {
			return topology.Permanent(errors.New("out of order"))
		}
		return nil
	}, topology.OnFailure(topology.Policy{Then: topology.StopPartition}))
	d := one(t, b.topo)
	topologytest.Pipe(d, b.in, "a", "1m a")
	topologytest.Pipe(d, b.in, "b", "1m b")
	d.Advance(time.Hour)
	require.Len(t, d.Stopped(), 1)
	require.Empty(t, values(d, b.out))
	broken = false
	d.Resume()
	require.Equal(t, []string{"a", "b"}, values(d, b.out))
	require.Len(t, d.Failures(), 1)
}

// Keys and payloads are checked as those of tables are.
func TestDurableTimersAreChecked(t *testing.T) {
	t.Parallel()
	b := newBench()
	x := alarms(b, nil)
	topology.Each(b.topo, "undeclared", b.in, func(ctx ctxOf, ev event) error {
		x.Cancel(ctx, ev.Key)
		return nil
	}, topology.Reads(x))
	topology.Each(b.topo, "elsewhere", b.in, func(ctx ctxOf, ev event) error {
		x.After(ctx, ev.Key+" of another partition", 0, "")
		return nil
	}, topology.Writes(x))
	d := topologytest.New(t, b.topo, topologytest.Partitions(64))
	topologytest.Pipe(d, b.in, "k", "1m k")
	require.Len(t, d.Failures(), 2)
	all := errors.Join(d.Failures()...)
	require.ErrorContains(t, all, "writes table alarms without having declared it: add topology.Writes(alarms)")
	require.ErrorContains(t, all, "belongs to partition")
}

// TestDurableTimersBesideEntriesThatExpire holds that neither keeps the other from coming: rows expire before a timer, and after it.
func TestDurableTimersBesideEntriesThatExpire(t *testing.T) {
	t.Parallel()
	for clock, left := range map[topology.Clock]map[string]int64{topology.WallTime: {}, topology.EventTime: {"k": 101, "other": 1}} {
		b := newBench(topology.TTL(time.Minute, clock))
		alarms(b, func(ctx *topology.Context, timer topology.Timer[string, string]) error {
			n, ok, err := b.table.Get(ctx, timer.Key)
			if err != nil {
				return err
			}
			b.out.Send(ctx, timer.Key, fmt.Sprintf("%s %d %t", timer.Payload, n, ok))
			b.table.Set(ctx, timer.Key, n+100)
			return nil
		}, topology.Writes(b.table))
		d := one(t, b.topo)
		topologytest.Pipe(d, b.in, "k", "30s soon")
		topologytest.Pipe(d, b.in, "other", "3m late")
		d.Crash()
		d.Advance(31 * time.Second)
		require.Equal(t, []string{"soon 1 true"}, values(d, b.out))
		require.Equal(t, map[string]int64{"k": 101, "other": 1}, topologytest.Table(d, b.table))
		d.Advance(30 * time.Second)
		if clock == topology.WallTime {
			require.Equal(t, map[string]int64{"k": 101}, topologytest.Table(d, b.table))
		}
		d.Advance(30 * time.Second)
		d.Crash()
		require.Equal(t, left, topologytest.Table(d, b.table))
		d.Advance(2 * time.Minute)
		late := map[topology.Clock]string{topology.WallTime: "late 0 false", topology.EventTime: "late 1 true"}[clock]
		require.Equal(t, []string{"soon 1 true", late}, values(d, b.out))
		require.Empty(t, d.Failures())
	}
}
