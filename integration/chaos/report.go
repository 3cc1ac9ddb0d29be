package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// report is what a run has measured. All times are milliseconds.
type report struct {
	Command  string    `json:"command"`
	Seed     uint64    `json:"seed"`
	Revision string    `json:"revision,omitempty"` // of the module, where git tells
	Begun    time.Time `json:"begun"`
	Took     string    `json:"took"`
	Kafka    string    `json:"kafka"`
	Nodes    int       `json:"nodes"`
	Records  int64     `json:"records"` // that the load has written
	Keys     int       `json:"keys"`    // of the table of words, at least

	Phases    []phaseReport      `json:"phases"`
	Injected  map[string]int     `json:"injected"`
	Recovery  map[string][]int64 `json:"recovery_ms"` // by fault: from its end until everything sent before is committed
	Measured  map[string][]int64 `json:"measured_ms"`
	Snapshots snapshotReport     `json:"snapshots"`
	Blackout  *blackoutReport    `json:"blackout,omitempty"`
	Exits     []exit             `json:"exits,omitempty"`
	Odd       []string           `json:"odd,omitempty"` // what should not happen, and loses nothing
	Failures  []string           `json:"failures,omitempty"`
	mu        sync.Mutex
}

// phaseReport is one phase.
type phaseReport struct {
	Name     string  `json:"name"`
	Faults   int     `json:"faults"`
	CatchUp  int64   `json:"catch_up_ms"` // from the end of load and faults until everything was committed
	Verdict  verdict `json:"verdict"`
	Failed   string  `json:"failed,omitempty"`
	LoadTook int64   `json:"load_ms"`
}

func newReport() *report {
	return &report{Begun: time.Now(), Injected: map[string]int{}, Recovery: map[string][]int64{}, Measured: map[string][]int64{}}
}

func (r *report) injected(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Injected[name]++
}

func (r *report) recovery(name string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Recovery[name] = append(r.Recovery[name], d.Milliseconds())
}

func (r *report) measured(name string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Measured[name] = append(r.Measured[name], d.Milliseconds())
}

func (r *report) odd(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Odd = append(r.Odd, text)
}

func (r *report) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
}

// total sums up what all phases have found.
func (r *report) total() (lost, doubled, other int64) {
	for _, p := range r.Phases {
		// A record that is lost is missing in each later phase too: the worst phase counts.
		v := p.Verdict
		lost, doubled = max(lost, v.Lost), max(doubled, v.Doubled)
		other = max(other, v.Disorder+v.Wrong+v.Unmatched+v.Letters)
	}
	return lost, doubled, other
}

// failed says whether the run must end with an exit code of 1.
func (r *report) failed() bool {
	lost, doubled, other := r.total()
	return len(r.Failures) > 0 || lost+doubled+other > 0
}

func (r *report) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}

// quantile of sorted numbers: the smallest that at least the share q of them does not pass.
func quantile(sorted []int64, q float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// spread is p50, p99 and max of times.
func spread(ms []int64) string {
	if len(ms) == 0 {
		return "-"
	}
	s := slices.Sorted(slices.Values(ms))
	return fmt.Sprintf("%s / %s / %s", seconds(quantile(s, 0.5)), seconds(quantile(s, 0.99)), seconds(s[len(s)-1]))
}

func seconds(ms int64) string { return fmt.Sprintf("%.2f s", float64(ms)/1000) }

// summary prints the tables at the end of a run.
func (r *report) summary(out io.Writer) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	say("\n%-14s %8s   %s", "fault", "injected", "recovery p50 / p99 / max")
	for _, f := range faults() {
		if n := r.Injected[f.name]; n > 0 {
			say("%-14s %8d   %s", f.name, n, spread(r.Recovery[f.name]))
		}
	}
	if len(r.Measured) > 0 {
		say("\n%-48s %5s   %s", "measured", "n", "p50 / p99 / max")
		for _, name := range sortedKeys(r.Measured) {
			say("%-48s %5d   %s", name, len(r.Measured[name]), spread(r.Measured[name]))
		}
	}
	for _, p := range r.Phases {
		say("phase %-12s %3d faults, caught up in %s: %d compared, %d lost, %d doubled, %d out of order, %d wrong, %d unmatched, %d given up%s", p.Name, p.Faults,
			seconds(p.CatchUp), p.Verdict.Compared, p.Verdict.Lost, p.Verdict.Doubled, p.Verdict.Disorder, p.Verdict.Wrong, p.Verdict.Unmatched, p.Verdict.Letters, failedText(p.Failed))
	}
	say("ledger: %d snapshots, %d with transfers half seen (%d at most), all of them whole %s later at most", r.Snapshots.Taken, r.Snapshots.WithHalves, r.Snapshots.MostHalves, seconds(r.Snapshots.SlowestMs))
	if b := r.Blackout; b != nil {
		say("all brokers away for %s: %s", seconds(b.AwayMs), b.text())
	}
	for _, e := range r.Exits {
		say("ended by itself: %s after %s, exit code %d: %s", e.Node, e.Ran, e.Code, e.Why)
	}
	for _, text := range r.Odd {
		say("odd: %s", text)
	}
	for _, text := range r.Failures {
		say("FAILED: %s", text)
	}
	lost, doubled, other := r.total()
	say("\n%d records, %d faults, seed %d: %d lost, %d doubled, %d otherwise wrong", r.Records, sum(r.Injected), r.Seed, lost, doubled, other)
}

func failedText(text string) string {
	if text == "" {
		return ""
	}
	return "; " + strings.ToUpper(text[:1]) + text[1:]
}

func sum(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}
