//go:build integration

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHarnessOnKafka runs the command as a user does, on a real Kafka and with few records: the engine and the bare loops, each in a process of
// its own, each result checked. It says nothing about speed.
func TestHarnessOnKafka(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "bench")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.CommandContext(t.Context(), program, "--quick", "--budget", "10m", "--rounds", "1", "--records", "100000", "--suites", "count-100k", "--peers", "bare",
		"--profiles", filepath.Join(dir, "profiles"), "--out", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	report, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	require.NoError(t, err)
	for _, c := range countSuite(settings{}, 100_000, true).contenders {
		if c.kind == kindOurs || c.kind == kindBare {
			require.Contains(t, string(report), "| "+c.label+" |")
		}
	}
	profiles, err := filepath.Glob(filepath.Join(dir, "profiles", "*.cpu.pprof"))
	require.NoError(t, err)
	require.Len(t, profiles, 7)
}
