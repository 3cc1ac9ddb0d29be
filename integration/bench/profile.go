package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
)

// atBegin and atEnd are called with the first record and after the last commit: CPU profiles are of what lies between.
var atBegin, atEnd = func() {}, func() {}

// profiled runs a contender, and writes profiles of it if the job asks for them.
func profiled(j job, run func() error) (err error) {
	if j.Profile == "" {
		return run()
	}
	cpu, err := os.Create(j.Profile + ".cpu.pprof")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cpu.Close()) }()
	heap, err := os.Create(j.Profile + ".heap.pprof")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, heap.Close()) }()
	var failed error
	atBegin = func() { failed = pprof.StartCPUProfile(cpu) }
	atEnd = func() {
		pprof.StopCPUProfile()
		runtime.GC() // what the profile shows as in use is what lives
		failed = errors.Join(failed, pprof.WriteHeapProfile(heap))
	}
	defer pprof.StopCPUProfile() // of a run that has failed
	return errors.Join(run(), failed)
}
