package topologytest_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

type stream = topology.Stream[string, string]

func loop(t *testing.T, fn func(b bench, ctx ctxOf, in stream) error) (bench, *topologytest.Driver) {
	t.Helper()
	b := newBench()
	topology.Agent(b.topo, "agent", b.in, func(ctx ctxOf, in stream) error { return fn(b, ctx, in) }, b.all()...)
	return b, one(t, b.topo)
}

func TestLoopLeftIsDone(t *testing.T) {
	t.Parallel()
	calls := 0
	b, d := loop(t, func(b bench, ctx ctxOf, in stream) error {
		calls++
		for ev := range in.All() {
			b.out.Send(ctx, ev.Key, ev.Value)
			if ev.Value == "break" {
				break
			}
			if ev.Value == "return" {
				return nil
			}
		}
		return nil
	})
	pipe(d, b.in, "a", "break", "b", "return", "c")
	require.Equal(t, []string{"a", "break", "b", "return", "c"}, values(d, b.out))
	require.Equal(t, 3, calls)
	require.Empty(t, d.Failures())
}

// The record is tried four times, its effects are dropped each time, and those before and behind it are done once.
func TestLoopThatFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"bad error": func() error { return errors.New("bad error") },
		"bad panic": func() error { panic("bad panic") },
	} {
		b, d := loop(t, func(b bench, ctx ctxOf, in stream) error {
			for ev := range in.All() {
				b.out.Send(ctx, ev.Key, ev.Value)
				b.table.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
				if ev.Value == "bad" {
					return fail()
				}
			}
			return nil
		})
		pipe(d, b.in, "a", "bad", "c")
		require.Equal(t, []string{"a", "c"}, values(d, b.out), name)
		require.Equal(t, map[string]int64{"k": 2}, topologytest.Table(d, b.table), name)
		require.Len(t, d.Failures(), 4, name)
		l := requireLetter(t, d, "bad", "4", name)
		require.Equal(t, "k", l.key)
		require.Equal(t, "agent", l.headers["troupe.agent"])
		require.Equal(t, "in", l.headers["troupe.topic"])
		require.Equal(t, "0", l.headers["troupe.partition"])
		require.Equal(t, "1", l.headers["troupe.offset"])
	}
}

func TestLoopThatFailsOnce(t *testing.T) {
	t.Parallel()
	failed := false
	b, d := loop(t, func(b bench, ctx ctxOf, in stream) error {
		for ev := range in.All() {
			b.out.Send(ctx, ev.Key, ev.Value)
			if !failed {
				failed = true
				return errors.New("not now")
			}
		}
		return nil
	})
	pipe(d, b.in, "a", "b")
	require.Equal(t, []string{"a", "b"}, values(d, b.out))
	require.Len(t, d.Failures(), 1)
	require.Empty(t, letters(d))
}

// A restart gives an agent fresh state: what its function keeps in variables begins anew, and is not what a failure has left.
func TestLoopBeginsAfresh(t *testing.T) {
	t.Parallel()
	tries := 0
	b, d := loop(t, func(b bench, ctx ctxOf, in stream) error {
		n := 0
		for ev := range in.All() {
			n++
			b.out.Send(ctx, ev.Key, fmt.Sprint(ev.Value, n))
			if ev.Value == "bad" {
				if tries++; tries < 3 {
					return errors.New("not now")
				}
			}
		}
		return nil
	})
	pipe(d, b.in, "a", "bad", "c")
	require.Equal(t, []string{"a1", "bad1", "c2"}, values(d, b.out))
	require.Equal(t, 3, tries)
}

// An agent that fails before it takes a record has no record to give up: the test is told that it never comes to rest, and why.
func TestLoopThatTakesNothing(t *testing.T) {
	t.Parallel()
	for want, fn := range map[string]func(bench, ctxOf){
		"without having taken a record": func(bench, ctxOf) {},
		"an effect outside a turn":      func(b bench, ctx ctxOf) { b.out.Send(ctx, "k", "v") },
	} {
		b := newBench()
		topology.Agent(b.topo, "agent", b.in, func(ctx ctxOf, _ stream) error { fn(b, ctx); return nil }, b.all()...)
		fake := &example{}
		d := topologytest.New(fake, b.topo, topologytest.Partitions(1))
		func() {
			defer func() {
				said, _ := recover().(string)
				require.Contains(t, said, "does not come to rest")
				require.Contains(t, said, want)
			}()
			pipe(d, b.in, "a")
		}()
		require.NotEmpty(t, d.Failures())
		require.ErrorContains(t, d.Failures()[0], want)
		require.Empty(t, values(d, b.out))
		require.Empty(t, letters(d))
		fake.end()
	}
}

func TestLoopWithinALoop(t *testing.T) {
	t.Parallel()
	b, d := loop(t, func(b bench, ctx ctxOf, in stream) error {
		for ev := range in.All() {
			b.out.Send(ctx, ev.Key, ev.Value)
			if ev.Value == "bad" {
				for range in.All() {
					t.Error("a nested loop yields nothing")
				}
			}
		}
		return nil
	})
	pipe(d, b.in, "a", "bad", "c")
	require.Equal(t, []string{"a", "c"}, values(d, b.out))
	requireLetter(t, d, "bad", "1", "All or Batches is called a second time")
}

func TestBatches(t *testing.T) {
	t.Parallel()
	var sizes []int
	b, d := loop(t, func(b bench, ctx ctxOf, in stream) error {
		for evs := range in.Batches(2, time.Second) {
			sizes = append(sizes, len(evs))
			for _, ev := range evs {
				b.out.Send(ctx, ev.Key, ev.Value)
				if ev.Value == "bad" {
					return errors.New("bad batch")
				}
			}
		}
		return nil
	})
	pipe(d, b.in, "a", "b", "bad", "c")
	require.Equal(t, []string{"a", "b", "c"}, values(d, b.out))
	requireLetter(t, d, "bad", "4", "bad batch")
	for _, n := range sizes {
		require.LessOrEqual(t, n, 2)
	}
}

// What is committed is not done again after a crash, and what was in memory comes back from the changelog.
func TestLoopAfterACrash(t *testing.T) {
	t.Parallel()
	b, d := loop(t, func(b bench, ctx ctxOf, in stream) error {
		for ev := range in.All() {
			b.table.Update(ctx, ev.Value, func(n int64, _ bool) (int64, error) { return n + 1, nil })
			b.out.Send(ctx, ev.Key, ev.Value)
		}
		return nil
	})
	pipe(d, b.in, "a", "b", "a")
	d.Crash()
	pipe(d, b.in, "a")
	require.Equal(t, map[string]int64{"a": 3, "b": 1}, topologytest.Table(d, b.table))
	require.Equal(t, []string{"a", "b", "a", "a"}, values(d, b.out))
}
