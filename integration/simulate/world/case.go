package world

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/integration/simulate/sched"
	"github.com/troupe-stream/troupe/topology"
)

// Case is a topology with inputs, and what must come of them.
type Case struct {
	Name string
	// Define makes the topology; version 1 is that of a rolling upgrade.
	Define func(h *Hooks, version int) *topology.Topology
	// Input makes the i-th record of the topic "in".
	Input func(r *rand.Rand, i int) (key, value string)
	// Topic says where the i-th record goes; the topic is made when it is not there. Nil: "in".
	Topic func(r *rand.Rand, i int) string
	// At makes the timestamp of the i-th record; nil: that of the broker's clock.
	At func(r *rand.Rand, i int) int64
	// Headers makes the headers of a record of the topic "in", encoded; nil: none.
	Headers func(key, value string) []byte
	// Agents is how many agents read "in"; 0: one.
	Agents int
	// Check compares what is committed at the end with the fold of everything sent.
	Check func(o *Oracle) error
	// Letters: Check looks at the dead letters, too.
	Letters bool
	// AtLeastOnce: what nodes send is there before it is committed, and may be there again.
	AtLeastOnce bool
	// Prepare makes topics that nodes would make otherwise; nil: none.
	Prepare func(w *World)
	// Disturb lets faults of the case's own happen; nil: none.
	Disturb func(w *World)
	// Calm does now and then what a case needs to come to an end once the faults have stopped; nil: nothing.
	Calm func(w *World)
	// Busy is how many times more records than usual are sent, in as many times more steps; 0: one.
	Busy int
	// Compaction is how often, in 10,000 steps, the changelogs are compacted; 0: now and then; negative: never.
	Compaction int
	// Done says whether all has come that comes by itself, once all that was sent is committed; nil: it has.
	Done func(o *Oracle) bool
	// Settled checks, once all is committed, what is beside it; it may let the world go on. Nil: nothing.
	Settled func(w *World) error
	// Watch checks what must hold at every moment; nil: nothing.
	Watch func(o *Oracle) error
}

// Hooks lets handlers fail and wait.
type Hooks struct {
	s      *sched.Sched
	b      *broker.Broker
	failed map[string]int // by agent and record
	asked  int            // requests of handlers
	o      *Oracle
	exit   func()         // ends the process that runs
	exits  map[string]int // how many processes have ended with a record in hand
	users  map[*actor.Props]func() actor.Actor
}

// props are those of a user's actor.
func (h *Hooks) props(make func() actor.Actor) *actor.Props {
	p := actor.PropsFromProducer(make)
	h.users[p] = make
	return p
}

// poison marks a record that no handler takes, giant one that makes a record which is larger than its topic takes.
const (
	poison = "!"
	giant  = "+"
)

// deadly marks a record that ends the process whose handler gets it, and deep one that does so inside a table.
const (
	deadly = "#"
	deep   = "#table"
)

var (
	errPoison  = errors.New("this record is poison")
	errUnlucky = errors.New("bad luck")
)

// isBad says whether a record is one that no handler takes, that leads to one which no topic takes, or that ends the process.
func isBad(value string) bool {
	return strings.Contains(value, poison) || strings.Contains(value, giant) || strings.Contains(value, deadly)
}

// maxBadLuck is how often one record fails by bad luck at most: fewer times than would make it a dead letter.
const maxBadLuck = 2

// Turn is called at the beginning of a handler: it may wait, fail or panic.
func (h *Hooks) Turn(ctx *topology.Context, agent, value string) error {
	if h.s.Chance("handler: slow", 100) {
		h.s.Sleep(ctx, time.Duration(h.s.Rand().Int64N(int64(300*time.Millisecond))))
	}
	return h.Fate(agent, value)
}

// Fate is Turn without waiting: for functions inside a shard.
func (h *Hooks) Fate(agent, value string) error {
	if strings.Contains(value, poison) {
		return errPoison
	}
	key := agent + "/" + value
	if h.failed[key] >= maxBadLuck {
		return nil
	}
	if h.s.Chance("handler: error", 80) {
		h.failed[key]++
		return errUnlucky
	}
	if h.s.Chance("handler: panic", 40) {
		h.failed[key]++
		panic("bad luck")
	}
	return nil
}

// Exit ends the process, as os.Exit does, if the record is deadly.
func (h *Hooks) Exit(value string) {
	h.exits[value]++
	h.s.Logf("the record %s ends the process", value)
	h.exit()
	h.s.Yield() // it ends here
}

// Often is Fate, and bad luck is common.
func (h *Hooks) Often(agent, value string) error {
	if key := agent + "/" + value; h.failed[key] < maxBadLuck && h.s.Chance("handler: error, in a bad place", 1200) {
		h.failed[key]++
		return errUnlucky
	}
	return h.Fate(agent, value)
}

// Seen is told how many records a reader from outside has seen counted: no more than are committed.
func (h *Hooks) Seen(partition int32, counted int64) {
	for _, p := range h.o.Decided() {
		if p.Topic != "in" || p.Partition != partition {
			continue
		}
		if counted > p.Offset {
			h.s.Fail(fmt.Errorf("in/%d: a reader has seen %d records counted, and the offset %d is committed", partition, counted, p.Offset))
		}
		return
	}
	if counted > 0 {
		h.s.Fail(fmt.Errorf("in/%d: a reader has seen %d records counted, and nothing is committed", partition, counted))
	}
}

// Cases are all topologies of the simulation.
func Cases() []*Case {
	return []*Case{
		stateless(), count(), repartition(), twoTables(), ledger(), doneSet(), batches(), timers(), durable(), deletes(), keyOrder(), exits(), hangs(), halts(), atLeastOnce(), refusals(),
		sets(), expiry(), lapse(), raw(),
		globals(),
		joins(), grouped(), foreign(),
		views(),
		routes(),
		answers(), eager(),
		channels(), lanes(),
		sources(), distinct(), throttle(), async(), patterns(),
		moments(),
		pleas(),
	}
}

// words is the vocabulary that keys are taken from.
func word(r *rand.Rand, n int) string { return fmt.Sprintf("k%d", r.IntN(n)) }

// someTime makes times of records that go on, some of them late.
func someTime(r *rand.Rand, i int) int64 {
	at := int64(1_700_000_000_000 + i*300)
	if r.IntN(4) == 0 {
		at -= r.Int64N(latest)
	}
	return at
}

// someInput makes records with an id as value, few of them poison.
func someInput(r *rand.Rand, i int) (key, value string) {
	value = fmt.Sprintf("r%d", i)
	if r.IntN(100) == 0 {
		value += poison
	}
	return word(r, 8), value
}
