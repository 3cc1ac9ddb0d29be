package main

import (
	"flag"
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/world"
)

func main() {
	seeds := flag.Uint64("seeds", 100, "")
	from := flag.Uint64("from", 0, "")
	trace := flag.Bool("trace", false, "")
	flag.Parse()
	began := time.Now()
	failed, skipped, steps := 0, 0, 0
	fired := map[string][2]int{}
	for seed := *from; seed < *from+*seeds; seed++ {
		o := world.Options{Seed: seed}
		if *trace {
			o.Trace = func(l string) { fmt.Println(l) }
		}
		r := world.Run(o)
		steps += r.Steps
		if r.Skipped {
			skipped++
		}
		for k, v := range r.Fired {
			x := fired[k]
			fired[k] = [2]int{x[0] + v[0], x[1] + v[1]}
		}
		if r.Err != nil {
			failed++
			e := r.Err.Error()
			if len(e) > 400 {
				e = e[:400]
			}
			fmt.Printf("seed %d %s steps %d: %v\n", seed, r.Case, r.Steps, e)
		}
	}
	d := time.Since(began)
	fmt.Printf("%d seeds, %d failed, %d skipped, %d steps, %v: %.0f runs/s\n", *seeds, failed, skipped, steps, d, float64(*seeds)/d.Seconds())
	for k, v := range fired {
		fmt.Println(k, v)
	}
}
