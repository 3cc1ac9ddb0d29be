package world

import (
	"slices"
	"strings"
	"testing"
)

func TestStat(t *testing.T) {
	var commits, restored, running, slots []int
	lines := map[string]int{}
	for seed := range uint64(400) {
		re, ru := 0, 0
		r := Run(Options{Seed: seed, Trace: func(l string) {
			if strings.Contains(l, "INFO restored") {
				re++
			}
			if strings.Contains(l, "partition running") {
				ru++
			}
			for _, w := range []string{"cannot be taken", "commit not done", "slots lost", "belong to nobody", "older than", "checkpoint dropped", "INFO settled", "state=2", "revoked", "not released", "checkpoint put off"} {
				if strings.Contains(l, w) {
					lines[w]++
				}
			}
		}})
		commits = append(commits, r.Commits)
		restored = append(restored, re)
		running = append(running, ru)
		slots = append(slots, r.Slots)
	}
	for name, x := range map[string][]int{"commits": commits, "restored": restored, "running": running, "slots": slots} {
		slices.Sort(x)
		t.Log(name, x[len(x)/10], x[len(x)/2], x[len(x)*9/10])
	}
	t.Log(lines)
}
