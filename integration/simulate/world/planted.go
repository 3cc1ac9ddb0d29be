//go:build planted

package world

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/troupe-stream/troupe/internal/plant"
)

// sought is the case in which the i-th seed looks for a fault: the one that has what the fault is about, or else each of those that a slot, a
// commit and a restore are in, in turn. More of the others would only take longer.
func sought(name string, i int) *Case {
	switch name {
	case "a tree is sealed half done":
		return channels()
	case "clock of a table outside the bundle":
		return expiry()
	case "timers beside the agents that set them":
		return durable()
	case "time of timers outside the bundle", "records overtake timers that are due":
		return moments()
	case "patience begins anew with each attempt":
		return pleas()
	case "what is sent is not waited for", "what is sent early is not waited for":
		return atLeastOnce()
	case "restore ends at the last stable offset":
		return raw()
	}
	all := []*Case{stateless(), count(), repartition(), twoTables(), ledger(), doneSet(), batches(), timers(), deletes(), keyOrder(), exits(), hangs(), halts(), atLeastOnce(), timers()}
	return all[i%len(all)]
}

// FindPlanted plants a fault and runs seeds on all cores, up to a limit, until one fails. It returns how many that takes one after
// the other, and how that run ended; 0 if none did.
func FindPlanted(name string, limit int) (seeds int, found Result) {
	plant.Set(name)
	defer plant.Set("")
	var mu sync.Mutex
	next, first := 0, limit
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= first
	}
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				r := Run(Options{Seed: uint64(i), Case: sought(name, i)}) //nolint:gosec // not negative
				mu.Lock()
				if r.Err != nil && i < first {
					first, found = i, r
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if found.Err == nil {
		return 0, Result{Err: fmt.Errorf("%s: not found by %d seeds", name, limit)}
	}
	return first + 1, found
}
