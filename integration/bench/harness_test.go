//go:build integration

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHarnessOnKafka runs the command as a user does, on a real Kafka and with few records: the engine, the bare loops, Kafka Streams, goka and Faust,
// each in a process of its own, each result checked. It says nothing about speed.
func TestHarnessOnKafka(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "bench")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, x := range []struct {
		suites        []string
		peers, client string
	}{
		{[]string{"count-100k", "count-1m", "count-10m", "count-zipf", "keys", "restore", "processes", "map"}, "bare", ""},
		{[]string{"endurance"}, "bare", "batched"},
		{[]string{"wordcount", "json", "state", "partitions", "latency-1k", "recovery", "recovery-other", "values"}, "bare", "batched"},
		{[]string{"count-100k"}, "streams,goka,faust", "batched"}, // built, or installed, as they are where speed is measured
	} {
		reports(t, program, dir, x.suites, x.peers, x.client)
	}
	profiles, err := filepath.Glob(filepath.Join(dir, "profiles", "*.cpu.pprof"))
	require.NoError(t, err)
	require.Greater(t, len(profiles), 20)
}

// reports runs suites, and looks at the report.
func reports(t *testing.T, program, dir string, suites []string, peers, client string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "--quick", "--budget", "10m", "--rounds", "1", "--records", "20000", "--suites", strings.Join(suites, ","), "--peers", peers, "--minutes", "1", "--rate", "5000",
		"--client", client, "--profiles", filepath.Join(dir, "profiles"), "--out", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	report, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	require.NoError(t, err)
	require.NotContains(t, string(report), "**not measured**")
	chosen, err := choose(settings{records: 20_000, suites: strings.Join(suites, ","), peers: peers, client: client, minutes: 1})
	require.NoError(t, err)
	require.Len(t, chosen, len(suites))
	for _, s := range chosen {
		require.NotEmpty(t, s.contenders)
		_, section, found := strings.Cut(string(report), "\n## "+s.title+"\n")
		require.True(t, found, s.title)
		section, _, _ = strings.Cut(section, "\n## ")
		for _, c := range s.contenders {
			require.Contains(t, section, "| "+c.label+" |", s.name)
		}
	}
}
