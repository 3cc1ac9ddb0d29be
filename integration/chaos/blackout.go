package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// blackoutReport is what nodes did while no broker was there.
type blackoutReport struct {
	AwayMs   int64            `json:"away_ms"`
	CatchUp  int64            `json:"catch_up_ms"` // from when all brokers answered again until everything was committed
	Before   map[string]int64 `json:"rss_before"`  // bytes, by node
	Most     map[string]int64 `json:"rss_most"`    // while the brokers were away
	Warnings map[string]int   `json:"warnings"`    // lines of the log at WARN or ERROR meanwhile
	First    string           `json:"first_warning"`
}

// mostGrowth bounds how much memory a node may take on while no broker is there.
const mostGrowth = 256 << 20

func (b *blackoutReport) text() string {
	var parts []string
	for _, name := range sortedKeys(b.Before) {
		parts = append(parts, fmt.Sprintf("%s %d MB before, %d MB at most, %d warnings", name, b.Before[name]>>20, b.Most[name]>>20, b.Warnings[name]))
	}
	return fmt.Sprintf("caught up %s after they were back; %s; first warning: %s", seconds(b.CatchUp), strings.Join(parts, "; "), b.First)
}

// reserve is how long the blackout takes at the end of a run.
func (r *run) reserve() time.Duration {
	if r.blackout <= 0 {
		return 0
	}
	return r.blackout + 30*time.Second
}

// blackOut kills all brokers while the load goes on, and starts them again later. No node may end meanwhile, and none is
// helped afterwards.
func (r *run) blackOut(ctx context.Context) error {
	if r.blackout <= 0 {
		return nil
	}
	r.log("all brokers away for %s", r.blackout.Round(time.Second))
	r.load.resume()
	pause(ctx, 3*time.Second)
	r.cluster.mu.Lock()
	defer r.cluster.mu.Unlock()
	b := &blackoutReport{Before: map[string]int64{}, Most: map[string]int64{}, Warnings: map[string]int{}}
	r.report.Blackout = b
	pids, lines, exits := map[string]int{}, map[string]int{}, len(r.fleet.exits.all())
	for _, m := range r.fleet.running() {
		p, _ := m.now()
		pids[m.name], lines[m.name], b.Before[m.name] = p.Pid(), len(p.Lines()), resident(p.Pid())
	}
	begun := time.Now()
	var errs []error
	for i := range brokers {
		errs = append(errs, r.cluster.kafka.Kill(i))
	}
	for time.Since(begun) < r.blackout && pause(ctx, time.Second) {
		for name, pid := range pids {
			b.Most[name] = max(b.Most[name], resident(pid))
		}
	}
	for i := range brokers {
		errs = append(errs, r.cluster.kafka.Launch(i))
	}
	b.AwayMs = time.Since(begun).Milliseconds()
	whole := context.WithoutCancel(ctx)
	if err := errors.Join(append(errs, r.cluster.kafka.Ready(whole), ctx.Err())...); err != nil {
		return err
	}
	back := time.Now()
	r.blackoutLog(b, lines)
	p := phaseReport{Name: "blackout", Faults: 1}
	err := r.judge(ctx, &p)
	b.CatchUp = time.Since(back).Milliseconds()
	if all := r.fleet.exits.all(); len(all) > exits {
		r.report.fail("%d nodes ended while all brokers were away: they should have waited; the first: %s: %s", len(all)-exits, all[exits].Node, all[exits].Why)
	}
	for name, most := range b.Most {
		if most-b.Before[name] > mostGrowth {
			r.report.fail("%s has grown from %d to %d MB while no broker was there", name, b.Before[name]>>20, most>>20)
		}
		if b.Warnings[name] == 0 {
			r.report.fail("%s has not said that no broker was there", name)
		}
	}
	return err
}

// blackoutLog counts what nodes have said meanwhile.
func (r *run) blackoutLog(b *blackoutReport, from map[string]int) {
	for _, m := range r.fleet.running() {
		p, _ := m.now()
		all := p.Lines()
		for _, line := range all[min(from[m.name], len(all)):] {
			if !strings.Contains(line, "level=WARN") && !strings.Contains(line, "level=ERROR") {
				continue
			}
			b.Warnings[m.name]++
			if b.First == "" {
				b.First = line
			}
		}
	}
}
