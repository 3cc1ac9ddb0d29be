package topology

import "github.com/troupe-stream/troupe/topology/plan"

// Policy says what becomes of a record whose handler fails. Its fields are documented with plan.Policy; the zero value of each is its
// default: four attempts with pauses that grow from 100 ms, then the dead letters.
type Policy = plan.Policy

// Backoff is the pause before each further attempt of a Policy.
type Backoff = plan.Backoff

// Breaker of a Policy holds an agent back while what it calls is out of order.
type Breaker = plan.Breaker

// Failure describes a failed attempt to Policy.Decide.
type Failure = plan.Failure

// Decision says how a partition goes on after a failure.
type Decision = plan.Decision

// The decisions: for Policy.Then the last four, for Policy.Decide any.
const (
	ByPolicy      = plan.ByPolicy      // as Attempts and Then of the policy say
	Retry         = plan.Retry         // try again after the backoff, however many attempts there were
	DeadLetter    = plan.DeadLetter    // write the record to the dead letters and go on
	Skip          = plan.Skip          // drop the record and go on
	StopPartition = plan.StopPartition // commit what is done and give out nothing more, until it starts anew
	StopNode      = plan.StopNode      // end the process with an error
)

// ErrProcessExit is the cause that a record has failed for after five processes in a row have ended with it in hand: by os.Exit, for lack
// of memory, in C. It meets the policy's Then at once; Policy.Decide may look for it with errors.Is.
var ErrProcessExit = plan.ErrProcessExit

// OnFailure sets the policy of all agents, timers and tasks that have none of their own.
func (t *Topology) OnFailure(p Policy) {
	t.checkPolicy("topology "+t.name, p)
	t.policy = p
	t.changed()
}

// OnFailure sets the policy of an agent, timer or task. It replaces the topology's policy whole.
func OnFailure(p Policy) AgentOption {
	return func(a *agentDef) {
		a.t.checkPolicy(roleOf(a)+" "+a.name, p)
		if a.role != plan.Processor && p.KeyOrder {
			a.t.fault("%s %s: its policy has KeyOrder, but it has no records with keys: leave it out", roleOf(a), a.name)
		}
		a.policy = &p
	}
}

// OnTableFailure sets the policy for failures of functions that run inside the table's shards: those of Update, of aggregations and of
// EachRow. It goes before the policy of the agent. Its KeyOrder and Deadline are not used: those of the agent hold.
func OnTableFailure(p Policy) TableOption {
	return func(d *tableDef) {
		d.t.checkPolicy("table "+d.name, p)
		if p.KeyOrder || p.Deadline != 0 {
			d.t.fault("table %s: its policy has KeyOrder or a Deadline: set them in the policy of the agents", d.name)
		}
		d.policy = &p
	}
}

func (t *Topology) checkPolicy(of string, p Policy) {
	for _, f := range p.Faults() {
		t.fault("%s: the policy's %s", of, f)
	}
}

// unavailable marks an error as an outage of something that a handler calls.
type unavailable struct{ error }

// Unwrap returns the error that is marked.
func (u unavailable) Unwrap() error { return u.error }

// Unavailable implements what the engine asks errors for.
func (unavailable) Unavailable() bool { return true }

// Unavailable marks err as an outage of something that the handler calls, such as a database that refuses connections: the agent is
// held back for Breaker.Pause, then the record is tried again, without counting as an attempt. errors.Is and errors.As see err.
// Unavailable(nil) is nil.
func Unavailable(err error) error {
	if err == nil {
		return nil
	}
	return unavailable{err}
}

// Permanent marks err as one that trying again does not mend: the record meets the policy's Then at once. errors.Is and errors.As
// see err. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}
