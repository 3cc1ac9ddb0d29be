package plan

import (
	"errors"
	"fmt"
	"time"
)

// Decision says how a partition goes on after a failure.
type Decision uint8

// The decisions.
const (
	// ByPolicy goes by Attempts and Then of the policy.
	ByPolicy Decision = iota
	// Retry tries again after the backoff, however many attempts there were.
	Retry
	// DeadLetter writes the record to the topology's dead letters, in the transaction that passes it, and goes on. For a timer or
	// task, which has no record, it is Skip.
	DeadLetter
	// Skip drops the record (its effects are dropped anyway) and goes on. A timer skips that firing; a task is over.
	Skip
	// StopPartition commits what is done and gives out nothing more of the partition, until its node
	// restarts, or another node takes it over: then the record is tried again.
	StopPartition
	// StopNode ends the process with an error.
	StopNode
)

var decisions = [...]string{ByPolicy: "by policy", Retry: "retry", DeadLetter: "dead letter", Skip: "skip", StopPartition: "stop partition", StopNode: "stop node"}

// String names the decision.
func (d Decision) String() string {
	if int(d) < len(decisions) {
		return decisions[d]
	}
	return fmt.Sprintf("Decision(%d)", uint8(d))
}

// ErrProcessExit is what a record fails with that processes have died of, one after the other. It is permanent: the policy's Then comes
// at once, unless Decide says otherwise.
var ErrProcessExit = errors.New("process exit")

// Policy says what becomes of a record whose handler fails: by an error, a panic, runtime.Goexit, or by hanging. Its effects are dropped
// and the agent is restarted with fresh state in any case. The zero value of each field is its default.
type Policy struct {
	// Attempts is how often a record is tried, the first time included. Defaults to 4; for timers and tasks to no limit.
	Attempts int
	// Backoff is the pause before each further attempt.
	Backoff Backoff
	// Then says what comes after the last attempt, or at once for an error marked Permanent. Defaults to DeadLetter.
	Then Decision
	// Decide is asked at each failure, before anything else. It returns ByPolicy to leave it to the fields above. It must be quick
	// and must not block: it runs in the partition's actor. If it panics the policy goes on without it.
	Decide func(Failure) Decision
	// KeyOrder lets records of other keys go on while one is retried; those of its key wait, so that their order stays. By default
	// the whole partition waits, which keeps the order of all its records. Records without a key count as of one key.
	KeyOrder bool
	// Deadline is how long a handler may take for one record (of Batches: for one batch). When it has passed, the handler's
	// context ends; if it has not returned after Grace either, it is given up: the record has failed, and whatever the
	// handler's goroutine still does is refused. Defaults to none.
	Deadline time.Duration
	// Grace defaults to 5 s.
	Grace time.Duration
	// Breaker holds an agent back while what it calls is out of order.
	Breaker Breaker
}

// Backoff is the pause before an attempt: Min, twice as much each time, Max at the most, and up to Jitter of it more.
type Backoff struct {
	Min    time.Duration // Defaults to 100 ms
	Max    time.Duration // Defaults to 5 s, or Min if that is longer
	Jitter float64       // part of the pause that is drawn at random, from 0 to 1; defaults to 0.25, negative: none
}

// Breaker stops giving an agent's records out for Pause after more than Failures failures within Window, or at once for an error
// marked Unavailable. Then one record is tried: if it is done the others follow, else the pause begins anew. Failures while the
// breaker is open, and the one that opens it, are not counted as attempts: an outage does not fill the dead letters.
type Breaker struct {
	Failures int           // Defaults to 0: only errors marked Unavailable open it
	Window   time.Duration // Defaults to 10 s
	Pause    time.Duration // Defaults to 5 s
}

// Failure describes a failed attempt to Policy.Decide.
type Failure struct {
	Topology  string
	Agent     string // agent, timer or task
	FailedIn  string // the agent that failed, where the record of Agent has come to it through channels; else empty
	Topic     string // of the record; empty for a timer or task
	Partition int32
	Offset    int64  // -1 for a timer or task
	Timestamp int64  // of the record, Unix milliseconds
	Key       []byte // encoded; nil if null. It must not be changed
	Value     []byte // encoded; nil if null. It must not be changed
	Attempts  int    // this one included
	Err       error
}

// The defaults of policies.
const (
	defaultAttempts = 4
	defaultMin      = 100 * time.Millisecond
	defaultMax      = 5 * time.Second
	defaultJitter   = 0.25
	defaultGrace    = 5 * time.Second
	defaultWindow   = 10 * time.Second
	defaultPause    = 5 * time.Second
)

// Faults says what is wrong with a policy, each with its mend.
func (p Policy) Faults() []string {
	var faults []string
	fault := func(is bool, format string, args ...any) {
		if is {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	fault(p.Attempts < 0, "Attempts is %d: use a positive number, or 0 for the default", p.Attempts)
	fault(p.Backoff.Min < 0 || p.Backoff.Max < 0, "Backoff is %v to %v: use positive durations", p.Backoff.Min, p.Backoff.Max)
	fault(p.Backoff.Max > 0 && p.Backoff.Max < p.Backoff.Min, "Backoff.Max of %v is less than Min of %v", p.Backoff.Max, p.Backoff.Min)
	fault(p.Backoff.Jitter > 1, "Backoff.Jitter is %v: use a part from 0 to 1", p.Backoff.Jitter)
	fault(p.Then == Retry || int(p.Then) >= len(decisions), "Then is %v: use DeadLetter, Skip, StopPartition or StopNode; to try without end, return Retry from Decide", p.Then)
	fault(p.Deadline < 0 || p.Grace < 0, "Deadline is %v and Grace %v: use positive durations", p.Deadline, p.Grace)
	fault(p.Breaker.Failures < 0 || p.Breaker.Window < 0 || p.Breaker.Pause < 0, "Breaker is %+v: use positive numbers", p.Breaker)
	return faults
}

// Complete returns the policy with its defaults filled in; for records, or for a timer or task.
func (p Policy) Complete(role Role) *Policy {
	if p.Attempts == 0 && (role == Processor || role == OnTimer) {
		p.Attempts = defaultAttempts
	}
	if p.Then == ByPolicy {
		p.Then = DeadLetter
	}
	orDuration(&p.Backoff.Min, defaultMin)
	orDuration(&p.Backoff.Max, max(defaultMax, p.Backoff.Min))
	if p.Backoff.Jitter == 0 {
		p.Backoff.Jitter = defaultJitter
	}
	orDuration(&p.Grace, defaultGrace)
	orDuration(&p.Breaker.Window, defaultWindow)
	orDuration(&p.Breaker.Pause, defaultPause)
	return &p
}

func orDuration(d *time.Duration, standard time.Duration) {
	if *d == 0 {
		*d = standard
	}
}

// Wait is the pause before the attempt after n failures; random is from [0, 1).
func (b Backoff) Wait(n int, random float64) time.Duration {
	wait := b.Max
	if shift := max(n-1, 0); shift < 32 && b.Min<<shift > 0 { // else it overflows
		wait = min(b.Min<<shift, b.Max)
	}
	return wait + time.Duration(float64(wait)*max(b.Jitter, 0)*random)
}
