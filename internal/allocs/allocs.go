// Package allocs counts, for tests, what a function allocates.
package allocs

import "runtime"

// PerRun returns how many allocations a run of f makes, and of how many bytes, on average over runs of it, after one that is not counted. The counters are of
// the whole process: nothing else may run. See testing.AllocsPerRun, which counts no bytes.
func PerRun(runs int, f func()) (count, bytes float64) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	n := float64(runs)
	return float64(after.Mallocs-before.Mallocs) / n, float64(after.TotalAlloc-before.TotalAlloc) / n
}
