// Package world simulates whole clusters: nodes with the real machines and actors of this project, on a model of Kafka, in one
// thread. One seed is one run, replayed exactly. See Run.
package world

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/integration/simulate/ground"
	"github.com/troupe-stream/troupe/integration/simulate/sched"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Options say what to run.
type Options struct {
	Seed  uint64
	Case  *Case // nil: by the seed
	Steps int   // with faults; 0: DefaultSteps
	// Skip names faults that are not to happen: "kind#n" for the n-th that was asked for.
	Skip map[string]bool
	// Inputs bounds how many records are sent; 0: by the seed.
	Inputs int
	// Trace gets a line for each thing that happens.
	Trace func(string)
}

// DefaultSteps is how many steps a run has before its faults stop.
const DefaultSteps = 2000

// settleSteps bounds how long it may take after that until everything is committed, times as much as a case is busy. A step is a millisecond: a slot
// whose restore has taken longer than deletions are kept is taken again a minute later.
const settleSteps = 150_000

// fewNodes are as many as one processor serves in time.
const fewNodes = 2

// Result is how a run ended.
type Result struct {
	Seed    uint64
	Case    string
	Err     error // what was violated
	Steps   int
	Slots   int                    // with a committed offset
	Commits int                    // transactions committed
	Fired   map[string][2]int      // how often each fault was asked for, and happened
	Met     map[ground.Meeting]int // messages of partitions, by phase: see Table
	Seen    map[string]int         // of Sights
	Faults  []string               // those that happened, in order, as Options.Skip names them
	Skipped bool                   // too little happened to count
}

// World is one run.
type World struct {
	slots, commits int // when all was committed

	seen map[string]int // of Sights

	users map[*actor.Props]func() actor.Actor // of all nodes

	watched string                   // a topic whose records are noted whenever a process starts; empty: none
	started map[*sched.Proc][]Record // what it had
	rated   int                      // records written to it by others

	view *view // of a table, in a process of its own; nil: none

	deniedUntil map[string]int // topics that may not be written, until which step

	s        *sched.Sched
	b        *broker.Broker
	c        *Case
	o        *Oracle
	plans    []*plan.Plan
	nodes    []*node
	kafka    *sched.Proc // the cluster: markers on their way
	outer    *sched.Proc // the world itself
	inputs   int
	steps    int
	sent     int
	parts    int32
	latest   int // version of the topology that new nodes run
	away     map[string]time.Time
	met      map[ground.Meeting]int // messages of partitions, by phase
	patience time.Duration          // of nodes that stop
	most     int                    // nodes that are added one by one
}

// Run runs one seed.
func Run(opts Options) Result {
	w, err := build(opts)
	r := Result{Seed: opts.Seed, Err: err}
	if err != nil {
		return r
	}
	defer w.s.Close()
	r.Case = w.c.Name
	r.Err = w.run(cmpOr(opts.Steps, w.steps))
	r.Steps, r.Fired, r.Met, r.Seen = w.s.Steps(), w.s.Fired(), w.met, w.seen
	r.Faults = w.s.Faults()
	r.Slots, r.Commits = w.slots, w.commits
	r.Skipped = r.Slots < 2 || r.Commits < 3
	return r
}

func cmpOr(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

func build(opts Options) (*World, error) {
	s := sched.New(opts.Seed)
	s.Skip = opts.Skip
	if opts.Trace != nil {
		s.Trace(opts.Trace)
	}
	weather := weatherOf(s)
	w := &World{s: s, c: opts.Case, kafka: s.Proc("kafka"), outer: s.Proc("world"), away: map[string]time.Time{}, met: map[ground.Meeting]int{}, deniedUntil: map[string]int{}, seen: map[string]int{}, started: map[*sched.Proc][]Record{}}
	if w.patience = 4 * time.Second; weather.hasty || s.Rand().IntN(2) == 0 { // slots are taken before those who had them have let go of them in order
		w.patience = 400*time.Millisecond + time.Duration(s.Rand().Int64N(int64(time.Second)))
	}
	w.b = newBroker(s)
	if w.c == nil {
		all := append(Cases(), timers()) // twice as often as the others: what it finds needs the most coincidences
		w.c = all[opts.Seed%uint64(len(all))]
	}
	h := &Hooks{s: s, b: w.b, failed: map[string]int{}, exit: w.exit, exits: map[string]int{}, users: map[*actor.Props]func() actor.Actor{}}
	w.users = h.users
	var err error
	if w.plans, err = plansOf(w.c, h); err != nil {
		return nil, err
	}
	w.parts = 1 + int32(s.Rand().IntN(4)) //nolint:gosec // small
	w.inputs, w.steps = cmpOr(opts.Inputs, (40+s.Rand().IntN(120))*max(w.c.Busy, 1)), DefaultSteps*max(w.c.Busy, 1)
	if s.Rand().IntN(4) == 0 { // a long run
		w.steps *= 3
	}
	w.markers()
	w.watchSequences()
	w.watchMarks()
	w.createTopic("in", w.parts)
	if w.c.Prepare != nil {
		w.c.Prepare(w)
	}
	w.o = &Oracle{Store: w, topology: w.c.Name}
	h.o = w.o
	w.o.exits = h.exits
	nodes := 1 + s.Rand().IntN(4)
	if w.most = 5; weather.hasty { // few first, and then more
		nodes, w.most = 1+nodes/3, 8
	}
	for i := range nodes {
		w.addNode(i)
	}
	return w, nil
}

func (w *World) addNode(i int) {
	name := fmt.Sprintf("n%d", i)
	n := &node{w: w, name: name, instance: name, disk: newDisk(w.s), version: w.latest}
	w.nodes = append(w.nodes, n)
	n.start()
}

// exit ends the process that runs.
func (w *World) exit() {
	p := w.s.Running()
	w.nodes[slices.IndexFunc(w.nodes, func(n *node) bool { return n.proc == p })].kill()
}

// run lets the world go on for some steps with faults, then without until all is committed, and checks what came of it.
func (w *World) run(steps int) error {
	for range steps {
		if !w.step() {
			if w.s.Err() != nil {
				break
			}
			w.s.Advance(20 * time.Millisecond) // nothing runs: a node will be started
		}
		w.feed(steps)
		w.disturb()
	}
	w.calm()
	if err := w.settle(); err != nil {
		return err
	}
	return w.check()
}

func (w *World) step() bool {
	ok := w.s.Step()
	w.b.SetNow(w.s.Now())
	for _, n := range w.nodes {
		n.wake(false)
	}
	if w.view != nil {
		w.view.node.wake(false)
	}
	if w.c.Watch != nil && w.s.Steps()%50 == 0 {
		if err := w.c.Watch(w.o); err != nil {
			w.s.Fail(err)
		}
	}
	return ok
}

// feed sends the next input, now and then.
func (w *World) feed(steps int) {
	r := w.s.Rand()
	if w.sent >= w.inputs || r.IntN(steps) >= w.inputs {
		return
	}
	w.send(r)
}

func (w *World) send(r *rand.Rand) {
	key, value := w.c.Input(r, w.sent)
	at := int64(0)
	if w.c.At != nil {
		at = w.c.At(r, w.sent)
	}
	topic, parts := "in", w.parts
	if w.c.Topic != nil {
		topic = w.c.Topic(r, w.sent)
		if st, ok := w.b.Describe(topic); ok {
			parts = st.Partitions
		} else {
			parts = 1 + int32(r.IntN(2)) //nolint:gosec // small
			w.createTopic(topic, parts)
		}
	}
	w.sent++
	p := kafka.Murmur2().Hash([]byte(key), parts)
	w.o.sent = append(w.o.sent, Record{Topic: topic, Partition: p, At: at, Key: key, Value: value})
	w.append(kafka.TopicPartition{Topic: topic, Partition: p}, at, key, value)
}

// calm ends the faults: what stands still goes on, and a node runs on each machine that is to have one.
func (w *World) calm() {
	w.s.Logf("=== calm")
	w.s.Quiet()
	for _, name := range slices.Sorted(maps.Keys(w.deniedUntil)) {
		w.allow(name)
	}
	for w.sent < w.inputs {
		w.send(w.s.Rand())
	}
	if w.view != nil {
		w.view.node.wake(true)
	}
	for _, n := range w.nodes {
		n.wake(true)
		if n.twin && n.running() {
			n.kill()
		}
	}
	w.nodes = slices.DeleteFunc(w.nodes, func(n *node) bool { return n.twin })
	// Machines run side by side: many of them, on one processor, would have no time left for their heartbeats, and sessions would end for ever.
	w.s.SideBySide(len(w.nodes) / fewNodes)
}

// settle runs until everything is committed.
func (w *World) settle() error {
	limit := settleSteps * max(w.c.Busy, 1)
	for i := range limit {
		if err := w.s.Err(); err != nil {
			return err
		}
		w.step()
		if i%20 == 0 {
			w.revive()
		}
		if i%200 == 0 && w.c.Calm != nil {
			w.c.Calm(w)
		}
		if i%20 == 10 && w.isDone() {
			return w.s.Err()
		}
	}
	w.s.Logf("waiting: %v", w.s.Waiting())
	return fmt.Errorf("%w after %d steps without faults: %s", errNotDone, limit, w.lag())
}

// revive starts a node if none runs, and ends an upgrade that is under way.
func (w *World) revive() {
	running := false
	for _, n := range w.nodes {
		if n.running() && n.runs < n.version && !n.asked {
			n.stop()
		}
		running = running || n.running()
	}
	if running {
		return
	}
	n := w.nodes[w.s.Rand().IntN(len(w.nodes))]
	if n.err != nil {
		w.s.Logf("%s had ended: %v", n.name, n.err)
	}
	n.start()
}

// disturb lets faults happen.
func (w *World) disturb() {
	s := w.s
	for _, n := range slices.Clone(w.nodes) {
		switch {
		case !n.running():
			if s.Rand().IntN(n.away) == 0 {
				w.restart(n)
			}
		case !n.until.IsZero():
		case s.Chance("node: killed", 4):
			n.kill()
		case s.Chance("node: paused", 4):
			n.pause(w.aWhile())
		case s.Chance("node: stopped in order", 3):
			n.stop()
		case w.b.DeleteRetention > time.Hour && s.Chance("node: clock jumps", 2):
			n.ground.Skew += time.Duration(s.Rand().Int64N(int64(20*time.Second))) - 10*time.Second
		}
	}
	if len(w.nodes) < w.most && s.Chance("node: added", 4) {
		w.addNode(len(w.nodes))
	}
	if len(w.nodes) <= w.most && s.Chance("node: twin", 1) {
		w.twin()
	}
	w.disturbBroker()
	if w.c.Disturb != nil {
		w.c.Disturb(w)
	}
}

// aWhile is how long a process stands still: less than a session, or more than a session and a transaction may last.
func (w *World) aWhile() time.Duration {
	r := w.s.Rand()
	if r.IntN(3) == 0 {
		return time.Duration(r.Int64N(int64(300 * time.Millisecond)))
	}
	return 400*time.Millisecond + time.Duration(r.Int64N(int64(900*time.Millisecond)))
}

// restart starts a machine again, perhaps with another data directory or another version.
func (w *World) restart(n *node) {
	s := w.s
	switch {
	case s.Chance("disk: lost", 1000):
		n.disk.lose()
	case s.Chance("disk: older", 2500):
		n.disk.rollBack()
	case s.Chance("disk: damaged", 1000):
		n.disk.damage()
	case s.Chance("disk: remembered", 4000):
		n.disk.remember()
	}
	if w.latest == 0 && s.Chance("node: upgraded", 1500) {
		w.latest = 1 // a rolling upgrade: each node at its next start
		for _, x := range w.nodes {
			x.version = 1
		}
	}
	if err := w.checkpoints(n); err != nil {
		w.s.Fail(err)
	}
	n.start()
}

// twin starts a second process with the identity of a node: a copy of its data directory.
func (w *World) twin() {
	of := w.nodes[w.s.Rand().IntN(len(w.nodes))]
	n := &node{w: w, name: of.name + "twin", instance: of.instance, disk: newDisk(w.s), version: of.version, twin: true}
	n.disk.files, n.disk.damaged = of.disk.copyFiles(), of.disk.damaged
	w.nodes = append(w.nodes, n)
	n.start()
}

// check compares everything with the fold of what was sent.
func (w *World) check() error {
	if w.s.Tracing() {
		for _, topic := range w.b.Topics() {
			for _, r := range w.Committed(topic) {
				w.s.Logf("log %s/%d@%d %s = %s", topic, r.Partition, r.Offset, r.Key, r.Value)
			}
		}
	}
	agents := max(w.c.Agents, 1)
	err := errors.Join(w.c.Check(w.o), w.checkpoints(w.nodes...))
	if w.c.Settled != nil {
		err = errors.Join(err, w.c.Settled(w))
	}
	if !w.c.Letters {
		err = errors.Join(err, w.o.letters(agents))
	}
	w.slots, w.commits = w.progress()
	if err == nil && w.s.Rand().IntN(8) == 0 {
		err = w.expire()
	}
	return err
}
