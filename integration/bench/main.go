// Command bench measures what the engine costs beside the Kafka client that it drives, as ratios in one run on one machine:
// a keyed count with a changelog, from a real Kafka to committed results, at-least-once and exactly-once, and a restore;
// each beside a bare loop over the client's public API that does the same by hand.
//
//	go run ./integration/bench
//
// Each contender runs in a process of its own, whose CPU time is taken from the operating system. It needs a JDK (17 or newer) and
// Maven for the broker.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/integration/realkafka"
)

// settings of a run; children get them as flags.
type settings struct {
	run     string
	brokers string
	records int
	keys    int
	dir     string
	check   bool
}

// result is what a contender prints.
type result struct {
	Records int64   // processed
	Wall    float64 // seconds
	CPU     float64 // seconds of the process, user and system
}

func (r result) perCPU() float64  { return float64(r.Records) / r.CPU / 1e6 }
func (r result) byClock() float64 { return float64(r.Records) / r.Wall / 1e6 }

func main() {
	var s settings
	flag.StringVar(&s.run, "run", "", "run one contender (used by the command itself)")
	flag.StringVar(&s.brokers, "brokers", "", "use this Kafka instead of starting one")
	flag.IntVar(&s.records, "records", 5_000_000, "records to count")
	flag.IntVar(&s.keys, "keys", 100_000, "different keys")
	flag.StringVar(&s.dir, "dir", "", "data directory (used by the command itself)")
	flag.BoolVar(&s.check, "check", true, "fail if a ratio is below its target")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := start(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be done
	}
}

func start(ctx context.Context, s settings) error {
	if s.run == "" {
		return all(ctx, s)
	}
	contend, ok := contenders()[s.run]
	if !ok {
		return fmt.Errorf("no contender %q", s.run)
	}
	r, err := contend(ctx, s)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// all starts a broker, fills the source and runs the contenders one after the other.
func all(ctx context.Context, s settings) (err error) {
	if s.dir, err = os.MkdirTemp("", "troupe-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir) //nolint:errcheck // a leftover does no harm
	if s.brokers == "" {
		if err := os.Mkdir(s.dir+"/kafka", 0o750); err != nil {
			return err
		}
		k, err := realkafka.Start(ctx, s.dir+"/kafka")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Stop(context.Background())) }()
		s.brokers = strings.Join(k.Brokers(), ",")
	}
	fmt.Printf("Kafka %s; %d records of 28 bytes, %d keys, 4 partitions, results committed every 100 ms\n\n", realkafka.Version, s.records, s.keys)
	if err := fill(ctx, s); err != nil {
		return err
	}
	got := map[string]result{}
	fmt.Printf("%-24s %28s %22s\n", "", "M records per CPU-second", "M records/s by clock")
	for _, name := range []string{"bare count", "count at-least-once", "count exactly-once", "bare consume", "restore"} {
		r, err := child(ctx, s, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		got[name] = r
		fmt.Printf("%-24s %28.3f %22.3f\n", name, r.perCPU(), r.byClock())
	}
	fmt.Println()
	return ratios(s, got)
}

func ratios(s settings, got map[string]result) error {
	var low []string
	for _, x := range []struct {
		name, of, beside string
		target           float64
	}{
		{"at-least-once / bare", "count at-least-once", "bare count", 0.6},
		{"exactly-once / bare", "count exactly-once", "bare count", 0.6},
		{"exactly-once / at-least-once", "count exactly-once", "count at-least-once", 0.8},
		{"restore / bare consume", "restore", "bare consume", 0.4},
	} {
		ratio := got[x.of].perCPU() / got[x.beside].perCPU()
		verdict := "reached"
		if ratio < x.target {
			verdict = "missed"
			low = append(low, x.name)
		}
		fmt.Printf("%-30s %.2f per CPU-second (target %.1f: %s)\n", x.name, ratio, x.target, verdict)
	}
	if s.check && len(low) > 0 {
		return fmt.Errorf("below target: %s", strings.Join(low, ", "))
	}
	return nil
}

// child runs one contender in a process of its own.
func child(ctx context.Context, s settings, name string) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, self, "-run", name, "-brokers", s.brokers, "-dir", s.dir, "-records", fmt.Sprint(s.records), "-keys", fmt.Sprint(s.keys))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(out, &r)
}
