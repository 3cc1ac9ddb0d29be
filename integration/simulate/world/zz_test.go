package world

import (
	"fmt"
	"os"
	"testing"
)

func TestZZ(t *testing.T) {
	name := os.Getenv("CASE")
	met := map[string]int{}
	fired := map[string]int{}
	for _, c := range Cases() {
		if c.Name != name {
			continue
		}
		for seed := range uint64(1500) {
			r := Run(Options{Seed: seed, Case: c})
			for m, n := range r.Met {
				met[m.Message.String()+" "+m.Phase] += n
			}
			for m, n := range r.Fired {
				fired[m] += n[1]
			}
			if r.Err != nil {
				fmt.Printf("FAIL %d %.400v\n", seed, r.Err)
			}
		}
	}
	for m, n := range met {
		fmt.Println("MET", n, m)
	}
	for m, n := range fired {
		fmt.Println("FIRED", n, m)
	}
}
