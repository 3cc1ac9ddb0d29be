package host

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// The environment variables with which tests look into transactions and crash a process in them. They are for tests of
// this project only.
const (
	// FailpointEnv is MOMENT@N: kill this process, as kill -9 does, when the N-th transaction reaches the moment: begun,
	// produced, offsets or committed.
	FailpointEnv = "TROUPE_FAILPOINT"
	// TraceEnv, set to 1, writes "trace MOMENT N" to standard error at each moment of transaction N.
	TraceEnv = "TROUPE_TRACE"
)

// newProbe returns what the environment asks for; nil if nothing.
func newProbe(failpoint, trace string, out io.Writer, kill func()) (func(moment string), error) {
	if failpoint == "" && trace == "" {
		return nil, nil
	}
	at, n := "", int64(0)
	if failpoint != "" {
		moment, count, ok := strings.Cut(failpoint, "@")
		var err error
		if n, err = strconv.ParseInt(count, 10, 64); !ok || err != nil || n < 1 {
			return nil, fmt.Errorf("%s=%q: it must be MOMENT@N, as in produced@3", FailpointEnv, failpoint)
		}
		at = moment
	}
	var transactions atomic.Int64
	return func(moment string) {
		if moment == "begun" {
			transactions.Add(1)
		}
		if trace != "" {
			_, _ = fmt.Fprintf(out, "trace %s %d\n", moment, transactions.Load())
		}
		if moment == at && transactions.Load() == n {
			kill()
		}
	}, nil
}

// killSelf ends this process at once, as kill -9 does.
func killSelf() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {} // until the signal is delivered
}
