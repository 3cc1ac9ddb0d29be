package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// tracker measures recoveries: from a moment until everything that the load had written by then is committed.
type tracker struct {
	cluster *cluster
	report  *report

	mu   sync.Mutex
	open []*recovering
	wait sync.WaitGroup
	stop context.CancelFunc
}

// recovering is one measurement under way.
type recovering struct {
	name   string
	since  time.Time
	target map[place]int64 // nil until the brokers have told it
}

func startTracker(ctx context.Context, c *cluster, r *report) *tracker {
	ctx, stop := context.WithCancel(ctx)
	t := &tracker{cluster: c, report: r, stop: stop}
	t.wait.Go(func() {
		for pause(ctx, lookEvery) {
			t.look(ctx)
		}
	})
	return t
}

func (t *tracker) close() {
	t.stop()
	t.wait.Wait()
}

// begin starts a measurement now.
func (t *tracker) begin(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = append(t.open, &recovering{name: name, since: time.Now()})
}

// waiting returns the measurements under way.
func (t *tracker) waiting() []*recovering {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.open)
}

// look asks how far the groups are, and ends measurements.
func (t *tracker) look(ctx context.Context) {
	open := t.waiting()
	if len(open) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, x := range open {
		if x.target != nil {
			continue
		}
		// They are of a moment a little later than since: the measurement is never too short.
		inputs, _ := topics()
		ends, err := t.cluster.ends(ctx, places(inputs...))
		if err != nil {
			return
		}
		x.target = ends
	}
	at := map[place]int64{}
	for _, s := range subjects() {
		have, err := t.cluster.committed(ctx, s.name, places(s.inputs...))
		if err != nil {
			return
		}
		maps.Copy(at, have)
	}
	for _, x := range open {
		if reached(at, x.target) {
			t.report.recovery(x.name, time.Since(x.since))
			t.remove(x)
		}
	}
}

func (t *tracker) remove(x *recovering) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = slices.DeleteFunc(t.open, func(y *recovering) bool { return x == y })
}

func reached(at, target map[place]int64) bool {
	for p, n := range target {
		if at[p] < n {
			return false
		}
	}
	return true
}
