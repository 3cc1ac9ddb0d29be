//go:build crashpoints

package crashpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// childEnv makes this test's program the process that comes to steps.
const childEnv = "TROUPE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		for range 3 {
			Hit("test.one")
			Hit("test.two")
		}
		fmt.Println("through", Pause(time.Hour))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child runs the steps in a process of its own.
func child(t *testing.T, env ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Env = append(env, childEnv+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.True(t, errors.As(err, &exit), "%v", err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestProcessEndsAtItsStep(t *testing.T) {
	t.Parallel()
	code, out, errs := child(t, Env+"=test.two@2", TraceEnv+"=1")
	require.Equal(t, ExitCode, code)
	require.Empty(t, out)
	require.Equal(t, "trace test.one 1\ntrace test.two 1\ntrace test.one 2\ntrace test.two 2\n", errs)
}

func TestProcessGoesOnWhereNothingIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{nil, {Env + "=test.two@4"}, {Env + "=test.three@1"}, {Env + "="}} {
		code, out, errs := child(t, env...)
		require.Zero(t, code)
		require.Equal(t, "through 1h0m0s\n", out)
		require.Empty(t, errs)
	}
	_, out, _ := child(t, PauseEnv+"=150ms")
	require.Equal(t, "through 150ms\n", out)
}

func TestFaultyEnvironment(t *testing.T) {
	t.Parallel()
	code, out, errs := child(t, Env+"=test.two", TraceEnv+"=yes", PauseEnv+"=-1s")
	require.Equal(t, 2, code)
	require.Empty(t, out)
	for _, want := range []string{"NAME@N", "must be 1", "above 0"} {
		require.Contains(t, errs, want)
	}
	for _, bad := range []string{"x", "x@", "@1", "x@0", "x@-1", "x@y"} {
		_, err := parse(func(name string) string { return map[string]string{Env: bad}[name] })
		require.ErrorContains(t, err, "NAME@N", bad)
	}
}

// TestManyGoroutines: of a process whose goroutines all come to one step, each counts, and one ends it.
func TestManyGoroutines(t *testing.T) {
	t.Parallel()
	s, err := parse(func(name string) string { return map[string]string{Env: "x.y@50"}[name] })
	require.NoError(t, err)
	var wg sync.WaitGroup
	var ended atomic.Int64
	for range 10 {
		wg.Go(func() {
			for range 10 {
				s.mu.Lock()
				if s.hit("x.y") {
					ended.Add(1)
				}
				s.mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(1), ended.Load())
	require.Equal(t, map[string]int{"x.y": 100}, s.count)
}
