// Command simulate runs whole clusters in one thread: nodes with the real machines and actors of this project, on a model of
// Kafka, with faults at every step. One seed is one run. See docs/simulation.md.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/ground"
	"github.com/troupe-stream/troupe/integration/simulate/world"
)

// enough is how often a fault must have been possible before it is a defect of the simulation that it never happened.
const enough = 20_000

func main() {
	seeds := flag.Uint64("seeds", 1000, "how many seeds")
	from := flag.Uint64("from", 0, "the first seed")
	minutes := flag.Float64("minutes", 0, "go on with further seeds for so long; 0: only -seeds")
	trace := flag.Bool("trace", false, "show what happens; for one seed")
	flag.Parse()
	if flag.NArg() > 0 || *seeds == 0 {
		fmt.Fprintln(os.Stderr, "simulate: it takes flags only, and at least one seed; see -help")
		os.Exit(2)
	}
	s := &summary{fired: map[string][2]int{}, met: map[ground.Meeting]int{}, seen: map[string]int{}, cases: map[string]int{}, began: time.Now()}
	s.run(*from, *seeds, time.Duration(*minutes*float64(time.Minute)), *trace)
	if !s.print() {
		os.Exit(1)
	}
}

// manyRuns is after how many runs it is a defect of the simulation that something was never met.
const manyRuns = 5000

// summary is what all runs came to.
type summary struct {
	began   time.Time
	mu      sync.Mutex
	runs    int
	skipped int
	steps   int
	commits int
	fired   map[string][2]int
	met     map[ground.Meeting]int
	seen    map[string]int
	cases   map[string]int
	failed  []world.Result
}

// run runs seeds on all cores until enough are through, and the time is over.
func (s *summary) run(from, seeds uint64, d time.Duration, trace bool) {
	next := from
	take := func() (uint64, bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if next >= from+seeds && time.Since(s.began) >= d || len(s.failed) >= 10 {
			return 0, false
		}
		next++
		return next - 1, true
	}
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for {
				seed, ok := take()
				if !ok {
					return
				}
				opts := world.Options{Seed: seed}
				if trace {
					opts.Trace = func(line string) { fmt.Println(line) }
				}
				s.add(world.Run(opts))
			}
		})
	}
	all.Wait()
}

func (s *summary) add(r world.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Err != nil {
		s.failed = append(s.failed, r)
		fmt.Printf("seed %d failed, %s after %d steps: %.300v\n", r.Seed, r.Case, r.Steps, r.Err)
	}
	s.runs, s.steps, s.commits = s.runs+1, s.steps+r.Steps, s.commits+r.Commits
	if r.Skipped {
		s.skipped++
	} else {
		s.cases[r.Case]++
	}
	for what, n := range r.Seen {
		s.seen[what] += n
	}
	for m, n := range r.Met {
		s.met[m] += n
	}
	for name, n := range r.Fired {
		x := s.fired[name]
		s.fired[name] = [2]int{x[0] + n[0], x[1] + n[1]}
	}
}

// print prints the summary and says whether all is well.
func (s *summary) print() bool {
	took := time.Since(s.began)
	fmt.Printf("%d runs in %v, %d of them count (at least 2 slots and 3 commits): %d failed\n", s.runs, took.Round(time.Millisecond), s.runs-s.skipped, len(s.failed))
	fmt.Printf("%d steps (%.0f thousand a second), %d transactions committed\n", s.steps, float64(s.steps)/took.Seconds()/1000, s.commits)
	for _, name := range slices.Sorted(maps.Keys(s.cases)) {
		fmt.Printf("%8d  %s\n", s.cases[name], name)
	}
	fmt.Println("faults: how often each happened, of how often it could have")
	ok := len(s.failed) == 0
	for _, name := range slices.Sorted(maps.Keys(s.fired)) {
		n := s.fired[name]
		note := ""
		if n[1] == 0 && n[0] >= enough {
			note, ok = "  NEVER: a defect of the simulation", false
		}
		fmt.Printf("%8d %10d  %s%s\n", n[1], n[0], name, note)
	}
	ok = s.printMet() && ok
	if len(s.failed) > 0 {
		s.explain(s.failed[0])
	}
	return ok
}

// printMet prints what runs have met, and says whether that is all that they are to meet: of so many runs that it is no chance.
func (s *summary) printMet() bool {
	ok := true
	many := s.runs >= manyRuns
	fmt.Println("what runs have seen")
	for _, what := range world.Sights() {
		note := ""
		if s.seen[what] == 0 && many {
			note, ok = "  NEVER: a defect of the simulation", false
		}
		fmt.Printf("%8d  %s%s\n", s.seen[what], what, note)
	}
	fmt.Println("messages that partitions have met, by their phase")
	for _, c := range world.Table(s.met) {
		note := ""
		switch {
		case c.Never != "" && c.Count > 0:
			note, ok = "  IT CANNOT BE: "+c.Never, false
		case c.Never != "":
			note = "  it cannot be: " + c.Never
		case c.Count == 0 && c.Rare != "":
			note = "  it is rare: " + c.Rare
		case c.Count == 0 && many:
			note, ok = "  NEVER: a defect of the simulation", false
		}
		fmt.Printf("%8d  %s%s\n", c.Count, c.Name, note)
	}
	return ok
}

// explain shows the first failure in short.
func (s *summary) explain(r world.Result) {
	opts, short := world.Shrink(world.Options{Seed: r.Seed})
	fmt.Printf("\nseed %d, made shorter: %d faults instead of %d, %d steps instead of %d\n", r.Seed, len(short.Faults), len(r.Faults), short.Steps, r.Steps)
	var last []string
	opts.Trace = func(line string) {
		const most = 400
		if last = append(last, line); len(last) > most {
			last = last[1:]
		}
	}
	again := world.Run(opts)
	for _, line := range last {
		fmt.Printf("%.240s\n", line)
	}
	fmt.Printf("faults: %v\n%v\n", again.Faults, again.Err)
}
