//go:build integration

package crashpoints

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/crashpoint/points"
)

const (
	// atOnce is how many trials run at a time: most of them wait.
	atOnce = 6
	// late is the highest count at which a point is armed.
	late = 4
	// tries is how often a point may be missed: not all of them are on the way of every run.
	tries = 6
)

// reached says which scenario comes to a point, and how often.
type reached struct {
	scenario scenario
	count    int
}

// TestEveryCrashPoint ends a node at every crash point, and compares what comes of it with a plain count: once when the same
// node comes back, and once when another takes over. A point that no scenario comes to is a failure.
func TestEveryCrashPoint(t *testing.T) {
	pattern := os.Getenv("TROUPE_POINTS")
	if pattern == "" {
		t.Skip("it walks for some six minutes, in a step of its own: set TROUPE_POINTS to a regular expression, a dot for all")
	}
	all, err := points.Find("../..")
	require.NoError(t, err)
	only, err := regexp.Compile(pattern)
	require.NoError(t, err)
	r := rng(t)
	b := newBench(t)
	ways := b.explore(t, r.Uint64())
	var walks []func()
	for _, p := range all {
		way, ok := ways[p.Name]
		switch {
		case !only.MatchString(p.Name):
			continue
		case !ok && unsure[p.Name] != "":
			t.Logf("not walked: no scenario has come to %s this time: %s", p.Name, unsure[p.Name])
			continue
		case !ok:
			t.Errorf("no scenario comes to %s (%s): add one", p.Name, p.At)
			continue
		}
		for _, successor := range []string{"A", "B"} {
			name := fmt.Sprintf("%s/%s", p.Name, map[string]string{"A": "comes back", "B": "taken over"}[successor])
			seed := r.Uint64()
			walks = append(walks, func() {
				t.Run(name, func(t *testing.T) { b.walk(t, p.Name, way, successor, seed) })
			})
		}
	}
	t.Logf("%d points, %d walks", len(all), len(walks))
	began := time.Now()
	together(walks)
	t.Logf("walked in %v", time.Since(began).Round(time.Second))
}

// together runs functions, some at a time.
func together(all []func()) {
	var wg sync.WaitGroup
	next := make(chan func())
	for range atOnce {
		wg.Go(func() {
			for f := range next {
				f()
			}
		})
	}
	for _, f := range all {
		next <- f
	}
	close(next)
	wg.Wait()
}

// explore runs every scenario once with nothing armed, which must end well, and returns where the points are come to, most often first: there for certain.
func (b *bench) explore(t *testing.T, seed uint64) map[string][]reached {
	t.Helper()
	steps := make([]map[string]int, len(scenarios))
	var runs []func()
	for i, s := range scenarios {
		runs = append(runs, func() {
			t.Run("explore/"+s.name, func(t *testing.T) {
				x := b.trial(fmt.Sprintf("explore-%d", i), "", t.TempDir(), seed+uint64(i))
				require.NoError(t, x.play(t.Context(), s))
				require.NoError(t, x.settle(t.Context(), "A"))
				steps[i] = map[string]int{}
				for _, n := range x.armed {
					for name, count := range n.Steps() {
						steps[i][name] = max(steps[i][name], count)
					}
				}
			})
		})
	}
	began := time.Now()
	together(runs)
	ways := map[string][]reached{}
	for i, s := range scenarios {
		for name, count := range steps[i] {
			ways[name] = append(ways[name], reached{s, min(count, late)})
		}
	}
	for _, x := range ways {
		slices.SortStableFunc(x, func(a, b reached) int { return b.count - a.count })
	}
	t.Logf("%d scenarios come to %d points, explored in %v", len(scenarios), len(ways), time.Since(began).Round(time.Second))
	return ways
}

// walk ends a node at a point, and has the node of a directory count the rest. Where a scenario does not come to the point this time, the next one is played.
func (b *bench) walk(t *testing.T, name string, ways []reached, successor string, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	at := 1 + r.IntN(ways[0].count)
	for try := 1; ; try++ {
		way := ways[(try-1)%len(ways)]
		point := fmt.Sprintf("%s@%d", name, at)
		x := b.trial(fmt.Sprintf("t%x-%d", seed, try), point, t.TempDir(), seed)
		began := time.Now()
		err := x.play(t.Context(), way.scenario)
		if err == nil && try < tries {
			require.NoError(t, x.settle(t.Context(), successor))
			at = 1
			continue
		}
		if why := unsure[name]; err == nil && why != "" {
			require.NoError(t, x.settle(t.Context(), successor))
			t.Skipf("not walked: %s was not come to, in %d runs of %d scenarios: %s", name, try, len(ways), why)
		}
		require.Error(t, err, "%s was not come to, in %d runs of %d scenarios", point, try, len(ways))
		if !errors.Is(err, errAtPoint) {
			require.NoError(t, err, point)
		}
		ended := time.Since(began)
		require.NoError(t, x.settle(t.Context(), successor), "after %s, in %s; the last lines of the node that ended there:\n%s", point, way.scenario.name, tail(x.armed[len(x.armed)-1]))
		t.Logf("%s in %s: ended after %.1f s, right after %.1f s", point, way.scenario.name, ended.Seconds(), time.Since(began).Seconds())
		return
	}
}

// play runs a scenario beside its input.
func (x *trial) play(ctx context.Context, s scenario) error {
	x.feed(ctx)
	err := s.run(ctx, x)
	if len(x.armed) > 0 {
		if n := x.armed[len(x.armed)-1]; err == nil && x.point != "" && n.Code() == code {
			err = errAtPoint // on its way out, after what was waited for
		}
	}
	if err != nil && !errors.Is(err, errAtPoint) {
		x.kill()
	}
	return errors.Join(err, x.halt())
}

// settle ends what runs beside, has the node of a directory count what is left, and compares.
func (x *trial) settle(ctx context.Context, dir string) error {
	defer x.kill()
	for _, n := range x.others {
		select {
		case <-n.Done():
			continue
		default:
		}
		if err := x.ended(ctx, n); err != nil {
			return fmt.Errorf("stop the node beside: %w", err)
		}
	}
	if err := x.drain(ctx, dir); err != nil {
		return err
	}
	if err := x.compare(ctx, dir); err != nil {
		return err
	}
	return x.remove(ctx)
}

// rng returns the test's source of randomness. Its seed is printed, and taken back from TROUPE_SEED.
func rng(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("TROUPE_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("TROUPE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
