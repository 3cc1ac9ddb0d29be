// Command bench measures the engine beside what it could be compared with, all in one run on one machine, on a real Kafka:
//
//	go run ./integration/bench                     everything, for some hours
//	go run ./integration/bench --quick             fewer records, some five minutes
//	go run ./integration/bench --budget 30m --docs as much as fits, written to docs/benchmarks.md
//	go run ./integration/bench --suites endurance  an hour at a constant rate; --minutes, --rate
//
// Contenders are this engine, bare loops over the Kafka client that it drives (which say what that client can do at all), Kafka Streams,
// goka and Faust. They take turns, each in a process of its own, whose CPU time is taken from the operating system; rounds are repeated,
// and a result counts only after it was checked. What is reported are medians with their spread, and ratios.
//
// It needs Linux, a JDK (17 or newer) and Maven; for Faust python3. What it installs goes into the user's cache directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/integration/realkafka"
	"github.com/troupe-stream/troupe/internal/cmem"
)

// settings of a run.
type settings struct {
	brokers string
	records int
	rounds  int
	quick   bool
	budget  time.Duration
	suites  string
	peers   string
	client  string
	out     string
	docs    bool
	profile string
	before  string
	minutes int // of the suite endurance
	rate    int // records a second there
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if len(os.Args) > 2 && os.Args[1] == "--contend" {
		err = contend(ctx, kind(os.Args[2]), os.Args[3:])
	} else {
		err = start(ctx, os.Args[1:])
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be done
	}
}

// contend is a contender of this module's own, in its process.
func contend(ctx context.Context, k kind, args []string) error {
	var j job
	if err := j.flags().Parse(args); err != nil {
		return err
	}
	cmem.Bound() // as in a node, and alike for all
	run := ours
	switch {
	case j.Task == taskPlain:
		run = plain
	case k == kindBare:
		run = bareLoop
	}
	return profiled(j, func() error { return run(ctx, j) })
}

func start(ctx context.Context, args []string) error {
	var s settings
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&s.brokers, "brokers", "", "use this Kafka, host:port, instead of starting one")
	f.IntVar(&s.records, "records", 0, "records of a source; slow contenders get a part of them (default 4 million, quick 1 million)")
	f.IntVar(&s.rounds, "rounds", 0, "how often everything is run (default 5, quick 2)")
	f.BoolVar(&s.quick, "quick", false, "fewer records and rounds, and no more than some five minutes")
	f.DurationVar(&s.budget, "budget", 0, "begin nothing more after this time (default none, quick 5m)")
	f.StringVar(&s.suites, "suites", "", "run these suites only, comma-separated (default all but endurance)")
	f.StringVar(&s.peers, "peers", "", "run beside these only, comma-separated: bare, streams, goka, faust (default all that can be installed)")
	f.StringVar(&s.client, "client", "", "the engine's clients to run, comma-separated: public, batched (default all)")
	f.StringVar(&s.out, "out", "", "write benchmarks.md, benchmarks.json and plots to this directory (default: print a table only)")
	f.BoolVar(&s.docs, "docs", false, "write them to docs/ of the checkout, where suites that are not run stay as they are, and those that are run are replaced, with fewer contenders, too")
	f.StringVar(&s.profile, "profiles", "", "write CPU and heap profiles of the engine and the bare loops to this directory, a file for each run")
	f.StringVar(&s.before, "before", "", "an earlier build of this command: run its engine too, beside this one")
	f.IntVar(&s.minutes, "minutes", 60, "how long the suite endurance takes; it runs only if it is named")
	f.IntVar(&s.rate, "rate", 200_000, "records a second in the suite endurance")
	if err := f.Parse(args); err != nil {
		return err
	}
	if s.minutes < 1 || s.rate < 1 {
		return errors.New("--minutes and --rate must be 1 or more")
	}
	if s.quick && s.budget == 0 {
		s.budget = 5 * time.Minute
	}
	orInt(&s.records, s.quick, 1_000_000, 4_000_000)
	orInt(&s.rounds, s.quick, 2, 5)
	return all(ctx, s, args)
}

func orInt(at *int, quick bool, small, large int) {
	switch {
	case *at > 0:
	case quick:
		*at = small
	default:
		*at = large
	}
}

// bench is one run of the command.
type bench struct {
	settings
	dir      string
	began    time.Time
	cluster  *cluster
	programs *programs
	report   *report
	earlier  *report           // with --docs: what is there already
	counted  map[string]string // names of jobs whose changelogs can be restored from again, by contender and source
}

// all builds what contends, starts a broker, and runs the suites round by round.
func all(ctx context.Context, s settings, args []string) (err error) {
	chosen, err := choose(s)
	if err != nil {
		return err
	}
	rep, err := newReport(ctx, args, s)
	if err != nil {
		return err
	}
	b := &bench{settings: s, began: time.Now(), report: rep, counted: map[string]string{}}
	if b.dir, err = os.MkdirTemp("", "troupe-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir) //nolint:errcheck // a leftover does no harm
	if b.before != "" {       // contenders run elsewhere
		if b.before, err = filepath.Abs(b.before); err != nil {
			return err
		}
	}
	if s.profile != "" {
		if b.profile, err = filepath.Abs(s.profile); err != nil {
			return err
		}
		if err := os.MkdirAll(b.profile, 0o750); err != nil {
			return err
		}
	}
	if b.programs, err = build(ctx, kindsOf(chosen), b.before); err != nil {
		return err
	}
	if b.docs {
		if b.earlier, err = earlierReport(filepath.Join(b.programs.root, "docs", "benchmarks", "benchmarks.json")); err != nil {
			return err
		}
	}
	for k, why := range b.programs.missing {
		if k != kindFaust || named(s.peers, string(k)) {
			return fmt.Errorf("%s cannot be run: %w", k, why)
		}
		rep.note("%s is missing from this run: %v", k, why)
	}
	if s.brokers == "" {
		k, err := realkafka.StartConfig(ctx, b.dir+"/kafka", realkafka.Config{Java: realkafka.JavaOfKafka()})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Stop(context.WithoutCancel(ctx))) }()
		s.brokers = strings.Join(k.Brokers(), ",")
	}
	if b.cluster, err = newCluster(s.brokers); err != nil {
		return err
	}
	defer b.cluster.admin.Close() //nolint:errcheck // nothing is lost by that
	if err := b.warm(ctx); err != nil {
		return err
	}
	b.began = time.Now()
	failed := b.rounds(ctx, chosen)
	if ctx.Err() != nil {
		return failed
	}
	return errors.Join(failed, rep.write(ctx, b, chosen)) // what went well is worth having
}

// turn is a suite's turn.
type turn struct {
	suite
	round int
}

// turns are in which order suites are run: every one once, those that matter most twice more, then the others again, and so on. What changes
// on the machine meets all contenders alike, and when time runs out it is the figures that matter most that were measured most often.
func turns(chosen []suite, rounds int) (out []turn) {
	add := func(round int, which func(suite) bool) {
		for _, s := range chosen {
			if which(s) && round < rounds && (s.most == 0 || round < s.most) {
				out = append(out, turn{s, round})
			}
		}
	}
	add(0, func(suite) bool { return true })
	for round := 1; round < rounds; round++ {
		add(2*round-1, func(s suite) bool { return s.often })
		add(2*round, func(s suite) bool { return s.often })
		add(round, func(s suite) bool { return !s.often })
	}
	return out
}

// inTurn are a suite's contenders in their order, and in every other round the other way round: what the broker has done before is
// not the same for whoever is first.
func (t turn) inTurn() []contender {
	all := slices.Clone(t.contenders)
	if t.round%2 == 1 {
		slices.Reverse(all)
	}
	return all
}

// rounds runs the suites in order. Whoever fails is left out from then on, and returned.
func (b *bench) rounds(ctx context.Context, chosen []suite) (failed error) {
	out := map[string]bool{}
	took := map[string]time.Duration{}
	for _, t := range turns(chosen, b.settings.rounds) {
		for _, c := range t.inTurn() {
			id := t.name + " " + c.label
			if b.programs.missing[c.kind] != nil || out[id] || ctx.Err() != nil || c.most > 0 && t.round >= c.most {
				continue
			}
			if left := b.budget - time.Since(b.began); b.budget > 0 && left < max(took[id], time.Second) {
				b.report.skipped(t.suite)
				continue
			}
			began := time.Now()
			j := b.job(t.suite, c, t.round)
			x, err := t.run(ctx, b, c, j)
			failed = errors.Join(failed, b.tidy(ctx, j.Name))
			if err != nil {
				if out[id] = true; !errors.Is(err, errLate) || c.kind == kindOurs { // a peer's is a result
					failed = errors.Join(failed, fmt.Errorf("suite %s, %s: %w", t.name, c.label, err))
				}
				first, _, _ := strings.Cut(err.Error(), "\n")
				b.report.note("%s failed in the suite %s in round %d and is left out of it from then on: %s", c.label, t.name, t.round+1, first)
				continue
			}
			took[id] = time.Since(began)
			b.report.add(t.suite, c, x)
			progress(t, c, x, took[id])
		}
	}
	return failed
}

// tidy deletes what a job has written to Kafka, but what can be restored from again: all of it together may be more than the disk has room for.
func (b *bench) tidy(ctx context.Context, job string) error {
	if slices.Contains(slices.Collect(maps.Values(b.counted)), job) {
		return nil
	}
	return b.cluster.drop(ctx, job+"-")
}

// progress prints a result on standard error.
func progress(t turn, c contender, x sample, took time.Duration) {
	var figures []string
	for _, m := range t.metrics {
		if v, ok := x[m.Key]; ok {
			figures = append(figures, fmt.Sprintf("%.*f %s", m.Digits, v, m.Title))
		}
	}
	fmt.Fprintf(os.Stderr, "round %d  %-12s %-60s %s; took %.0f s\n", t.round+1, t.name, c.label, strings.Join(figures, ", "), took.Seconds())
}

// choose picks the suites and contenders that were asked for.
func choose(s settings) (chosen []suite, err error) {
	var names []string
	for _, x := range suites(s) {
		names = append(names, x.name)
		if s.suites != "" && !named(s.suites, x.name) || s.suites == "" && x.named {
			continue
		}
		x.contenders = slices.DeleteFunc(x.contenders, func(c contender) bool {
			return s.peers != "" && c.kind != kindOurs && !named(s.peers, string(c.kind))
		})
		if s.before != "" {
			for i, c := range slices.Backward(x.contenders) {
				if c.kind == kindOurs {
					x.contenders = slices.Insert(x.contenders, i, c.before())
				}
			}
		}
		chosen = append(chosen, x)
	}
	for n := range strings.SplitSeq(s.suites, ",") {
		if n != "" && !slices.Contains(names, n) {
			return nil, fmt.Errorf("no suite %s: there are %s", n, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}

func named(list, name string) bool { return slices.Contains(strings.Split(list, ","), name) }

func kindsOf(chosen []suite) (kinds []kind) {
	for _, s := range chosen {
		for _, c := range s.contenders {
			if !slices.Contains(kinds, c.kind) {
				kinds = append(kinds, c.kind)
			}
		}
	}
	return kinds
}
