package world

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

func TestTmpExits(t *testing.T) {
	n := 0
	for seed := range uint64(1200) {
		r := Run(Options{Seed: seed, Case: exits()})
		if r.Err != nil {
			t.Errorf("seed %d: %.300v", seed, r.Err)
			if n++; n > 8 {
				return
			}
		}
	}
}

func TestTmpOne(*testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	r := Run(Options{Seed: seed, Case: exits(), Trace: func(s string) { fmt.Println(s) }})
	fmt.Println(r.Err)
}
