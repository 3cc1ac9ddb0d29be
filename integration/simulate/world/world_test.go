package world

import (
	"hash/fnv"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSeeds runs some hundred seeds. More: go run ./integration/simulate.
func TestSeeds(t *testing.T) {
	t.Parallel()
	const shards, each = 4, 75
	for shard := range uint64(shards) {
		t.Run(strconv.FormatUint(shard, 10), func(t *testing.T) {
			t.Parallel()
			skipped := 0
			for i := range uint64(each) {
				seed := shard*each + i
				r := Run(Options{Seed: seed})
				require.NoError(t, r.Err, "seed %d, %s: SEED=%d go test -run TestOneSeed -v ./integration/simulate/world shows it", seed, r.Case, seed)
				if r.Skipped {
					skipped++
				}
			}
			require.Less(t, skipped, each/5, "runs in which too little happened")
		})
	}
}

// TestOneSeedIsOneRun holds that a run can be replayed.
func TestOneSeedIsOneRun(t *testing.T) {
	t.Parallel()
	trace := func(seed uint64) (uint64, int) {
		h, n := fnv.New64a(), 0
		Run(Options{Seed: seed, Trace: func(line string) {
			if n++; len(line) > 40 {
				line = line[:40] // no addresses
			}
			_, _ = h.Write([]byte(line))
		}})
		return h.Sum64(), n
	}
	for seed := range uint64(len(Cases())) {
		a, n := trace(seed)
		b, m := trace(seed)
		require.Equal(t, n, m, "seed %d", seed)
		require.Equal(t, a, b, "seed %d", seed)
	}
}

// TestFoundBefore replays the seeds that have found bugs of the engine, as far as they still mean the same run.
func TestFoundBefore(t *testing.T) {
	t.Parallel()
	found := map[string][]uint64{
		"at-least-once": {78, 163, 212, 280, 625, 1219, 2081, 2584, 4088, 4941},
		"batches":       {321, 474, 816},
		"count":         {2809},
		"deletes":       {665, 1016, 6821},
		"done-set":      {977, 2849, 7574},
		"foreign":       {10087}, // of eight nodes, which had no time left for their heartbeats
		"ledger":        {193, 2155, 19012},
		"pleas":         {57, 60, 71, 79, 80, 91, 125, 296},
		"repartition":   {713, 857, 2477},
		"timers":        {5007, 5031, 12166},
		"two-tables":    {579, 849, 1614, 5673},
	}
	for _, c := range Cases() {
		for _, seed := range found[c.Name] {
			r := Run(Options{Seed: seed, Case: c})
			require.NoError(t, r.Err, "seed %d, %s", seed, c.Name)
		}
	}
}

// TestOneSeed shows one run: SEED=n go test -run TestOneSeed -v ./integration/simulate/world.
func TestOneSeed(t *testing.T) {
	text := os.Getenv("SEED")
	if text == "" {
		t.Skip("it replays a run: set SEED to its seed")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err)
	r := Run(Options{Seed: seed, Trace: func(line string) { t.Log(line) }})
	require.NoError(t, r.Err)
}
