package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asNode makes the binary of this test the command itself.
const asNode = "TEST_AS_NODE"

// child is the command as a process of its own, in the directory of a user's module.
func child(ctx context.Context, t *testing.T, dir, programs string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "GOWORK=") || strings.HasPrefix(kv, "GOFLAGS=") || strings.HasPrefix(kv, "TROUPE_")
	}), asNode+"=1", "TROUPE_PROGRAMS="+programs)
	return cmd
}

// userModule is a module of a user's with a package that exports Topology.
func userModule(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	read := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
		require.NoError(t, err)
		return string(text)
	}
	const troupe = "github.com/troupe-stream/troupe"
	for name, text := range map[string]string{
		"go.mod": strings.Replace(read("go.mod"), "module "+troupe, "module example.org/mod", 1) +
			"\nrequire " + troupe + " v0.0.0\n\nreplace " + troupe + " => " + root + "\n",
		"go.sum":         read("go.sum"),
		"words/words.go": strings.ReplaceAll(read("examples", "wordcount", "wordcount.go"), `New("wordcount")`, `New("words")`),
		"book.txt":       text,
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

// A topology that is named by its package does all that one does that is compiled in: it is fed and drained, scanned, asked while it runs; the
// process is the one that was started, so signals and exit codes are those of the node.
func TestTopologyOfAPackage(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir, data, programs := userModule(t), t.TempDir(), t.TempDir()
	run := func(args ...string) (code int, out, errs string) {
		var stdout, stderr bytes.Buffer
		cmd := child(ctx, t, dir, programs, append(args, "--data-dir", data)...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			require.ErrorAs(t, err, new(*exec.ExitError), "%s", &stderr)
		}
		return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
	}
	code, _, errs := run("--topology", "./words", "--feed", "lines=book.txt", "--drain", "--http", "off")
	require.Zero(t, code, errs)
	require.Contains(t, errs, "words, reads lines")
	code, out, errs := run("scan", "counts", "--topology", "example.org/mod/words", "--format", "tsv")
	require.Zero(t, code, errs)
	require.Equal(t, tsv(1), out)
	for _, args := range [][]string{
		{"describe", "./words"},
		{"lag", "-t", "./words"},
		{"dead-letters", "list", "--topology=./words"},
		{"topologies", "--topology", "./words"},
		{"config", "--topology", "./words"},
		{"verify", "--topology", "./words"},
	} {
		code, out, errs = run(args...)
		require.Zero(t, code, errs)
		require.NotContains(t, errs, "./words")
		if args[0] == "config" {
			require.Contains(t, out, "words ")
		}
	}
	complete, err := child(ctx, t, dir, programs, "__complete", "scan", "--topology", "./words", "").Output()
	require.NoError(t, err)
	require.Equal(t, "counts\n:4\n", string(complete))
	code, _, errs = run("--topology", "./words", "--feed", "nothing=book.txt")
	require.Equal(t, 2, code)
	require.Contains(t, errs, `unknown topic "nothing"`)
	code, _, errs = run("--topology", "words")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "say --topology ./words")
	code, _, errs = run("./words")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "say --topology ./words")

	// It runs, is asked, and is told to stop.
	node := child(ctx, t, dir, programs, "--topology", "./words", "--data-dir", data, "--http", "127.0.0.1:0")
	stderr, err := node.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, node.Start())
	lines := bufio.NewScanner(stderr)
	var said strings.Builder
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), "http:") {
			break
		}
	}
	require.Contains(t, said.String(), "http:", "it has not come so far")
	code, out, errs = run("status", "--topology", "./words")
	require.Zero(t, code, errs)
	require.Contains(t, out, "words: 1 node")
	require.NoError(t, node.Process.Signal(syscall.SIGTERM))
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
	}
	require.NoError(t, node.Wait(), said.String())
	require.Contains(t, said.String(), "stopping in order")
}

func TestPackageThatDoesNotCompile(t *testing.T) {
	t.Parallel()
	dir := userModule(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "words", "more.go"), []byte("package wordcount\n\nvar x int = \"x\"\n"), 0o600))
	var stderr bytes.Buffer
	cmd := child(t.Context(), t, dir, t.TempDir(), "scan", "counts", "--topology", "./words")
	cmd.Stderr = &stderr
	require.Error(t, cmd.Run())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, stderr.String(), "\nwords/more.go:3:13: cannot use \"x\"")
	require.Contains(t, stderr.String(), "--topology package ./words does not build: see above")
}
