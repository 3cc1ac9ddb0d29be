// Command chaos runs three nodes and three Kafka brokers as processes, harms them in every way it knows while a seeded load
// is written, and compares everything that comes out with a plain fold of the input: nothing may be lost, doubled, or out of
// order. The nodes run seven topologies at once, which have what an engine has: they are listed in subjects.go.
//
//	go run ./integration/chaos --duration 10m --seed 1
//	go run ./integration/chaos report [--note TEXT] FILE...
//
// The second form makes docs/reliability.md from the files that --json wrote. A seed fixes the load and which faults come in
// which order; when they hit is up to the machine. It needs a JDK (17 or newer) and Maven for the brokers. The exit
// code is 1 after any loss, doubling or disorder, and when something does not catch up in time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/troupe-stream/troupe/integration/realkafka"
)

// settings of a run.
type settings struct {
	seed     uint64
	duration time.Duration
	count    int // phases
	names    string
	kinds    []fault
	nodes    int
	rate     float64
	keys     int
	gap      time.Duration
	most     int
	deadline time.Duration
	blackout time.Duration
	measures bool
	dir      string
	json     string
	keep     bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "report" {
		if err := writeReport(os.Stdout, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "chaos report:", err)
			os.Exit(1)
		}
		return
	}
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be done
	}
}

func parse(args []string) (settings, error) {
	s := settings{}
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.Uint64Var(&s.seed, "seed", 0, "of the load and of the order of faults; 0: one is made, and printed")
	f.DurationVar(&s.duration, "duration", 10*time.Minute, "of all phases together; what begins ends, so it may take a little longer")
	f.IntVar(&s.count, "phases", 0, "with faults; everything is compared after each; 0: one for about every minute and a half")
	f.StringVar(&s.names, "faults", "", "the faults to mix, NAME or NAME=WEIGHT, separated by commas; empty: all")
	f.IntVar(&s.nodes, "nodes", 3, "that run")
	f.Float64Var(&s.rate, "rate", 60, "records a second of each topic of the load")
	f.IntVar(&s.keys, "keys", 100_000, "that the table of words is filled with")
	f.DurationVar(&s.gap, "gap", 2500*time.Millisecond, "between the beginnings of two faults, on average")
	f.IntVar(&s.most, "at-once", 3, "faults at most")
	f.DurationVar(&s.deadline, "deadline", 2*time.Minute, "for catching up after a phase")
	f.DurationVar(&s.blackout, "blackout", -1, "for which all brokers are away in the end; 0: not at all; negative: 2m, or a tenth of the duration where that is less")
	f.BoolVar(&s.measures, "measure", true, "measure restarts, takeovers and pauses before the faults begin")
	f.StringVar(&s.dir, "dir", "", "for data and logs (default: a temporary one, which is kept if the run fails)")
	f.StringVar(&s.json, "json", "", "file for the report")
	f.BoolVar(&s.keep, "keep", false, "keep the temporary directory, whatever the outcome")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	var errs []error
	if f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unknown argument %q", f.Arg(0)))
	}
	var err error
	s.kinds, err = chosenFaults(s.names)
	errs = append(errs, err)
	if s.nodes < 1 || s.rate <= 0 || s.keys < 0 || s.gap <= 0 || s.most < 1 || s.duration <= 0 || s.count < 0 {
		errs = append(errs, errors.New("--nodes, --rate, --gap, --at-once and --duration must be positive, --keys and --phases not negative"))
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	if s.count == 0 {
		s.count = max(1, int(s.duration/(90*time.Second)))
	}
	if s.blackout < 0 {
		s.blackout = min(2*time.Minute, s.duration/10)
	}
	return s, errors.Join(errs...)
}

// start runs everything and prints what it has found.
func start(ctx context.Context, s settings) (err error) {
	if s.keep = s.keep || s.dir != ""; s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "troupe-chaos-"); err != nil {
			return err
		}
	} else if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	r := &run{settings: s, report: newReport()}
	r.report.Command, r.report.Seed, r.report.Nodes, r.report.Keys = "go run ./integration/chaos "+strings.Join(os.Args[1:], " "), s.seed, s.nodes, s.keys
	r.report.Kafka, r.report.Revision = realkafka.Version, revision(ctx)
	err = r.prepare(ctx)
	if err == nil {
		err = r.phases(ctx)
	}
	r.report.Took = time.Since(r.report.Begun).Round(time.Second).String()
	err = errors.Join(err, r.close())
	if r.fleet != nil {
		r.report.Exits = r.fleet.exits.all()
	}
	r.report.summary(os.Stdout)
	if s.json != "" {
		err = errors.Join(err, r.report.write(s.json))
	}
	if err == nil && r.report.failed() {
		err = errors.New("the run has failed: see above")
	}
	if err == nil && !s.keep {
		return os.RemoveAll(s.dir)
	}
	fmt.Printf("data and logs of all nodes and brokers: %s\n", s.dir)
	return err
}

// revision of the working tree, where git tells.
func revision(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
