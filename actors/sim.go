package actors

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Sim runs the state machines of a node (partitions, agents, shards, committer) in one thread, against logs in memory:
// no broker, no clock, no sleeping. Package topologytest is its friendly face. Its methods must be called by one goroutine.
//
// Loop agents have a goroutine each, but only one goroutine runs at any time: control is handed over and back.
type Sim struct {
	plan      *plan.Plan
	env       *plan.Env
	now       time.Time
	logs      map[int32][][]SimRecord // by topic ID, partition
	offsets   map[kafka.TopicPartition]kafka.Position
	parts     []*simPartition
	committer *committerState
	clock     time.Time // the committer's own: it moves as fast as is needed
	queue     []simEvent
	failures  []error
	err       error
	globals   *globalsState
	life      int64 // counts crashes: events of an earlier life are dropped
	dead      bool  // the process has ended; it starts again at the next step
	inside    int   // handlers that run; more than one: others wait for it
	exits     int   // how often it has
	marks     map[int32]kafka.Mark
	turns     turns
	// Choose picks which of n messages is delivered next; of each pair of actors the oldest is among them, as mailboxes
	// are FIFO per sender. Nil: the oldest of all.
	Choose func(n int) int
	// Fate says what becomes of a commit. Nil: it is committed. landed says whether an Unknown one is.
	Fate func(bundles []*kafka.Bundle) (o kafka.Outcome, landed bool)
	// Sends makes the node at-least-once, and says what becomes of outputs that are sent before their commit: whether they are written, and
	// what the partition is told. Nil: exactly-once. It takes effect with the next Crash.
	Sends func(o *kafka.Outputs) (written bool, err error)
	// Backoff lets retries wait as their policies say, for the clock to be advanced. Otherwise they come at once.
	Backoff bool
	// Later are topics of patterns that are found after the first start.
	Later map[string]bool
}

// simEvent is a message on its way. Those of one lane, a pair of sender and receiver, keep their order.
type simEvent struct {
	lane lane
	f    func()
}

// lane names a sender and a receiver.
type lane struct {
	part     int
	from, to string
	index    int
}

// SimRecord is a record in the log of a Sim.
type SimRecord struct {
	Offset, Timestamp int64
	Key, Value        []byte
	RawHeaders        []byte
}

type simPartition struct {
	sim    *Sim
	state  *partitionState
	shards []*shardState
	agents []*simAgent
	read   []int64 // next offset by source; -1: not fetching
	wake   time.Time
}

// NewSim makes a simulation of a plan. partitions says how many partitions a topic has.
func NewSim(p *plan.Plan, partitions func(*plan.Topic) int32, now time.Time) (*Sim, error) {
	s := newSim(p, partitions, now)
	return s, s.boot()
}

func newSim(p *plan.Plan, partitions func(*plan.Topic) int32, now time.Time) *Sim {
	s := &Sim{plan: p, now: now, clock: now, logs: map[int32][][]SimRecord{}, offsets: map[kafka.TopicPartition]kafka.Position{}, marks: map[int32]kafka.Mark{}}
	s.env = &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
	for _, t := range p.Topics {
		s.env.MaxBytes[t.ID] = defaultMaxBytes
		s.env.Partitions[t.ID] = max(t.Partitions, 1)
		if t.Kind == plan.External || t.Kind == plan.Repartition {
			s.env.Partitions[t.ID] = max(partitions(t), 1)
			if t.Like != nil && t.Partitions == 0 {
				s.env.Partitions[t.ID] = max(partitions(t.Like), 1)
			}
		}
	}
	for _, tb := range p.Tables {
		s.env.Partitions[tb.Changelog.ID] = s.env.Partitions[p.Stages[tb.Stage].Sources[0].ID]
	}
	for _, t := range p.Topics {
		s.logs[t.ID] = make([][]SimRecord, s.env.Partitions[t.ID])
	}
	return s
}

// Env returns what the simulated node knows of its topics.
func (s *Sim) Env() *plan.Env { return s.env }

// boot starts everything from what is committed, and settles.
func (s *Sim) boot() error {
	if err := s.reboot(); err != nil {
		return err
	}
	return s.Settle()
}

// reboot starts everything from what is committed.
func (s *Sim) reboot() error {
	s.life++
	s.dead = false
	s.queue, s.parts, s.turns = nil, nil, turns{}
	s.env.Globals = s.plan.NewGlobals()
	s.globals = newGlobalsState(s.plan, s.env)
	if err := s.readGlobals(); err != nil {
		return err
	}
	s.committer = newCommitterState(100*time.Millisecond, s.clock)
	slot := int32(0)
	for _, st := range s.plan.Stages {
		n := s.env.Partitions[st.Sources[0].ID]
		for part := range n {
			if err := s.bootPartition(st, part, slot); err != nil {
				return err
			}
			slot++
		}
	}
	return nil
}

// Exit is called by a handler in place of os.Exit: what is in memory is lost, and the process starts again. The handler must return then.
func (s *Sim) Exit() {
	s.dead, s.queue = true, nil
	s.exits++
}

// Exits is how often Exit was called.
func (s *Sim) Exits() int { return s.exits }

func (s *Sim) bootPartition(st *plan.Stage, part, slot int32) error {
	me := kafka.Owner{Instance: "sim", Nonce: strconv.FormatInt(s.life, 10)}
	before := s.marks[slot]
	s.marks[slot] = before.Taken(me)
	g := kafka.Grant{Slot: slot, Incarnation: s.life, MemberID: "sim", Careful: len(before.Owners) > 0, Suspects: s.marks[slot].Trying}
	var begin []startAt
	for _, t := range st.Sources {
		tp := kafka.TopicPartition{Topic: t.Name, Partition: part}
		pos, ok := s.offsets[tp]
		if !ok {
			pos = kafka.Position{TopicPartition: tp, Offset: -1}
		}
		g.Sources = append(g.Sources, pos)
		at := startAt{0, int64(len(s.logs[t.ID][part])), map[plan.Start]int64{}, s.Later[t.Name]}
		for _, a := range st.Agents {
			if a.Source == t && a.Start > plan.Earliest {
				at.since[a.Start] = int64(slices.IndexFunc(s.logs[t.ID][part], func(r SimRecord) bool { return r.Timestamp >= int64(a.Start) }))
			}
		}
		begin = append(begin, at)
	}
	state, err := newPartitionState(s.plan, st, part, g, s.env, begin, "test", s.now, s.pause)
	if err != nil {
		return err
	}
	state.sends = s.Sends != nil
	p := &simPartition{sim: s, state: state, read: make([]int64, len(st.Sources))}
	for i := range p.read {
		p.read[i] = -1
	}
	s.parts = append(s.parts, p)
	for i, t := range st.Tables {
		sh := t.NewShard(tables.Config{Table: t.Name, Partition: part, Changelog: t.Changelog.ID, MaxBytes: int(s.env.MaxBytes[t.Changelog.ID]), Clock: state.clocks[t.Name]})
		log := s.batch(t.Changelog, part, 0)
		if err := sh.Replay(log); err != nil {
			return fmt.Errorf("restore table %s/%d: %w", t.Name, part, err)
		}
		p.shards = append(p.shards, &shardState{table: i, state: sh, guard: unguarded})
		s.post(p.lane("shard", "partition", i), func() {
			p.step(ShardReady{Table: i, Records: int64(log.Len()), Entries: sh.Stats().Entries, Expires: sh.NextExpiry(), Due: sh.NextDue()})
		})
	}
	linkShards(st, func(i int) tables.Shard { return p.shards[i].state })
	for i, a := range st.Agents {
		p.agents = append(p.agents, newSimAgent(p, a, i))
	}
	s.post(p.lane("node", "partition", 0), func() { p.do(state.start()) })
	return nil
}

// pause is what a retry waits for, without jitter.
func (s *Sim) pause(b plan.Backoff, failures int) time.Duration {
	if !s.Backoff {
		return 0
	}
	return b.Wait(failures, 0)
}

// batch returns the records of a log from an offset on.
func (s *Sim) batch(t *plan.Topic, part int32, from int64) *kafka.Batch {
	b := &kafka.Batch{Topic: t.Name, Partition: part, Next: from}
	for _, r := range s.logs[t.ID][part][from:] {
		b.Append(r.Offset, r.Timestamp, r.Key, r.Value, r.RawHeaders)
	}
	return b
}

// post puts an event at the end of the queue.
func (s *Sim) post(l lane, f func()) {
	if s.dead {
		return
	}
	life := s.life
	s.queue = append(s.queue, simEvent{l, func() {
		if s.life == life {
			f()
		}
	}})
}

// pump runs one event; false if there is none.
func (s *Sim) pump() bool {
	if len(s.queue) == 0 {
		return false
	}
	i := 0
	if s.Choose != nil {
		seen := map[lane]bool{}
		var heads []int
		for j, e := range s.queue {
			if !seen[e.lane] {
				seen[e.lane] = true
				heads = append(heads, j)
			}
		}
		i = heads[s.Choose(len(heads))]
	}
	e := s.queue[i]
	s.queue = slices.Delete(s.queue, i, i+1)
	e.f()
	return true
}

// Step delivers one message; false if none is on its way.
func (s *Sim) Step() bool {
	if s.dead {
		s.Close()
		if s.err = s.reboot(); s.err != nil {
			return false
		}
	}
	return s.pump() || s.feed()
}

// maxSteps bounds how much one call may do: a topology that feeds itself would never end.
const maxSteps = 200_000

// Settle runs until all that was asked for is done and committed.
func (s *Sim) Settle() error {
	for range maxSteps {
		if s.err != nil {
			return s.err
		}
		if s.dead {
			s.Close()
			if err := s.reboot(); err != nil {
				return err
			}
		}
		if s.pump() {
			continue
		}
		if s.feed() {
			continue
		}
		if !slices.ContainsFunc(s.parts, func(p *simPartition) bool { return p.state.isBusy() && !p.state.rests() }) {
			return s.err
		}
		if s.wakePartitions() {
			continue
		}
		s.clock = s.clock.Add(minGap)
		s.commit(Tick{s.clock})
	}
	err := errors.New("the topology does not come to rest: does an agent feed itself, or fail without end?")
	if n := len(s.failures); n > 0 {
		err = fmt.Errorf("%w; the last failure: %w", err, s.failures[n-1])
	}
	return err
}

// wakePartitions wakes those that have asked for it by now.
func (s *Sim) wakePartitions() bool {
	woken := false
	for _, p := range s.parts {
		if !p.wake.IsZero() && !p.wake.After(s.now) {
			p.wake, woken = time.Time{}, true
			s.post(p.lane("clock", "partition", 0), func() { p.step(Wake{s.now}) })
		}
	}
	return woken
}

// readGlobals lets the global tables take all that is in the logs of their topics.
func (s *Sim) readGlobals() error {
	for _, t := range s.plan.Topics {
		for part := range s.env.Partitions[t.ID] {
			x := s.globals.parts[kafka.TopicPartition{Topic: t.Name, Partition: part}]
			if x == nil {
				continue
			}
			if x.position = max(x.position, 0); x.position == int64(len(s.logs[t.ID][part])) {
				continue
			}
			b := s.batch(t, part, x.position)
			if err := s.globals.read(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// feed delivers what partitions have not read. Global tables have all that is committed by then.
func (s *Sim) feed() bool {
	fed := false
	if err := s.readGlobals(); err != nil {
		s.err = err
		return false
	}
	for _, p := range s.parts {
		for i, q := range p.state.sources[:len(p.state.stage.Sources)] {
			log := s.logs[q.topic.ID][p.state.partition]
			if p.read[i] < 0 || p.read[i] >= int64(len(log)) {
				continue
			}
			b := s.batch(q.topic, p.state.partition, p.read[i])
			p.read[i], fed = b.Next, true
			s.post(p.lane("log", "partition", i), func() { p.step(Arrived{i, b}) })
		}
	}
	return fed
}

// Produce appends a record to a topic.
func (s *Sim) Produce(t *plan.Topic, part int32, timestamp int64, key, value, rawHeaders []byte) error {
	log := s.logs[t.ID]
	if part < 0 || int(part) >= len(log) {
		return fmt.Errorf("topic %s has no partition %d: it has %d", t.Name, part, len(log))
	}
	log[part] = append(log[part], SimRecord{int64(len(log[part])), timestamp, key, value, rawHeaders})
	return nil
}

// Now is the simulated wall clock.
func (s *Sim) Now() time.Time { return s.now }

// Advance moves the wall clock and settles: each timer that is due fires once.
func (s *Sim) Advance(d time.Duration) error {
	if err := s.Settle(); err != nil {
		return err
	}
	s.now = s.now.Add(d)
	s.wakePartitions()
	return s.Settle()
}

// Resume makes partitions go on that a policy has stopped, and settles.
func (s *Sim) Resume() error {
	for _, p := range s.parts {
		s.post(p.lane("node", "partition", 0), func() { p.step(Resume{}) })
	}
	return s.Settle()
}

// Stopped returns why partitions were stopped by a policy, by stage and number.
func (s *Sim) Stopped() map[string]error {
	stopped := map[string]error{}
	for _, p := range s.parts {
		if h := p.state.halt; h != nil {
			stopped[fmt.Sprintf("%s/%d", p.state.stage.Key, p.state.partition)] = h.why
		}
	}
	return stopped
}

// Log returns the committed records of a topic's partition; they belong to the Sim.
func (s *Sim) Log(t *plan.Topic, part int32) []SimRecord { return s.logs[t.ID][part] }

// Query asks the shard of a table's partition.
func (s *Sim) Query(t *plan.Table, part int32, q tables.Query) error {
	for _, p := range s.parts {
		if p.state.stage.ID != t.Stage || p.state.partition != part {
			continue
		}
		_, err := protect(func() error {
			p.shards[slices.Index(p.state.stage.Tables, t)].state.Answer(q)
			return nil
		})
		return err
	}
	return fmt.Errorf("table %s has no partition %d", t.Name, part)
}

// Failures returns the errors of all handler calls that failed so far.
func (s *Sim) Failures() []error { return s.failures }

// Crash loses all that is in memory, as kill -9 does, and starts again from what is committed.
func (s *Sim) Crash() error {
	s.Close()
	return s.boot()
}

// Upgrade ends the node as Crash does, and starts another program on what is committed: a plan of the same topology's name. Topics are
// known by their names; those that are gone from the plan are forgotten.
func (s *Sim) Upgrade(p *plan.Plan, partitions func(*plan.Topic) int32) error {
	s.Close()
	next := newSim(p, partitions, s.now)
	for _, t := range p.Topics {
		for _, old := range s.plan.Topics {
			if old.Name == t.Name && len(s.logs[old.ID]) == len(next.logs[t.ID]) {
				next.logs[t.ID] = s.logs[old.ID]
			}
		}
	}
	s.plan, s.env, s.logs = next.plan, next.env, next.logs
	return s.boot()
}

// Close ends the goroutines of loop agents.
func (s *Sim) Close() {
	for _, p := range s.parts {
		for _, a := range p.agents {
			a.end()
		}
	}
}

// commit lets the committer handle a message.
func (s *Sim) commit(m committerMessage) {
	s.committer.now = s.clock
	for _, x := range s.committer.step(m) {
		switch x := x.(type) {
		case askSeal:
			p := s.parts[x.slot]
			s.post(p.lane("committer", "partition", 0), func() { p.step(SealRound{x.round}) })
		case decide:
			p := s.parts[x.slot]
			s.post(p.lane("committer", "partition", 0), func() { p.step(x.decided) })
		case commitBundles:
			s.onCommit(x.bundles)
		case settleBundles:
			s.onSettle(x.bundles)
		case giveUp:
			s.err = x.err
		case wakeAt: // Settle moves the clock
		}
	}
}

// producerLane is the way from the producer to the committer.
var producerLane = lane{from: "producer", to: "committer"}

// onCommit lets fate decide about a commit.
func (s *Sim) onCommit(bundles []*kafka.Bundle) {
	o, landed := kafka.Outcome{}, true
	if s.Fate != nil {
		o, landed = s.Fate(bundles)
	}
	if s.Sends != nil && !o.Sick { // beside the transaction, and before it
		s.send(bundles)
	}
	switch o.Verdict {
	case kafka.Committed:
		s.transact(bundles)
	case kafka.Unknown:
		if landed {
			s.transact(bundles)
		}
	case kafka.Aborted, kafka.Fenced:
	}
	s.post(producerLane, func() { s.commit(Done{s.clock, bundles, o}) })
}

// onSettle answers as the metadata of the committed offsets would.
func (s *Sim) onSettle(bundles []*kafka.Bundle) {
	state := map[int32]kafka.Settled{}
	for _, b := range bundles {
		seq := int64(0)
		for _, p := range b.Offsets {
			seq = max(seq, kafka.SeqOf(s.offsets[p.TopicPartition].Metadata))
		}
		switch seq {
		case b.Seq:
			state[b.Slot] = kafka.SlotCommitted
		case b.Seq - 1:
			state[b.Slot] = kafka.SlotNotCommitted
		default:
			s.err = fmt.Errorf("slot %d: committed number %d, asked about %d", b.Slot, seq, b.Seq)
		}
	}
	s.post(producerLane, func() { s.commit(Found{s.clock, bundles, state, nil}) })
}

// transact appends what bundles hold to the logs, and their offsets.
func (s *Sim) transact(bundles []*kafka.Bundle) {
	for _, b := range bundles {
		for _, o := range b.Outputs {
			if o.Journal || s.Sends == nil {
				s.write(o)
			}
		}
		for _, p := range b.Offsets {
			s.offsets[p.TopicPartition] = p
		}
	}
}

// send appends what bundles hold elsewhere than in changelogs, once.
func (s *Sim) send(bundles []*kafka.Bundle) {
	for _, b := range bundles {
		if b.Sent {
			continue
		}
		b.Sent = true
		for _, o := range b.Outputs {
			if !o.Journal {
				s.write(o)
			}
		}
	}
}

// write appends records to the logs.
func (s *Sim) write(o outputs) {
	for i, r := range o.Records {
		ts := r.Timestamp
		if ts == 0 {
			ts = s.now.UnixMilli()
		}
		if err := s.Produce(s.plan.Topics[r.Topic], r.Partition, ts, o.Key(i), o.Value(i), o.RawHeaders(i)); err != nil {
			s.err = err
		}
	}
}

// early appends what does not wait for a commit.
func (s *Sim) early(o outputs) {
	if !s.dead {
		s.write(o)
	}
}

// sendEarly appends what a partition sends before its commit, and tells it.
func (s *Sim) sendEarly(p *simPartition, outs []outputs) {
	all := new(kafka.Outputs)
	for _, o := range outs {
		all.AppendAll(o)
	}
	s.post(p.lane("partition", "sender", 0), func() {
		written, err := s.Sends(all)
		if written {
			s.write(all)
		}
		s.post(p.lane("sender", "partition", 0), func() { p.step(Delivered{err}) })
	})
}

// IsInside says whether a handler runs just now.
func (s *Sim) IsInside() bool { return s.inside > 0 }

// patience is how many commits a handler waits for that can change nothing.
const patience = 100

// Until lets everything go on while a handler waits, until done says that it is over, or nothing more comes. It says which.
func (s *Sim) Until(done func() bool) bool {
	idle := 0
	for range maxSteps {
		switch {
		case done():
			return true
		case s.err != nil || s.dead || idle == patience:
			return false
		case s.pump() || s.feed() || s.wakePartitions():
			idle = 0
		default:
			idle++
			s.clock = s.clock.Add(minGap)
			s.commit(Tick{s.clock})
		}
	}
	return false
}

// giveTurn gives the exclusive turn to the next partition, as the root does.
func (s *Sim) giveTurn() {
	if slot, number, ok := s.turns.next(); ok {
		p := s.parts[slot]
		s.post(p.lane("node", "partition", 0), func() { p.step(Turn{number}) })
	}
}

func (p *simPartition) lane(from, to string, index int) lane {
	return lane{int(p.state.grant.Slot), from, to, index}
}

func (p *simPartition) step(m partitionMessage) {
	p.state.now = p.sim.now
	p.do(p.state.step(m))
}

func (p *simPartition) do(out []any) {
	for _, x := range out {
		switch x := x.(type) {
		case toAgent:
			p.sim.post(p.lane("partition", "agent", x.agent), func() { p.agents[x.agent].step(x.msg) })
		case toShard:
			p.sim.post(p.lane("partition", "shard", x.table), func() {
				if reply := p.shards[x.table].step(x.msg); reply != nil {
					p.sim.post(p.lane("shard", "partition", x.table), func() { p.step(reply) })
				}
			})
		case toCommitter:
			p.sim.post(p.lane("partition", "committer", 0), func() { p.sim.commit(x.msg) })
		case sendEarly:
			p.sim.sendEarly(p, x.outs)
		case fetchFrom:
			for _, from := range x.from {
				p.read[slices.IndexFunc(p.state.stage.Sources, func(t *plan.Topic) bool { return t.Name == from.Topic })] = from.Offset
			}
		case failNode:
			p.sim.err = x.err
		case answerAsk:
			x.reply(x.err)
		case announce:
			p.sim.post(p.lane("partition", "mark", 0), func() {
				m := p.sim.marks[p.state.grant.Slot]
				m.Trying = x.trying
				p.sim.marks[p.state.grant.Slot] = m
				p.sim.post(p.lane("mark", "partition", 0), func() { p.step(Announced{}) })
			})
		case askTurn:
			p.sim.post(p.lane("partition", "node", 0), func() { p.sim.turns.ask(p.state.grant.Slot, x.number); p.sim.giveTurn() })
		case endTurn:
			p.sim.post(p.lane("partition", "node", 0), func() { p.sim.turns.end(p.state.grant.Slot); p.sim.giveTurn() })
		case recovered:
		case report:
			p.sim.failures = append(p.sim.failures, fmt.Errorf("agent %s, %s/%d@%d, attempt %d: %w",
				x.failure.agent, x.failure.topic, p.state.partition, x.failure.offset, x.failure.attempts, x.failure.err))
		case wakeAt:
			if p.wake.IsZero() || x.at.Before(p.wake) {
				p.wake = x.at
			}
		}
	}
}
