package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// run is one execution of the command.
type run struct {
	settings
	report     *report
	cluster    *cluster
	fleet      *fleet
	load       *load
	audit      *audit
	tracker    *tracker
	snapshots  *snapshots
	compacting sync.Mutex
	exiting    atomic.Bool  // a record that ends processes is under way
	exitOrders atomic.Int64 // such records so far
	logFile    *os.File
	end        time.Time // when the last phase should be over
}

// log writes a line to the terminal and to the run's log.
func (r *run) log(format string, args ...any) {
	line := fmt.Sprintf("%s %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
	_, _ = fmt.Fprint(os.Stderr, line)
	_, _ = r.logFile.WriteString(line)
}

// odd notes what should not happen, and loses nothing.
func (r *run) odd(what string, err error) {
	if err != nil {
		r.log("odd: %s: %v", what, err)
		r.report.odd(fmt.Sprintf("%s: %v", what, err))
	}
}

// recovered counts a fault that is over, and measures how long it takes to recover.
func (r *run) recovered(name string) {
	r.report.injected(name)
	r.tracker.begin(name)
}

// prepare starts everything.
func (r *run) prepare(ctx context.Context) (err error) {
	if err := os.MkdirAll(filepath.Join(r.dir, "kafka"), 0o750); err != nil {
		return err
	}
	if r.logFile, err = os.Create(filepath.Join(r.dir, "chaos.log")); err != nil {
		return err
	}
	binary, err := buildNode(ctx, r.dir)
	if err != nil {
		return err
	}
	lanes := r.nodes + 2
	if r.cluster, err = startCluster(ctx, r.dir, lanes); err != nil {
		return err
	}
	r.log("Kafka answers at %v, data and logs in %s", r.cluster.kafka.Brokers(), r.dir)
	inputs, written := topics()
	if err := r.cluster.createTopics(ctx, append(inputs, written...)...); err != nil {
		return err
	}
	if r.fleet, err = newFleet(r.cluster, binary, r.dir, lanes); err != nil {
		return err
	}
	for _, m := range r.fleet.members[:r.nodes] {
		m.fresh()
		if err := m.start(); err != nil {
			return err
		}
	}
	if r.audit, err = startAudit(r.cluster); err != nil {
		return err
	}
	if r.load, err = startLoad(ctx, r.cluster, r.fleet, r.audit, r.settings); err != nil {
		return err
	}
	r.tracker = startTracker(ctx, r.cluster, r.report)
	r.snapshots = startSnapshots(ctx, r.cluster, r.audit, r.report)
	return nil
}

// close ends everything that was started.
func (r *run) close() error {
	var errs []error
	if r.snapshots != nil {
		r.snapshots.close()
	}
	if r.tracker != nil {
		r.tracker.close()
	}
	if r.load != nil {
		errs = append(errs, r.load.close())
	}
	if r.fleet != nil {
		errs = append(errs, r.fleet.close())
	}
	if r.audit != nil {
		r.audit.close()
	}
	if r.cluster != nil {
		errs = append(errs, r.cluster.close())
	}
	if r.logFile != nil {
		errs = append(errs, r.logFile.Close())
	}
	return errors.Join(errs...)
}

// phases runs all phases. It returns an error where the run cannot go on; what a phase has found is in the report.
func (r *run) phases(ctx context.Context) error {
	begun := time.Now()
	r.end = begun.Add(r.duration)
	r.log("fill the table of words with %d keys", r.keys)
	r.load.fill(ctx, r.keys)
	if err := r.stock(ctx); err != nil {
		return err
	}
	if err := r.phase(ctx, "warm-up", 3*time.Second, nil); err != nil {
		return err
	}
	if err := r.measure(ctx); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(r.seed, 2))
	for i := range r.count {
		left := time.Until(r.end) - r.reserve()
		if left < 5*time.Second {
			break
		}
		span := left / time.Duration(r.count-i) * 3 / 4 // the rest is for catching up and comparing
		s := &storm{run: r, rng: rng, kinds: r.kinds, gap: r.gap, most: r.most}
		if err := r.phase(ctx, fmt.Sprintf("%d", i+1), span, s); err != nil {
			return err
		}
	}
	return r.blackOut(ctx)
}

// stock writes a tariff for each good, and waits until all are committed: from then on each lot finds one.
func (r *run) stock(ctx context.Context) error {
	r.load.set(func() { r.load.bazaar.stock(ctx) })
	if err := r.load.client.Flush(ctx); err != nil {
		return err
	}
	ends, err := r.cluster.ends(ctx, places("tariffs"))
	if err != nil {
		return err
	}
	return until(ctx, "bazaar has its tariffs", func() bool {
		at, err := r.cluster.committed(ctx, "bazaar", places("tariffs"))
		return err == nil && reached(at, ends)
	})
}

// phase lets the load run for a while, with faults if there are any; then it stops both, waits until everything has
// been processed, and compares.
func (r *run) phase(ctx context.Context, name string, span time.Duration, s *storm) error {
	p := phaseReport{Name: name}
	before := sum(r.report.Injected)
	begun := time.Now()
	r.load.set(func() { r.load.bazaar.outfit = s != nil })
	r.load.resume()
	stormy, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	var err error
	if s != nil {
		r.log("phase %s: faults for %s", name, span.Round(time.Second))
		err = s.blow(stormy)
	} else {
		<-stormy.Done()
	}
	p.LoadTook, p.Faults = time.Since(begun).Milliseconds(), sum(r.report.Injected)-before
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	return r.judge(ctx, &p)
}

// judge waits until everything has caught up, compares it, and writes the phase into the report.
func (r *run) judge(ctx context.Context, p *phaseReport) error {
	defer func() { r.report.Phases = append(r.report.Phases, *p) }()
	begun := time.Now()
	r.cluster.heal()
	within, cancel := context.WithTimeout(ctx, r.deadline)
	defer cancel()
	n, err := r.load.settle(within)
	if err != nil {
		p.Failed = err.Error()
		r.report.fail("phase %s: %v", p.Name, err)
		return err
	}
	r.report.Records = n
	if err := r.cluster.caughtUp(within, r.audit); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return r.stuck(ctx, p, err)
	}
	p.CatchUp = time.Since(begun).Milliseconds()
	v := r.audit.outputs()
	if err := r.compareTables(ctx, v); err != nil {
		r.report.fail("phase %s: %v", p.Name, err)
		return err
	}
	p.Verdict = *v
	r.log("phase %s: %d faults, caught up in %s; %d compared: %d lost, %d doubled, %d out of order, %d wrong, %d unmatched, %d given up", p.Name, p.Faults,
		seconds(p.CatchUp), v.Compared, v.Lost, v.Doubled, v.Disorder, v.Wrong, v.Unmatched, v.Letters)
	r.log("  bazaar: %s", r.audit.traded())
	if !v.clean() {
		for _, d := range v.Details {
			r.log("  %s", d)
		}
		return fmt.Errorf("phase %s: the results are not those of the input", p.Name)
	}
	return nil
}

// stuck says what has not caught up in time, and whether a restart of all nodes helps.
func (r *run) stuck(ctx context.Context, p *phaseReport, err error) error {
	p.Failed = fmt.Sprintf("not caught up within %s: %v", r.deadline, err)
	r.log("phase %s: %s", p.Name, p.Failed)
	for _, m := range r.fleet.running() {
		_, w := m.now()
		n, _, last := w.committed()
		r.log("  %s: %d commits, the last %s ago", m.name, n, time.Since(last).Round(time.Millisecond))
	}
	var errs []error
	for _, m := range r.fleet.running() {
		errs = append(errs, m.quit(), m.start())
	}
	within, cancel := context.WithTimeout(ctx, r.deadline)
	defer cancel()
	again := errors.Join(append(errs, r.cluster.caughtUp(within, r.audit))...)
	helped := "a restart of all nodes has helped"
	if again != nil {
		helped = fmt.Sprintf("a restart of all nodes has not helped: %v", again)
	}
	r.log("  %s", helped)
	p.Failed += "; " + helped
	r.report.fail("phase %s: %s", p.Name, p.Failed)
	if again != nil {
		return again
	}
	v := r.audit.outputs()
	err = r.compareTables(ctx, v)
	p.Verdict = *v
	return err
}
