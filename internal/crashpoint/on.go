//go:build crashpoints

package crashpoint

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Env is NAME@N: end this process, with ExitCode, when it comes to the step of that name for the N-th time.
	Env = "TROUPE_CRASHPOINT"
	// TraceEnv, set to 1, writes "trace NAME N" to standard error at each step.
	TraceEnv = "TROUPE_TRACE"
	// PauseEnv is a duration: pauses that are given to Pause are no longer than that.
	PauseEnv = "TROUPE_PAUSE"
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
	pause time.Duration // 0: as long as it may be
}

var all = sync.OnceValue(func() *steps {
	s, err := parse(os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return s
})

func parse(getenv func(string) string) (*steps, error) {
	s := &steps{count: map[string]int{}}
	var faults []error
	if text := getenv(Env); text != "" {
		name, times, _ := strings.Cut(text, "@")
		n, err := strconv.Atoi(times)
		if name == "" || err != nil || n < 1 {
			faults = append(faults, fmt.Errorf("%s=%q: it must be NAME@N, as in commit.produced@3", Env, text))
		}
		s.name, s.n = name, n
	}
	if text := getenv(TraceEnv); text != "" {
		if s.trace = text == "1"; !s.trace {
			faults = append(faults, fmt.Errorf("%s=%q: it must be 1, or not be set", TraceEnv, text))
		}
	}
	if text := getenv(PauseEnv); text != "" {
		var err error
		if s.pause, err = time.ParseDuration(text); err != nil || s.pause <= 0 {
			faults = append(faults, fmt.Errorf("%s=%q: it must be a duration above 0, as in 200ms", PauseEnv, text))
		}
	}
	return s, errors.Join(faults...)
}

// Hit marks a step, and ends the process there if the environment asks for it. name is a literal AREA.STEP, unique in the
// module: tests find all steps by reading the code. It may be called from any goroutine.
func Hit(name string) {
	s := all()
	s.mu.Lock()
	defer s.mu.Unlock() // while the process ends, too: whoever traces a step has come to it before that
	if s.hit(name) {
		os.Exit(ExitCode)
	}
}

// Pause returns d, or what the environment allows at most: steps that come every few seconds come often then.
func Pause(d time.Duration) time.Duration {
	if s := all(); s.pause > 0 {
		return min(d, s.pause)
	}
	return d
}

// hit counts a step and says whether it is the one to end at. The caller holds the lock.
func (s *steps) hit(name string) bool {
	s.count[name]++
	n := s.count[name]
	if s.trace {
		fmt.Fprintf(os.Stderr, "trace %s %d\n", name, n)
	}
	return name == s.name && n == s.n
}
