//go:build crashpoints

package crashpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

const (
	// Env is NAME@N: end this process, with ExitCode, when it comes to the step of that name for the N-th time.
	Env = "TROUPE_CRASHPOINT"
	// TraceEnv, set to 1, writes "trace NAME N" to standard error at each step.
	TraceEnv = "TROUPE_TRACE"
	// ExitCode is how a process ends that has come to its step.
	ExitCode = 77
)

// steps counts how often each step was reached, and knows at which one to end.
type steps struct {
	mu    sync.Mutex
	count map[string]int
	name  string
	n     int
	trace bool
}

var all = sync.OnceValue(func() *steps {
	s, err := parse(os.Getenv(Env))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	s.trace = os.Getenv(TraceEnv) == "1"
	return s
})

func parse(text string) (*steps, error) {
	s := &steps{count: map[string]int{}}
	if text == "" {
		return s, nil
	}
	name, n, ok := strings.Cut(text, "@")
	var err error
	if s.n, err = strconv.Atoi(n); !ok || err != nil || s.n < 1 {
		return nil, fmt.Errorf("%s=%q: it must be NAME@N, as in commit.produced@3", Env, text)
	}
	s.name = name
	return s, nil
}

// Hit marks a step, and ends the process there if the environment asks for it.
func Hit(name string) {
	s := all()
	if s.hit(name) {
		os.Exit(ExitCode)
	}
}

// hit counts a step and says whether it is the one to end at. No other goroutine writes its trace after that one's.
func (s *steps) hit(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[name]++
	n := s.count[name]
	if s.trace {
		fmt.Fprintf(os.Stderr, "trace %s %d\n", name, n)
	}
	return name == s.name && n == s.n
}
