package command

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		// A script for the shell comes out though a variable is wrong: it is read when the shell starts.
		r := run(t, []string{"TROUPE_CONFIG=/no/such/file", "TROUPE_DEBUG=perhaps"}, "completion", shell)
		require.Zero(t, r.code, r.err)
		require.Contains(t, r.out, "__complete", shell)
		path, err := exec.LookPath(shell)
		if shell == "powershell" || err != nil {
			continue // it is not here to read the script
		}
		cmd := exec.CommandContext(t.Context(), path, "-n")
		cmd.Stdin = strings.NewReader(r.out)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", shell, out)
	}
}

func TestCompletionOfNames(t *testing.T) {
	t.Parallel()
	env := []string{"TROUPE_TOPOLOGY=wordcount"}
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want []string
	}{
		{"topologies", nil, []string{"--topology", ""}, []string{"audit", "wordcount"}},
		{"describe", nil, []string{"describe", ""}, []string{"audit", "wordcount"}},
		{"tables", nil, []string{"scan", "--topology", "wordcount", ""}, []string{"counts"}},
		{"tables by the environment", env, []string{"scan", ""}, []string{"counts"}},
		{"table of get", env, []string{"get", ""}, []string{"counts"}},
		{"no table behind it", env, []string{"get", "counts", ""}, nil},
		{"no topology, no table", nil, []string{"scan", ""}, nil},
		{"show", env, []string{"--show", ""}, []string{"counts"}},
		{"feed", env, []string{"--feed", ""}, []string{"lines=", "numbers="}},
		{"send", env, []string{"send", ""}, []string{"lines", "numbers"}},
		{"tail", env, []string{"tail", ""}, []string{"lines", "numbers", "wordcount-counts-changelog"}},
		{"nobody to ask for stopped partitions", env, []string{"resume-partition", "--data-dir", t.TempDir(), ""}, nil},
		{"client", nil, []string{"--client", ""}, []string{"public", "batched"}},
		{"guarantee", nil, []string{"--guarantee", ""}, []string{ExactlyOnce, AtLeastOnce}},
		{"format", nil, []string{"scan", "--format", ""}, []string{"table", "tsv", "json"}},
	} {
		r := run(t, c.env, append([]string{"__complete"}, c.args...)...)
		require.Zero(t, r.code, r.err)
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		require.Equal(t, c.want, append([]string(nil), lines[:len(lines)-1]...), c.name)
	}
	r := run(t, nil, "__complete", "--topology", "./")
	require.Equal(t, ":16\n", r.out, "directories")
}

func TestCompletionOfAgents(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"list", "--agent"}, {"redrive", "--agent"}, {"redrive", "--to"}, {"drop", "--agent"}, {"export", "--agent"}} {
		r := (&stopping{}).run(t, append(append([]string{"__complete", "dead-letters"}, args...), "")...)
		require.Equal(t, "pay\n:4\n", r.out, "%v: %s", args, r.err)
	}
}
