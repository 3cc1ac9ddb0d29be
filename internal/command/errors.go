package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/troupe-stream/troupe/internal/host"
)

// Exit codes of every command.
const (
	exitClean    = 0
	exitFailed   = 1
	exitWrongUse = 2
)

// usageError is a fault of the command line itself: a flag, an argument, a name. Its exit code is exitWrongUse.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// wrongUse makes a usageError, formatted as fmt.Errorf does.
func wrongUse(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// exitCode is the exit code for what a command returned.
func exitCode(err error) int {
	var u *usageError
	var c *host.ConfigError
	switch {
	case err == nil:
		return exitClean
	case errors.As(err, &u), errors.As(err, &c):
		return exitWrongUse
	default:
		return exitFailed
	}
}

// faultsError are the faults of a topology, which people mend one by one: each is a line.
type faultsError struct {
	topology string
	faults   []error
}

func (e *faultsError) Error() string {
	lines := []string{fmt.Sprintf("topology %s cannot run: it has %d faults", e.topology, len(e.faults))}
	for _, f := range e.faults {
		lines = append(lines, oneLine(f))
	}
	return strings.Join(lines, "\n  ")
}

func (e *faultsError) Unwrap() []error { return e.faults }

// forPeople is an error as the command line tells it: one line, but for the faults of a topology.
func forPeople(err error) string {
	if f, ok := errors.AsType[*faultsError](err); ok {
		return f.Error()
	}
	return oneLine(err)
}

// oneLine puts an error, joined ones included, into one line.
func oneLine(err error) string {
	parts := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i, p := range parts {
		parts[i] = strings.TrimSpace(p)
	}
	return strings.Join(parts, "; ")
}

// nearest returns the candidate that a misspelt name was probably meant to be, or "" if none is close.
func nearest(name string, candidates []string) string {
	best, at := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		d := distance(strings.ToLower(name), strings.ToLower(c))
		if strings.HasPrefix(c, name) && name != "" {
			d = min(d, 1)
		}
		if d < at {
			best, at = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap with their neighbour that turns a into b.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, prev, cur := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(s); i++ {
		cur[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(t)]
}

// unknown is the error for a name that is none of those there are.
func unknown(kind, name string, candidates []string) error {
	if n := nearest(name, candidates); n != "" {
		return wrongUse("unknown %s %q: did you mean %q? There are %s", kind, name, n, strings.Join(candidates, ", "))
	}
	if len(candidates) == 0 {
		return wrongUse("unknown %s %q: there is none", kind, name)
	}
	return wrongUse("unknown %s %q: there are %s", kind, name, strings.Join(candidates, ", "))
}
