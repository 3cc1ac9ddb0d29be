package world

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

// TestSeed runs one seed with its trace: SEED=n go test -run TestSeed -v ./integration/simulate/world.
func TestSeed(t *testing.T) {
	text := os.Getenv("SEED")
	if text == "" {
		t.Skip("set SEED to replay a run")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	r := Run(Options{Seed: seed, Trace: func(line string) { fmt.Println(line) }})
	t.Logf("%+v", r)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
}
