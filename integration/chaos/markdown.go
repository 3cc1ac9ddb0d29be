package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// found is what runs have found so far, written by hand.
//
//go:embed found.md
var found string

// targets are what measurements should reach, in milliseconds at p50.
var targets = map[string]int64{aloneCommit: 1000, aloneRunning: 1000, restartCommit: 1000, restartRunning: 1000, takeoverTime: 1000, aloneTakeover: 1000}

// writeReport makes docs/reliability.md from the files of one or more runs.
func writeReport(out io.Writer, args []string) error {
	f := flag.NewFlagSet("chaos report", flag.ContinueOnError)
	note := f.String("note", "", "what a reader should know of the circumstances of the runs")
	if err := f.Parse(args); err != nil {
		return err
	}
	files := f.Args()
	if len(files) == 0 {
		return errors.New("no file: name those that --json wrote")
	}
	var all []*report
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		r := new(report)
		if err := json.Unmarshal(b, r); err != nil {
			return fmt.Errorf("report %s: %w", file, err)
		}
		all = append(all, r)
	}
	_, err := io.WriteString(out, markdown(all, *note))
	return err
}

// page is a document being written.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { _, _ = fmt.Fprintf(&p.Builder, format+"\n", args...) } // to memory

func markdown(all []*report, note string) string {
	p := new(page)
	var records int64
	var lost, doubled, other int64
	injected, recovery, measured := map[string]int{}, map[string][]int64{}, map[string][]int64{}
	for _, r := range all {
		records += r.Records
		l, d, o := r.total()
		lost, doubled, other = lost+l, doubled+d, other+o
		for name, n := range r.Injected {
			injected[name] += n
		}
		for name, ms := range r.Recovery {
			recovery[name] = append(recovery[name], ms...)
		}
		for name, ms := range r.Measured {
			measured[name] = append(measured[name], ms...)
		}
	}
	p.line("# Reliability, measured\n")
	p.line("Made by `go run ./integration/chaos report FILE...` from the reports of the runs below; nothing in the tables is written by hand.")
	p.line("What is promised, and under which settings, is in the README; how the runs are made, in ARCHITECTURE.md.\n")
	p.line("**%d records, %d faults: %d lost, %d doubled, %d otherwise wrong** (out of order, another value, half a transfer, given up).\n", records, sum(injected), lost, doubled, other)
	if note != "" {
		p.line("%s\n", note)
	}
	p.runs(all)
	p.faults(injected, recovery)
	p.measurements(measured)
	p.rest(all)
	p.line("## What it has found\n\n%s", strings.TrimSpace(found))
	return p.String()
}

func (p *page) runs(all []*report) {
	p.line("## Runs\n\n| command | seed | revision | Kafka | took | nodes | records | faults | phases | lost | doubled | failed |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range all {
		l, d, _ := r.total()
		p.line("| `%s` | %d | %s | %s | %s | %d | %d | %d | %d | %d | %d | %d |", strings.TrimSpace(r.Command), r.Seed, r.Revision, r.Kafka, r.Took, r.Nodes, r.Records, sum(r.Injected), len(r.Phases), l, d, len(r.Failures))
	}
	p.line("")
}

func (p *page) faults(injected map[string]int, recovery map[string][]int64) {
	p.line("## Faults\n\nRecovery is from the end of a fault until everything that was written before that is committed, other faults going on meanwhile.\n")
	p.line("| fault | what it is | times | p50 | p99 | max |\n|---|---|---|---|---|---|")
	for _, f := range faults() {
		p.line("| %s | %s | %d | %s |", f.name, f.about, injected[f.name], columns(recovery[f.name]))
	}
	p.line("")
}

// columns are p50, p99 and max as columns of a table.
func columns(ms []int64) string { return strings.ReplaceAll(spread(ms), " / ", " | ") }

func (p *page) measurements(measured map[string][]int64) {
	if len(measured) == 0 {
		return
	}
	p.line("## Measured without other faults\n\n| what | target | times | p50 | p99 | max | p50 reached |\n|---|---|---|---|---|---|---|")
	for _, name := range sortedKeys(measured) {
		ms := slices.Sorted(slices.Values(measured[name]))
		target, verdict := "-", "-"
		if t, ok := targets[name]; ok {
			target, verdict = "≤ "+seconds(t), "yes"
			if quantile(ms, 0.5) > t {
				verdict = "**no**"
			}
		}
		p.line("| %s | %s | %d | %s | %s |", name, target, len(ms), columns(ms), verdict)
	}
	p.line("")
}

func (p *page) rest(all []*report) {
	p.line("## The ledger\n\nA snapshot of the postings may hold one side of a transfer only, since Kafka shows a transaction in one partition after the other; all of them were whole once each partition was read to where it ended at the snapshot.\n")
	p.line("| seed | snapshots | with transfers half seen | most of them | slowest to be whole |\n|---|---|---|---|---|")
	for _, r := range all {
		x := r.Snapshots
		p.line("| %d | %d | %d | %d | %s |", r.Seed, x.Taken, x.WithHalves, x.MostHalves, seconds(x.SlowestMs))
	}
	p.line("\n## All brokers away\n")
	for _, r := range all {
		if r.Blackout != nil {
			p.line("- seed %d, %s: %s", r.Seed, seconds(r.Blackout.AwayMs), r.Blackout.text())
		}
	}
	p.line("\n## Nodes that ended by themselves, and were started again\n")
	why := map[string]int{}
	for _, r := range all {
		for _, e := range r.Exits {
			why[kind(e.Why)]++
		}
	}
	if len(why) == 0 {
		p.line("None.")
	}
	for _, text := range sortedKeys(why) {
		p.line("- %d times: %s", why[text], text)
	}
	p.line("")
	for _, r := range all {
		for _, text := range r.Odd {
			p.line("- odd, seed %d: %s", r.Seed, kind(text))
		}
		for _, text := range r.Failures {
			p.line("- **failed**, seed %d: %s", r.Seed, kind(text))
		}
	}
	p.line("")
}

// kind is a message without what differs from run to run.
func kind(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		if strings.Contains(w, "127.0.0.1:") {
			words[i] = "ADDRESS"
		} else if strings.Contains(w, "/") && strings.Count(w, "/") > 2 {
			words[i] = "PATH"
		} else if strings.HasPrefix(w, "time=") {
			words[i] = ""
		}
	}
	text = strings.Join(words, " ")
	if len(text) > 240 {
		text = text[:240] + "…"
	}
	return text
}
