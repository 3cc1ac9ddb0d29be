package topologytest_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

var errFlaky = errors.New("flaky")

// faulty decides about each record whether its handler fails: nil if not. It counts the tries of each value.
type faulty struct {
	tries map[string]int
	fails func(value string, try int) error
}

func (f *faulty) try(value string) error {
	f.tries[value]++
	return f.fails(value, f.tries[value])
}

// handlers are the places in which user code may fail. Each sends what it has done with to topic out.
var handlers = map[string]func(b bench, f *faulty, opts ...topology.AgentOption){
	"Each": func(b bench, f *faulty, opts ...topology.AgentOption) {
		topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
			b.out.Send(ctx, ev.Key, ev.Value)
			return f.try(ev.Value)
		}, append(opts, b.all()...)...)
	},
	"Agent": func(b bench, f *faulty, opts ...topology.AgentOption) {
		topology.Agent(b.topo, "agent", b.in, func(ctx ctxOf, in topology.Stream[string, string]) error {
			for ev := range in.All() {
				b.out.Send(ctx, ev.Key, ev.Value)
				if err := f.try(ev.Value); err != nil {
					return err
				}
			}
			return nil
		}, append(opts, b.all()...)...)
	},
	"EachRow": func(b bench, f *faulty, opts ...topology.AgentOption) {
		topology.EachRow(b.topo, "agent", b.in, b.table, func(ctx ctxOf, ev event, row *topology.Row[int64]) error {
			n, _ := row.Get()
			row.Set(n + 1)
			b.out.Send(ctx, ev.Key, ev.Value)
			return f.try(ev.Value)
		}, append(opts, topology.Sends(b.out))...)
	},
	"Update": func(b bench, f *faulty, opts ...topology.AgentOption) {
		topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
			b.out.Send(ctx, ev.Key, ev.Value)
			b.table.Update(ctx, ev.Key, func(old int64, _ bool) (int64, error) { return old + 1, f.try(ev.Value) })
			return nil
		}, append(opts, b.all()...)...)
	},
	"panic": func(b bench, f *faulty, opts ...topology.AgentOption) {
		topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
			b.out.Send(ctx, ev.Key, ev.Value)
			if err := f.try(ev.Value); err != nil {
				panic(err)
			}
			return nil
		}, append(opts, b.all()...)...)
	},
	"Goexit": func(b bench, f *faulty, opts ...topology.AgentOption) {
		topology.Agent(b.topo, "agent", b.in, func(ctx ctxOf, in topology.Stream[string, string]) error {
			for ev := range in.All() {
				b.out.Send(ctx, ev.Key, ev.Value)
				if f.try(ev.Value) != nil {
					runtime.Goexit()
				}
			}
			return nil
		}, append(opts, b.all()...)...)
	},
}

// inEach runs a test once for each kind of handler, with a bench of one partition whose handler fails as fails says.
func inEach(t *testing.T, p topology.Policy, fails func(value string, try int) error, test func(t *testing.T, b bench, f *faulty, d *topologytest.Driver)) {
	t.Helper()
	for name, handler := range handlers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, f := newBench(), &faulty{map[string]int{}, fails}
			handler(b, f, topology.OnFailure(p))
			test(t, b, f, one(t, b.topo))
		})
	}
}

func failsOnBad(value string, _ int) error {
	if value == "bad" {
		return errFlaky
	}
	return nil
}

func TestPolicySkips(t *testing.T) {
	t.Parallel()
	inEach(t, topology.Policy{Attempts: 3, Then: topology.Skip}, failsOnBad, func(t *testing.T, b bench, f *faulty, d *topologytest.Driver) {
		t.Helper()
		pipe(d, b.in, "a", "bad", "c")
		require.Equal(t, []string{"a", "c"}, values(d, b.out))
		require.Empty(t, letters(d))
		require.GreaterOrEqual(t, f.tries["bad"], 3)
		require.Len(t, d.Failures(), 3)
	})
}

func TestPolicyAttempts(t *testing.T) {
	t.Parallel()
	inEach(t, topology.Policy{Attempts: 2}, failsOnBad, func(t *testing.T, b bench, _ *faulty, d *topologytest.Driver) {
		t.Helper()
		pipe(d, b.in, "a", "bad", "c")
		require.Equal(t, []string{"a", "c"}, values(d, b.out))
		requireLetter(t, d, "bad", "2")
	})
}

func TestPolicyStopsThePartition(t *testing.T) {
	t.Parallel()
	inEach(t, topology.Policy{Attempts: 2, Then: topology.StopPartition}, func(value string, try int) error {
		if value == "bad" && try <= 6 { // functions in shards are tried once more, to find the record
			return errFlaky
		}
		return nil
	}, func(t *testing.T, b bench, _ *faulty, d *topologytest.Driver) {
		t.Helper()
		pipe(d, b.in, "a", "bad", "c")
		require.Equal(t, []string{"a"}, values(d, b.out), "what was done before is committed, nothing behind it is begun")
		require.Len(t, d.Stopped(), 1)
		for _, err := range d.Stopped() {
			require.Error(t, err)
		}
		pipe(d, b.in, "d")
		require.Equal(t, []string{"a"}, values(d, b.out))
		for range 6 {
			d.Resume()
		}
		require.Empty(t, d.Stopped())
		require.Equal(t, []string{"a", "bad", "c", "d"}, values(d, b.out))
		require.Empty(t, letters(d))
	})
}

func TestPolicyStopsTheNode(t *testing.T) {
	t.Parallel()
	b := newBench()
	topology.Each(b.topo, "agent", b.in, func(ctxOf, event) error { return errFlaky }, append(b.all(), topology.OnFailure(topology.Policy{Attempts: 1, Then: topology.StopNode}))...)
	failed := &recorder{TB: t}
	func() {
		defer func() { require.NotNil(t, recover()) }()
		pipe(topologytest.New(failed, b.topo, topologytest.Partitions(1)), b.in, "bad")
	}()
	require.Contains(t, failed.said, "the policy of agent agent ends the node: in/0@0 failed: flaky")
}

// recorder is a test that ends with a panic.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	panic(r)
}

func TestPolicyDecides(t *testing.T) {
	t.Parallel()
	var seen []topology.Failure
	decide := func(f topology.Failure) topology.Decision {
		seen = append(seen, f)
		switch {
		case string(f.Value) == "patient" && f.Attempts < 9:
			return topology.Retry
		case string(f.Value) == "skipped":
			return topology.Skip
		case string(f.Value) == "rude":
			panic("Decide itself fails")
		}
		return topology.ByPolicy
	}
	b := newBench()
	topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
		b.out.Send(ctx, ev.Key, ev.Value)
		if ev.Value == "fine" {
			return nil
		}
		return errFlaky
	}, append(b.all(), topology.OnFailure(topology.Policy{Attempts: 2, Decide: decide}))...)
	d := one(t, b.topo)
	pipe(d, b.in, "fine", "patient", "skipped")
	require.Equal(t, []string{"fine"}, values(d, b.out))
	requireLetter(t, d, "patient", "9")
	f := seen[0]
	require.Equal(t, "test", f.Topology)
	require.Equal(t, "agent", f.Agent)
	require.Equal(t, "in", f.Topic)
	require.Equal(t, int64(1), f.Offset)
	require.Equal(t, 1, f.Attempts)
	require.ErrorIs(t, f.Err, errFlaky)
	require.Len(t, seen, 10)

	pipe(d, b.in, "rude")
	require.Len(t, letters(d), 2)
	require.Contains(t, letters(d)[1].headers["troupe.error"], "the policy's Decide failed: panic: Decide itself fails")
}

func TestPermanentErrorsAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	inEach(t, topology.Policy{}, func(value string, _ int) error {
		if value == "bad" {
			return fmt.Errorf("pay: %w", errors.Join(errors.New("and more"), topology.Permanent(errFlaky)))
		}
		return nil
	}, func(t *testing.T, b bench, _ *faulty, d *topologytest.Driver) {
		t.Helper()
		want := "1"
		if t.Name() == "TestPermanentErrorsAreNotTriedAgain/Goexit" { // it has no error
			want = "4"
		}
		pipe(d, b.in, "a", "bad", "c")
		requireLetter(t, d, "bad", want)
		require.Equal(t, []string{"a", "c"}, values(d, b.out))
	})
	require.NoError(t, topology.Permanent(nil))
	require.NoError(t, topology.Unavailable(nil))
	require.ErrorIs(t, topology.Permanent(errFlaky), errFlaky)
	require.ErrorIs(t, topology.Unavailable(errFlaky), errFlaky)
}

func TestAnOutageFillsNoDeadLetters(t *testing.T) {
	t.Parallel()
	down := true
	b := newBench()
	tries := 0
	topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
		tries++
		if down {
			return topology.Unavailable(errFlaky)
		}
		b.out.Send(ctx, ev.Key, ev.Value)
		return nil
	}, append(b.all(), topology.OnFailure(topology.Policy{Attempts: 2, Breaker: topology.Breaker{Pause: time.Minute}}))...)
	d := one(t, b.topo)
	pipe(d, b.in, "a", "b", "c")
	require.Equal(t, 1, tries, "nothing is given out while the agent is held back")
	for range 9 {
		d.Advance(time.Minute)
	}
	require.Equal(t, 10, tries, "one record is tried after each pause")
	down = false
	d.Advance(59 * time.Second)
	require.Equal(t, 10, tries)
	d.Advance(time.Second)
	require.Equal(t, []string{"a", "b", "c"}, values(d, b.out))
	require.Empty(t, letters(d))
}

func TestABreakerOpensAfterManyFailures(t *testing.T) {
	t.Parallel()
	bad := true
	b := newBench()
	tries := 0
	topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
		tries++
		if bad {
			return errFlaky
		}
		b.out.Send(ctx, ev.Key, ev.Value)
		return nil
	}, append(b.all(), topology.OnFailure(topology.Policy{Attempts: 3, Breaker: topology.Breaker{Failures: 7, Pause: time.Minute}}))...)
	d := one(t, b.topo)
	pipe(d, b.in, "a", "b", "c", "d")
	require.Equal(t, 8, tries)
	require.Len(t, letters(d), 2, "a and b, before it opened")
	d.Advance(time.Minute)
	require.Equal(t, 9, tries, "half open: one failure opens it again")
	bad = false
	d.Advance(time.Minute)
	require.Equal(t, []string{"c", "d"}, values(d, b.out))
	require.Len(t, letters(d), 2)
}

func TestTimersAndTasksHavePolicies(t *testing.T) {
	t.Parallel()
	b := newBench()
	fired, ran := 0, 0
	topology.Every(b.topo, "timer", time.Minute, func(*topology.TaskContext) error { fired++; return errFlaky }, topology.OnFailure(topology.Policy{Attempts: 3, Then: topology.Skip}))
	topology.Task(b.topo, "task", func(*topology.TaskContext) error { ran++; return errFlaky }, topology.OnFailure(topology.Policy{Attempts: 5}))
	topology.Each(b.topo, "agent", b.in, func(ctxOf, event) error { return nil }, b.all()...)
	d := one(t, b.topo)
	require.Equal(t, 5, ran, "then it is over")
	d.Advance(time.Minute)
	require.Equal(t, 3, fired, "then the firing is skipped")
	d.Advance(30 * time.Second)
	require.Equal(t, 3, fired)
	d.Advance(30 * time.Second)
	require.Equal(t, 6, fired)
	d.Crash()
	require.Equal(t, 10, ran, "a task runs at each start")
}

func TestATableHasItsOwnPolicy(t *testing.T) {
	t.Parallel()
	b := newBench(topology.OnTableFailure(topology.Policy{Attempts: 1, Then: topology.Skip}))
	f := &faulty{map[string]int{}, failsOnBad}
	handlers["Update"](b, f, topology.OnFailure(topology.Policy{Attempts: 9}))
	d := one(t, b.topo)
	pipe(d, b.in, "a", "bad", "c")
	require.Equal(t, []string{"a", "c"}, values(d, b.out))
	require.Len(t, d.Failures(), 1)
	require.Empty(t, letters(d))
}

func TestPoliciesAreChecked(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	topology.Each(topo, "agent", in, func(ctxOf, event) error { return nil }, topology.OnFailure(topology.Policy{Attempts: -1, Then: topology.Retry}))
	topology.Every(topo, "timer", time.Second, func(*topology.TaskContext) error { return nil }, topology.OnFailure(topology.Policy{KeyOrder: true}))
	topo.OnFailure(topology.Policy{Backoff: topology.Backoff{Min: time.Second, Max: time.Millisecond, Jitter: 2}, Deadline: -1})
	_, err := topo.Plan()
	for _, want := range []string{
		"agent agent: the policy's Attempts is -1", "agent agent: the policy's Then is retry: use DeadLetter, Skip", "timer timer: its policy has KeyOrder",
		"topology test: the policy's Backoff.Max of 1ms is less than Min of 1s", "Backoff.Jitter is 2", "Deadline is -1ns",
	} {
		require.ErrorContains(t, err, want)
	}
}

// With KeyOrder only the records of the key that is retried wait, wherever the handler runs; order per key stays, and nothing is lost
// through a crash in between.
func TestKeyOrder(t *testing.T) {
	t.Parallel()
	for name, handler := range handlers {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", crash ", crash), func(t *testing.T) {
				t.Parallel()
				mended := false
				b, f := newBench(), &faulty{map[string]int{}, func(value string, _ int) error {
					if value == "bad" && !mended {
						return errFlaky
					}
					return nil
				}}
				handler(b, f, topology.OnFailure(topology.Policy{Attempts: 9, KeyOrder: true, Backoff: topology.Backoff{Min: time.Minute, Max: time.Minute}}))
				d := topologytest.New(t, b.topo, topologytest.Partitions(1), topologytest.WithBackoff())
				topologytest.Pipe(d, b.in, "x", "x1")
				topologytest.Pipe(d, b.in, "y", "bad")
				topologytest.Pipe(d, b.in, "y", "y2")
				topologytest.Pipe(d, b.in, "x", "x2")
				topologytest.Pipe(d, b.in, "y", "y3")
				topologytest.Pipe(d, b.in, "z", "z1")
				require.Equal(t, []string{"x1", "x2", "z1"}, values(d, b.out), "other keys go on")
				d.Advance(time.Minute)
				topologytest.Pipe(d, b.in, "x", "x3")
				topologytest.Pipe(d, b.in, "y", "y4")
				if crash {
					d.Crash()
					topologytest.Pipe(d, b.in, "z", "z2")
				}
				mended = true
				d.Advance(time.Minute)
				d.Advance(time.Minute)
				got := map[string][]string{}
				for _, ev := range topologytest.Read(d, b.out) {
					got[ev.Key] = append(got[ev.Key], ev.Value)
				}
				want := map[string][]string{"x": {"x1", "x2", "x3"}, "y": {"bad", "y2", "y3", "y4"}, "z": {"z1"}}
				if crash {
					want["z"] = append(want["z"], "z2")
				}
				require.Equal(t, want, got)
				require.Empty(t, letters(d))
				if name == "EachRow" || name == "Update" {
					require.Equal(t, map[string]int64{"x": 3, "y": 4, "z": int64(len(want["z"]))}, topologytest.Table(d, b.table))
				}
			})
		}
	}
}

func TestKeyOrderGivesUpInOrder(t *testing.T) {
	t.Parallel()
	inEach(t, topology.Policy{Attempts: 3, KeyOrder: true}, failsOnBad, func(t *testing.T, b bench, _ *faulty, d *topologytest.Driver) {
		t.Helper()
		for i := range 300 {
			topologytest.Pipe(d, b.in, fmt.Sprint("k", i%7), fmt.Sprint("v", i))
			if i%10 == 0 {
				topologytest.Pipe(d, b.in, fmt.Sprint("k", i%7), "bad")
			}
		}
		require.Len(t, letters(d), 30)
		for _, l := range letters(d) {
			require.Equal(t, "3", l.headers["troupe.attempts"])
		}
		next := map[string]int{}
		for _, ev := range topologytest.Read(d, b.out) {
			var n int
			_, err := fmt.Sscanf(ev.Value, "v%d", &n)
			require.NoError(t, err)
			require.Greater(t, n, next[ev.Key]-1, "key %s", ev.Key)
			next[ev.Key] = n + 1
		}
		require.Len(t, topologytest.Read(d, b.out), 300)
	})
}

// More records wait than the metadata of an offset has room for: the agent stops before the next one of a waiting key.
func TestKeyOrderIsBounded(t *testing.T) {
	t.Parallel()
	mended := false
	b, f := newBench(), &faulty{map[string]int{}, func(string, int) error {
		if !mended {
			return errFlaky
		}
		return nil
	}}
	handlers["Each"](b, f, topology.OnFailure(topology.Policy{Attempts: 9, KeyOrder: true, Backoff: topology.Backoff{Min: time.Minute, Max: time.Minute}}))
	d := topologytest.New(t, b.topo, topologytest.Partitions(1), topologytest.WithBackoff())
	for i := range 1000 {
		d.PipeRaw("in", 0, d.Now(), []byte(fmt.Sprint("key ", i%500)), []byte(fmt.Sprint("v", i)))
	}
	require.Less(t, len(f.tries), 250)
	require.Empty(t, values(d, b.out))
	mended = true
	for range 30 {
		d.Advance(time.Minute)
	}
	require.Len(t, values(d, b.out), 1000)
	require.Empty(t, letters(d))
}
