package sched

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// history runs a small world and returns what happened.
func history(seed uint64) (lines []string) {
	s := New(seed)
	s.Trace(func(line string) { lines = append(lines, line) })
	p, q := s.Proc("p"), s.Proc("q")
	for i := range 3 {
		s.Go(p, "co", func() {
			for j := range 3 {
				s.Logf("p%d turn %d", i, j)
				s.Yield()
			}
			s.Sleep(context.Background(), time.Second)
			s.Logf("p%d slept", i)
		})
		s.Post(q, i%2, func() { s.Logf("q event %d", i) })
	}
	s.After(q, 50*time.Millisecond, func() {
		if s.Chance("kill", 500) {
			s.Kill(p)
		}
	})
	for s.Step() {
	}
	s.Close()
	return lines
}

func TestOneSeedOneRun(t *testing.T) {
	t.Parallel()
	different := map[string]bool{}
	for seed := range uint64(20) {
		a, b := history(seed), history(seed)
		require.Equal(t, a, b)
		different[fmt.Sprint(a)] = true
	}
	require.Greater(t, len(different), 15)
}

func TestLanesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		s := New(seed)
		p := s.Proc("p")
		got := map[int][]int{}
		for i := range 20 {
			s.Post(p, i%3, func() { got[i%3] = append(got[i%3], i) })
		}
		for s.Step() {
		}
		for _, one := range got {
			require.IsIncreasing(t, one)
		}
	}
}

func TestKillUnwinds(t *testing.T) {
	t.Parallel()
	s := New(1)
	p := s.Proc("p")
	unwound, after := 0, false
	for range 3 {
		s.Go(p, "waits", func() {
			defer func() { unwound++ }()
			s.Wait(func() bool { return false })
			after = true
		})
	}
	for s.Step() {
	}
	s.Go(p, "never begins", func() { after = true })
	s.Kill(p)
	require.Equal(t, 3, unwound)
	require.False(t, after)
	require.False(t, s.Step())
	ran := false
	q := s.Proc("q")
	s.Go(q, "reused", func() { ran = true })
	require.True(t, s.Step())
	require.True(t, ran)
	s.Close()
}

func TestPausedStandsStill(t *testing.T) {
	t.Parallel()
	s := New(1)
	p := s.Proc("p")
	n := 0
	s.Post(p, "x", func() { n++ })
	s.After(p, time.Second, func() { n++ })
	s.Pause(p)
	require.False(t, s.Step())
	s.Resume(p)
	for s.Step() {
	}
	require.Equal(t, 2, n)
}

func TestPanicFailsTheRun(t *testing.T) {
	t.Parallel()
	s := New(1)
	s.Go(s.Proc("p"), "co", func() { panic("boom") })
	require.False(t, s.Step())
	require.ErrorContains(t, s.Err(), "boom")
}

func BenchmarkYield(b *testing.B) {
	s := New(1)
	for range 10 {
		s.Go(s.Proc("p"), "co", func() {
			for {
				s.Yield()
			}
		})
	}
	for b.Loop() {
		s.Step()
	}
	s.Close()
}
