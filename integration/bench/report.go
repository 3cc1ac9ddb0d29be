package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report gathers results: those of one run, or of that run and of others before it.
type report struct {
	Runs   []*run // the one that reports first
	Why    string `json:"-"` // what is known of targets that are missed, as Markdown; kept by hand
	Suites []*suiteResult
}

// run is one run of the command.
type run struct {
	Machine machine
	When    time.Time
	Command string
	Commit  string // of the checkout
	Records int
	Rounds  int
	Turns   bool   // every other round was the other way round
	Quick   bool   // the broker was not warmed up
	Brokers string // that the run was given; empty: it has started one
	Notes   []string
}

// suiteResult is what a suite gave.
type suiteResult struct {
	Name, Title, Text string
	Run               int // the number among the report's runs of the one that all of it is from
	Metrics           []metric
	Rows              []*row
	Ratios            []ratio
	Skipped           int // runs that the budget did not allow
}

// row is what one contender gave.
type row struct {
	Contender string
	Ours      bool
	Bare      bool
	At        int // where it stands on its suite's scale
	Samples   []sample
}

// ratio is a target, and what was reached. Without a contender beside, it is a figure.
type ratio struct {
	Metric, Of, Beside string
	Want, Got          float64
	Less               bool
	Unmeasured         bool // somebody has failed, or the time did not suffice
}

func (r ratio) reached() bool {
	return !r.Unmeasured && (r.Got >= r.Want && !r.Less || r.Got <= r.Want && r.Less)
}

// what names a ratio.
func (r ratio) what() string {
	what := r.Metric + ": " + r.Of
	if r.Beside != "" {
		what += " / " + r.Beside
	}
	return what
}

// wanted is a ratio's target in words.
func (r ratio) wanted() string {
	sign := "≥"
	if r.Less {
		sign = "≤"
	}
	return fmt.Sprintf("%s %.4g", sign, r.Want)
}

// newReport begins a report, before anything else of the run takes the machine's time.
func newReport(ctx context.Context, args []string, s settings) (*report, error) {
	m, err := thisMachine(ctx)
	if err != nil {
		return nil, err
	}
	return &report{Runs: []*run{{
		Machine: m, When: time.Now().UTC(), Command: strings.TrimSpace("go run ./integration/bench " + strings.Join(args, " ")), Commit: commit(ctx),
		Records: s.records, Rounds: s.rounds, Turns: true, Quick: s.quick, Brokers: s.brokers,
	}}}, nil
}

func (r *report) note(format string, args ...any) {
	r.Runs[0].Notes = append(r.Runs[0].Notes, fmt.Sprintf(format, args...))
}

// keep takes over what an earlier report has of suites that this run has no figures of. Every suite stays whole, so that ratios are of one run.
func (r *report) keep(earlier *report, order []suite) {
	runs := map[int]int{} // numbers there and here
	var all []*suiteResult
	for _, x := range order {
		s, before := r.named(x.name), earlier.named(x.name)
		if before != nil && (s == nil || len(s.Rows) == 0) {
			at, found := runs[before.Run]
			if !found {
				at = len(r.Runs)
				runs[before.Run], r.Runs = at, append(r.Runs, earlier.Runs[before.Run])
			}
			before.Run = at
			s = before
		}
		if s != nil {
			all = append(all, s)
		}
	}
	r.Suites = all
}

// named is a suite's result; nil if there is none.
func (r *report) named(suite string) *suiteResult {
	for _, s := range r.Suites {
		if s.Name == suite {
			return s
		}
	}
	return nil
}

// earlierReport reads what an earlier run has written, if there is one. It is for the beginning of a run: nothing that was measured is lost by a file that cannot be read.
func earlierReport(file string) (*report, error) {
	var earlier report
	js, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return &earlier, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(js, &earlier); err != nil {
		return nil, fmt.Errorf("%s: %w: without that file, the report has this run only", file, err)
	}
	for _, s := range earlier.Suites {
		if s.Run < 0 || s.Run >= len(earlier.Runs) {
			return nil, fmt.Errorf("%s: the suite %s is of the run %d, and there are %d: without that file, the report has this run only", file, s.Name, s.Run, len(earlier.Runs))
		}
	}
	return &earlier, nil
}

func (r *report) suite(s suite) *suiteResult {
	if x := r.named(s.name); x != nil {
		return x
	}
	x := &suiteResult{Name: s.name, Title: s.title, Text: s.text, Metrics: s.metrics}
	r.Suites = append(r.Suites, x)
	return x
}

func (s *suiteResult) row(label string) *row {
	for _, x := range s.Rows {
		if x.Contender == label {
			return x
		}
	}
	return nil
}

func (r *report) add(s suite, c contender, x sample) {
	result := r.suite(s)
	at := result.row(c.label)
	if at == nil {
		at = &row{Contender: c.label, Ours: c.kind == kindOurs, Bare: c.kind == kindBare, At: c.at}
		result.Rows = append(result.Rows, at)
	}
	at.Samples = append(at.Samples, x)
}

func (r *report) skipped(s suite) { r.suite(s).Skipped++ }

// values are a row's samples of one metric, sorted.
func (r *row) values(key string) (out []float64) {
	for _, s := range r.Samples {
		if v, ok := s[key]; ok {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

// median is 0 where there is none.
func (r *row) median(key string) float64 { return median(r.values(key)) }

func median(sorted []float64) float64 {
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// ratios works out a suite's targets. Those of contenders that were not asked for are left out.
func (s *suiteResult) ratios(of suite) {
	s.Ratios = nil
	asked := func(label string) bool {
		return slices.ContainsFunc(of.contenders, func(c contender) bool { return c.label == label })
	}
	figure := func(label, metric string) float64 {
		if r := s.row(label); r != nil {
			return r.median(metric)
		}
		return 0
	}
	for _, t := range of.targets {
		m, alone := s.metric(t.Metric), t.Beside.label == ""
		if !asked(t.Of.label) || !alone && !asked(t.Beside.label) {
			continue
		}
		r := ratio{Metric: m.Title, Of: t.Of.label, Beside: t.Beside.label, Want: t.Want, Less: m.Less}
		got, beside := figure(t.Of.label, t.Metric), figure(t.Beside.label, t.Metric)
		if alone {
			beside = 1
		}
		if r.Unmeasured = got == 0 || beside == 0; !r.Unmeasured {
			r.Got = got / beside
		}
		s.Ratios = append(s.Ratios, r)
	}
}

func (s *suiteResult) metric(key string) metric {
	for _, m := range s.Metrics {
		if m.Key == key {
			return m
		}
	}
	return metric{Key: key, Title: key}
}

// better lists where others are: what a reader must know first.
func (r *report) better() (out []string) {
	for _, s := range r.Suites {
		for _, m := range s.Metrics {
			for _, peer := range s.Rows {
				for _, our := range s.Rows {
					if !our.Ours || peer.Ours || peer.Bare || peer.At != our.At {
						continue
					}
					a, b := peer.median(m.Key), our.median(m.Key)
					if a != 0 && b != 0 && (a > b) != m.Less && a != b {
						out = append(out, fmt.Sprintf("%s, %s: %s with %.*f, beside %.*f of %s.", s.Title, m.Title, peer.Contender, m.Digits, a, m.Digits, b, our.Contender))
					}
				}
			}
		}
	}
	return out
}

// missed lists the targets that a run did not reach, or not measure.
func (r *report) missed() (out []string) {
	for _, s := range r.Suites {
		for _, x := range s.Ratios {
			switch {
			case x.Unmeasured:
				out = append(out, fmt.Sprintf("%s, %s: not measured, %s is the target.", s.Title, x.what(), x.wanted()))
			case !x.reached():
				out = append(out, fmt.Sprintf("%s, %s: %.2f, where %s is the target.", s.Title, x.what(), x.Got, x.wanted()))
			}
		}
	}
	return out
}

// write prints the tables and writes the files that were asked for.
func (r *report) write(ctx context.Context, b *bench, chosen []suite) error {
	for _, s := range chosen {
		at := r.suite(s)
		at.ratios(s)
		if s.derived != nil {
			at.Ratios = append(at.Ratios, s.derived(at)...)
		}
	}
	r.Runs[0].Machine.Versions = versions(ctx, b)
	if b.docs {
		r.keep(b.earlier, suites(b.settings))
		why, err := os.ReadFile(filepath.Join(b.programs.root, "docs", "benchmarks", "not-reached.md"))
		if err != nil {
			return fmt.Errorf("read what is known of missed targets: %w", err)
		}
		r.Why = string(why)
	}
	text := r.markdown("benchmarks")
	if b.docs {
		b.out = filepath.Join(b.programs.root, "docs")
	}
	if b.out == "" {
		_, err := fmt.Fprintln(os.Stdout, text)
		return err
	}
	plots := filepath.Join(b.out, "benchmarks")
	if err := os.MkdirAll(plots, 0o750); err != nil {
		return err
	}
	for _, s := range r.Suites {
		for _, m := range s.Metrics {
			if err := os.WriteFile(filepath.Join(plots, s.Name+"-"+m.Key+".svg"), []byte(plot(s, m)), 0o600); err != nil {
				return err
			}
		}
	}
	js, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(plots, "benchmarks.json"), append(js, '\n'), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.out, "benchmarks.md"), []byte(text), 0o600); err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, "written to", filepath.Join(b.out, "benchmarks.md"))
	return err
}

// broker says how the broker was run.
func (r *run) broker() string {
	switch {
	case r.Brokers != "":
		return " was given to the run"
	case r.Quick:
		return " ran with the Java options that Kafka's own scripts give it, and was not warmed up"
	}
	return " ran with the Java options that Kafka's own scripts give it, and was warmed up with 50000 records a second for 40 seconds"
}

// markdown is the report as a page; plots are in the folder named.
func (r *report) markdown(plots string) string {
	var w strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	p("# Benchmarks\n")
	if len(r.Runs) == 1 {
		p("Measured by `%s` on %s. All of it is from one run on one machine: compare figures with each other, not with other machines.\n", r.Runs[0].Command, r.Runs[0].When.Format(day))
	} else {
		p("Measured in %d runs, of which \"How it was measured\" tells. Each suite is from one of them, on one machine: compare figures of one suite with each other, not with other machines.\n", len(r.Runs))
	}
	p("## Where others are better\n")
	if better := r.better(); len(better) > 0 {
		for _, l := range better {
			p("- %s", l)
		}
	} else {
		p("Nowhere in this run.")
	}
	p("\n## Targets that were missed\n")
	if missed := r.missed(); len(missed) > 0 {
		for _, l := range missed {
			p("- %s", l)
		}
		if r.Why != "" {
			p("\n%s", strings.TrimSpace(r.Why))
		}
	} else {
		p("None in this run.")
	}
	p("\n## How it was measured\n")
	p("Contenders take turns, each in a process of its own beside the one broker on the same cores; %d partitions where nothing else is said. "+
		"Slow contenders were given fewer records, so that each run takes seconds. CPU-seconds are those of the contender's own process, user and system, as the "+
		"operating system counts them; they and the clock run from the first record that is handled to the last result that is committed, so that nobody's start counts. "+
		"A result counts after it was checked; a run on another client than the one asked for fails. Tables show the median and, in brackets, the least and the greatest.\n", partitions)
	for i, x := range r.Runs {
		if len(r.Runs) > 1 {
			p("**Run %d**, %s: `%s`\n", i+1, x.When.Format(day), x.Command)
		}
		x.markdown(p)
	}
	for _, s := range r.Suites {
		s.markdown(p, plots, len(r.Runs) > 1)
	}
	return w.String()
}

// day is how the report writes dates.
const day = "2 January 2006"

// markdown tells how a run was made.
func (r *run) markdown(p func(string, ...any)) {
	turns := ""
	if r.Turns {
		turns = ", the second and every other further one the other way round"
	}
	p("%s The broker%s; %d rounds at the most%s, %d records in sources where nothing else is said. Troupe was as of the commit %s.\n", r.Machine, r.broker(), r.Rounds, turns, r.Records, r.Commit)
	for _, n := range r.Notes {
		p("- %s", n)
	}
	if len(r.Notes) > 0 {
		p("")
	}
}

func (s *suiteResult) markdown(p func(string, ...any), plots string, several bool) {
	p("## %s\n", s.Title)
	from := ""
	if several {
		from = fmt.Sprintf(" From run %d.", s.Run+1)
	}
	p("%s%s\n", s.Text, from)
	if len(s.Rows) == 0 {
		p("Not run: the time did not suffice.\n")
		return
	}
	head, line := "| contender |", "|---|"
	for _, m := range s.Metrics {
		head, line = head+" "+m.Title+" |", line+"---:|"
	}
	p("%s runs |\n%s---:|", head, line)
	for _, r := range s.Rows {
		cells := []string{r.Contender}
		for _, m := range s.Metrics {
			cells = append(cells, cell(r.values(m.Key), m.Digits))
		}
		p("| %s | %d |", strings.Join(cells, " | "), len(r.Samples))
	}
	p("")
	if s.Skipped > 0 {
		p("%d runs were left out: the time did not suffice.\n", s.Skipped)
	}
	for _, m := range s.Metrics {
		p("![%s: %s](%s/%s-%s.svg)", s.Title, m.Title, plots, s.Name, m.Key)
	}
	p("")
	if len(s.Ratios) > 0 {
		p("| figure or ratio, of medians | | target | |\n|---|---:|---:|---|")
		for _, r := range s.Ratios {
			verdict, got := "reached", fmt.Sprintf("%.2f", r.Got)
			switch {
			case r.Unmeasured:
				verdict, got = "**not measured**", "–"
			case !r.reached():
				verdict = "**missed**"
			}
			p("| %s | %s | %s | %s |", r.what(), got, r.wanted(), verdict)
		}
		p("")
	}
}

func cell(v []float64, digits int) string {
	if len(v) == 0 {
		return "–"
	}
	if len(v) == 1 {
		return fmt.Sprintf("%.*f", digits, v[0])
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, median(v), digits, v[0], digits, v[len(v)-1])
}
