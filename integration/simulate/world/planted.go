//go:build planted

package world

import (
	"fmt"

	"github.com/troupe-stream/troupe/internal/plant"
)

// FindPlanted plants a fault and runs seeds, up to a limit, until one fails. It returns how many it took, and how that run
// ended; 0 if none did.
func FindPlanted(name string, limit int) (seeds int, found Result) {
	plant.Set(name)
	defer plant.Set("")
	for i := range limit {
		if r := Run(Options{Seed: uint64(i)}); r.Err != nil { //nolint:gosec // not negative
			return i + 1, r
		}
	}
	return 0, Result{Err: fmt.Errorf("%s: not found by %d seeds", name, limit)}
}
