package world

import "testing"

func TestTmpExits(t *testing.T) {
	n := 0
	for seed := range uint64(300) {
		r := Run(Options{Seed: seed, Case: exits()})
		if r.Err != nil {
			t.Errorf("seed %d: %.300v", seed, r.Err)
			if n++; n > 8 {
				return
			}
		}
	}
}
