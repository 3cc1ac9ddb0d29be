package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// rounds is how often each measurement is made, window how long the pauses in a rebalance and without one are watched.
	rounds = 3
	window = 8 * time.Second
	// measureWait bounds what is waited for in a measurement.
	measureWait = time.Minute
	// calm is the time between two measurements.
	calm = 2 * time.Second
)

// The names of what is measured, as they stand in reports.
const (
	aloneCommit    = "restart on own data, nothing beside: start to first commit"
	aloneRunning   = "restart on own data, nothing beside: start to all running"
	aloneTakeover  = "takeover, nothing beside: slots assigned to all of them running"
	aloneRebalance = "longest delay in a rebalance, partition stays, nothing beside"
	aloneControl   = "longest delay without a rebalance, nothing beside"
	restartCommit  = "restart on own data: start to first commit"
	restartRunning = "restart on own data: start to all words running"
	takeoverTime   = "takeover: slots assigned to all of them running"
	pauseRebalance = "longest delay in a rebalance, partition stays"
	pauseControl   = "longest delay without a rebalance"
)

// delays gathers how long records of the topic quickly took, from when they were written to when their results were read, by
// partition: those of the topic jobs go to the same partition of quickly. It is guarded by the audit's mutex.
type delays struct{ longest map[int32]time.Duration }

func (d *delays) add(r *kgo.Record, now time.Time) {
	if r.Topic == "quickly" {
		d.longest[r.Partition] = max(d.longest[r.Partition], now.Sub(r.Timestamp))
	}
}

// measure measures what only shows where nothing else happens.
func (r *run) measure(ctx context.Context) error {
	if !r.measures {
		return nil
	}
	r.log("measure restarts, takeovers and pauses")
	r.load.resume()
	for i := range rounds {
		m := r.fleet.members[i%r.nodes]
		if err := r.measureRestart(ctx, m, restartCommit, restartRunning); err != nil {
			return err
		}
		if r.nodes < 2 {
			continue
		}
		if err := r.measureTakeover(ctx, m, takeoverTime); err != nil {
			return err
		}
	}
	for range rounds {
		if err := r.measurePauses(ctx, pauseControl, pauseRebalance); err != nil {
			return err
		}
	}
	if err := r.measureAlone(ctx); err != nil {
		return err
	}
	p := phaseReport{Name: "measured"}
	return r.judge(ctx, &p)
}

// until waits for a condition, within measureWait.
func until(ctx context.Context, what string, done func() bool) error {
	within, cancel := context.WithTimeout(ctx, measureWait)
	defer cancel()
	for !done() {
		if !pause(within, 10*time.Millisecond) {
			return errors.Join(ctx.Err(), fmt.Errorf("%s: not within %s", what, measureWait))
		}
	}
	return nil
}

// started waits until the member's process has said that it has started, within measureWait.
func (m *member) started(ctx context.Context) error {
	_, w := m.now()
	return until(ctx, m.name+" has started", w.hasStarted)
}

// measureAlone measures nodes that run one topology and no other: pauses of all of them with the topology that is watched for those,
// takeovers between two with the large table, and restarts of one with it. What the others leave undone meanwhile is caught up with later.
func (r *run) measureAlone(ctx context.Context) error {
	if r.nodes > 1 {
		if err := r.rerun(ctx, "jobs", r.nodes); err != nil {
			return err
		}
		for range rounds {
			if err := r.measurePauses(ctx, aloneControl, aloneRebalance); err != nil {
				return err
			}
		}
		if err := r.rerun(ctx, "wordcount", 2); err != nil {
			return err
		}
		for i := range 2 * rounds {
			if err := r.measureTakeover(ctx, r.fleet.members[i%2], aloneTakeover); err != nil {
				return err
			}
		}
	}
	if err := r.rerun(ctx, "wordcount", 1); err != nil {
		return err
	}
	for range rounds {
		pause(ctx, 2*calm) // it makes checkpoints
		if err := r.measureRestart(ctx, r.fleet.members[0], aloneCommit, aloneRunning); err != nil {
			return err
		}
	}
	return r.rerun(ctx, "", r.nodes)
}

// rerun stops all nodes and starts so many, with one topology, or with all if it is empty.
func (r *run) rerun(ctx context.Context, topology string, nodes int) error {
	var errs []error
	for _, m := range r.fleet.running() {
		errs = append(errs, m.end(true))
	}
	for _, m := range r.fleet.members {
		m.runOnly(topology)
	}
	for _, m := range r.fleet.members[:nodes] {
		errs = append(errs, m.start())
	}
	for _, m := range r.fleet.members[:nodes] {
		if err := errors.Join(errs...); err != nil {
			return err
		}
		errs = append(errs, m.started(ctx))
	}
	pause(ctx, 2*calm)
	return errors.Join(append(errs, ctx.Err())...)
}

// measureRestart kills a node and starts it at once on its data. The topology with the large table is the one that is looked at.
func (r *run) measureRestart(ctx context.Context, m *member, toCommit, toRunning string) error {
	if err := m.end(false); err != nil {
		return err
	}
	if err := m.start(); err != nil {
		return err
	}
	_, w := m.now()
	err := until(ctx, m.name+" commits after its restart", func() bool { _, first, _ := w.committed(); return !first.IsZero() })
	if err != nil {
		return r.unmeasured(ctx, err)
	}
	_, first, _ := w.committed()
	r.report.measured(toCommit, first.Sub(w.started))
	var last time.Time
	err = until(ctx, m.name+" runs what it was given after its restart", func() bool {
		last = allRun(w.grants(time.Time{}), "wordcount")
		return !last.IsZero()
	})
	if err != nil {
		return r.unmeasured(ctx, err)
	}
	r.report.measured(toRunning, last.Sub(w.started))
	pause(ctx, calm)
	return m.started(ctx)
}

// allRun is when the last partition of a group began to run; zero if one does not yet, or there is none.
func allRun(all []grant, group string) (last time.Time) {
	for _, g := range all {
		switch {
		case g.group != group:
		case g.running < g.slots:
			return time.Time{}
		case g.done.After(last):
			last = g.done
		}
	}
	return last
}

// measureTakeover kills a node and waits until the others have taken what it had; then it comes back.
func (r *run) measureTakeover(ctx context.Context, m *member, name string) error {
	_, dying := m.now()
	if err := until(ctx, m.name+" has slots", func() bool { return len(dying.holds()) > 0 }); err != nil {
		return r.unmeasured(ctx, err)
	}
	pause(ctx, 2*calm)
	had, killed := dying.holds(), time.Now()
	if err := m.end(false); err != nil {
		return err
	}
	err := until(ctx, "the others take over from "+m.name, func() bool { return r.taken(killed, had) })
	if err != nil {
		return errors.Join(r.unmeasured(ctx, err), m.start())
	}
	for _, other := range r.fleet.running() {
		_, w := other.now()
		for _, g := range w.grants(killed) {
			r.report.measured(name, g.done.Sub(g.at))
		}
	}
	if err := m.start(); err != nil {
		return err
	}
	if err := m.started(ctx); err != nil {
		return err
	}
	pause(ctx, calm)
	return nil
}

// unmeasured notes that a measurement was not possible.
func (r *run) unmeasured(ctx context.Context, err error) error {
	r.odd("measure", err)
	return ctx.Err()
}

// taken says whether survivors were given slots by all of the groups since a moment, and run those.
func (r *run) taken(since time.Time, groups []string) bool {
	seen := map[string]bool{}
	for _, m := range r.fleet.running() {
		_, w := m.now()
		for _, g := range w.grants(since) {
			if g.running < g.slots {
				return false
			}
			seen[g.group] = true
		}
	}
	return !slices.ContainsFunc(groups, func(g string) bool { return !seen[g] })
}

// measurePauses lets a node join and leave, and watches the partitions that stay where they are; before, the same without.
func (r *run) measurePauses(ctx context.Context, control, rebalance string) error {
	r.watchDelays(ctx, control)
	var extra *member
	for _, m := range r.fleet.members {
		if !m.up() {
			extra = m
		}
	}
	if extra == nil {
		return nil
	}
	extra.fresh()
	if err := extra.start(); err != nil {
		return err
	}
	r.watchDelays(ctx, rebalance)
	done := make(chan error, 1)
	go func() { done <- extra.end(true) }()
	r.watchDelays(ctx, rebalance)
	r.odd("stop", <-done)
	pause(ctx, calm)
	return ctx.Err()
}

// watchDelays measures the longest delay of each partition in a window, of those that no node has taken meanwhile.
func (r *run) watchDelays(ctx context.Context, name string) {
	since := time.Now()
	d := &delays{longest: map[int32]time.Duration{}}
	r.audit.mu.Lock()
	r.audit.delays = d
	r.audit.mu.Unlock()
	pause(ctx, window)
	r.audit.mu.Lock()
	r.audit.delays = nil
	r.audit.mu.Unlock()
	moved := map[string]bool{}
	for _, m := range r.fleet.members {
		if _, w := m.now(); w != nil {
			for k := range w.running(since) {
				moved[k] = true
			}
		}
	}
	for p, longest := range d.longest {
		if !moved[fmt.Sprintf("jobs/jobs/%d", p)] {
			r.report.measured(name, longest)
		}
	}
}
