//go:build crashpoints

package crashpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Env is NAME@N: end this process, with ExitCode, when it comes to the step of that name for the N-th time.
const Env = "TROUPE_CRASHPOINT"

// ExitCode is how a process ends that has come to its step.
const ExitCode = 77

var steps struct {
	once  sync.Once
	name  string
	n     int
	mu    sync.Mutex
	count int
}

// Hit marks a step, and ends the process there if the environment asks for it.
func Hit(name string) {
	steps.once.Do(func() {
		text := os.Getenv(Env)
		at, n, ok := strings.Cut(text, "@")
		var err error
		if steps.n, err = strconv.Atoi(n); text != "" && (!ok || err != nil || steps.n < 1) {
			fmt.Fprintf(os.Stderr, "%s=%q: it must be NAME@N, as in commit.produced@3\n", Env, text)
			os.Exit(2)
		}
		steps.name = at
	})
	if name != steps.name {
		return
	}
	steps.mu.Lock()
	defer steps.mu.Unlock()
	if steps.count++; steps.count == steps.n {
		os.Exit(ExitCode)
	}
}
