package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// errBusy says that a fault has found nothing to harm: all is in the hands of other faults.
var errBusy = errors.New("nothing to harm")

// fault is one kind of harm. inject does it and undoes it, and blocks meanwhile; what it says goes into the log. Once
// ctx ends it undoes it at once.
type fault struct {
	name   string
	weight int
	about  string
	inject func(ctx context.Context, r *run, rng *rand.Rand) (what string, err error)
}

// faults are all kinds.
func faults() []fault {
	return []fault{
		{"kill", 10, "kill -9 of a node, started again at once on its data", killNode},
		{"kill-late", 4, "kill -9 of a node, started again on its data after its session has ended", killLate},
		{"exit", 1, "a record that ends every process which is given it, until it is a dead letter", exitRecord},
		{"freeze", 6, "SIGSTOP of a node past its session timeout, then SIGCONT", freezeNode},
		{"freeze-long", 2, "SIGSTOP of a node past its transaction timeout, then SIGCONT", freezeLong},
		{"leave", 4, "SIGTERM of a node; later a new one in its place", leave},
		{"join", 4, "one more node for a while, then SIGTERM", join},
		{"broker-kill", 4, "kill -9 of a broker, started again", brokerKill},
		{"broker-stop", 3, "SIGTERM of a broker, started again", brokerStop},
		{"controller", 2, "kill -9 of the active controller, started again", controllerKill},
		{"leaders", 4, "the leaders of all partitions of a topic moved", moveLeaders},
		{"cut-one", 4, "network cut between a node and one broker", cutOne},
		{"cut-all", 4, "network cut between a node and all brokers", cutAll},
		{"hold-all", 3, "network between a node and all brokers loses everything", holdAll},
		{"slow", 3, "slow network between a node and all brokers", slowNetwork},
		{"compact", 3, "changelogs rolled and compacted at once, under running nodes", compact},
		{"data-deleted", 3, "kill -9, data directory deleted, started again", dataDeleted},
		{"data-older", 3, "kill -9, data directory replaced by an older copy, started again", dataOlder},
		{"data-damaged", 3, "kill -9, checkpoints damaged, started again", dataDamaged},
		{"disk-full", 3, "a node cannot write to its disk for a while", diskFull},
		{"idle", 1, "no input for a while", idle},
	}
}

// chosenFaults reads --faults: names, each with a weight if it is followed by =N; empty: all as they are.
func chosenFaults(text string) ([]fault, error) {
	all := faults()
	if text == "" {
		return all, nil
	}
	var out []fault
	for part := range strings.SplitSeq(text, ",") {
		name, weight, given := strings.Cut(strings.TrimSpace(part), "=")
		i := slices.IndexFunc(all, func(f fault) bool { return f.name == name })
		if i < 0 {
			var names []string
			for _, f := range all {
				names = append(names, f.name)
			}
			return nil, fmt.Errorf("--faults: there is no fault %q: use some of %s", name, strings.Join(names, ", "))
		}
		f := all[i]
		if given {
			n, err := strconv.Atoi(weight)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("--faults: %s=%s: use a weight of 1 or more", name, weight)
			}
			f.weight = n
		}
		out = append(out, f)
	}
	return out, nil
}

// storm injects faults until ctx ends, up to a number at once, and waits until all are undone.
type storm struct {
	run   *run
	rng   *rand.Rand
	kinds []fault
	gap   time.Duration // between the beginnings of two faults, on average
	most  int           // at once

	mu     sync.Mutex
	active []string // under way
	wait   sync.WaitGroup
	err    error // of a fault that could not be undone
}

func (s *storm) blow(ctx context.Context) error {
	total := 0
	for _, f := range s.kinds {
		total += f.weight
	}
	for pause(ctx, time.Duration(s.rng.ExpFloat64()*float64(s.gap))) {
		if s.count() >= s.most {
			continue
		}
		n := s.rng.IntN(total)
		for _, f := range s.kinds {
			if n -= f.weight; n < 0 {
				rng := rand.New(rand.NewPCG(s.rng.Uint64(), 0))
				s.wait.Go(func() { s.one(ctx, f, rng) })
				break
			}
		}
	}
	s.wait.Wait()
	return s.err
}

func (s *storm) one(ctx context.Context, f fault, rng *rand.Rand) {
	s.begin(f.name)
	begun := time.Now()
	what, err := f.inject(ctx, s.run, rng)
	s.end(f.name)
	if errors.Is(err, errBusy) {
		return
	}
	if err != nil {
		s.run.log("FAULT %s: %s: %v", f.name, what, err)
		s.mu.Lock()
		s.err = errors.Join(s.err, fmt.Errorf("fault %s: %w", f.name, err))
		s.mu.Unlock()
		return
	}
	s.run.log("fault %s: %s, %s", f.name, what, time.Since(begun).Round(100*time.Millisecond))
	s.run.recovered(f.name)
}

func (s *storm) begin(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = append(s.active, name)
}

func (s *storm) end(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.active, name); i >= 0 {
		s.active = slices.Delete(s.active, i, i+1)
	}
}

func (s *storm) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.active)
}

// between is a random time.
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)+1))
}
