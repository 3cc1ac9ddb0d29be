package main

import (
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"syscall"
)

// What the runtime knows of the garbage collector: seconds of processor time that it has taken, and how often it has stopped everything how long.
const (
	gcSeconds = "/cpu/classes/gc/total:cpu-seconds"
	gcPauses  = "/sched/pauses/total/gc:seconds"
	liveHeap  = "/gc/heap/live:bytes"
)

// before is what was so at the first record.
var before struct {
	gc, cpu float64
	pauses  *metrics.Float64Histogram
}

func readMetrics(names ...string) []metrics.Sample {
	out := make([]metrics.Sample, len(names))
	for i, n := range names {
		out[i].Name = n
	}
	metrics.Read(out)
	return out
}

// collecting and collected enclose what is measured: they tell which part of the processor time the garbage collector took, and the longest
// that it has stopped everything.
func collecting() {
	m := readMetrics(gcSeconds, gcPauses)
	before.gc, before.cpu, before.pauses = m[0].Value.Float64(), ownCPU(), m[1].Value.Float64Histogram()
}

func collected() {
	if before.pauses == nil {
		return // nothing has begun
	}
	m := readMetrics(gcSeconds, gcPauses)
	if cpu := ownCPU() - before.cpu; cpu > 0 {
		figure("gc", 100*(m[0].Value.Float64()-before.gc)/cpu)
	}
	figure("pause", 1000*longest(before.pauses, m[1].Value.Float64Histogram()))
}

// longest is the upper bound of the highest bucket that has grown, in seconds.
func longest(before, now *metrics.Float64Histogram) float64 {
	for i, n := range slices.Backward(now.Counts) {
		if n == before.Counts[i] {
			continue
		}
		if at := now.Buckets[i+1]; !math.IsInf(at, 1) {
			return at
		}
		return now.Buckets[i]
	}
	return 0
}

// ownCPU is the processor time that this process has used, in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// heap tells what of the heap lives.
func heap() {
	runtime.GC()
	figure("heap", float64(readMetrics(liveHeap)[0].Value.Uint64()))
}

func figure(name string, v float64) { say("figure %s %g", name, v) }
