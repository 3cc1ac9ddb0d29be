package actors

import (
	"fmt"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// How much a partition keeps and gives out.
const (
	workSize   = 1000     // records in one Work
	maxGiven   = 4000     // records given to an agent and not done
	manyWorks  = 8        // no small ones beyond: each record that is done would make room for a work of one
	maxUnacked = 16       // batches of operations sent to a shard and not applied
	highMark   = 100_000  // records of a source not given out: pause it
	lowMark    = 60_000   // resume it
	highBytes  = 64 << 20 // the same in bytes
	lowBytes   = 32 << 20
	maxHeld    = 1_000_000 // records of a source kept for undo: pause it
	maxEpoch   = 64 << 20  // bytes of output in one epoch: no more records are given out until it is sealed
)

// refreshEvery is how often an idle partition commits its offsets again: Kafka forgets those of topics that the group does not
// subscribe to after offsets.retention.minutes, seven days by default.
const refreshEvery = 12 * time.Hour

// What a partition asks of others.
type (
	toAgent struct {
		agent int
		msg   agentMessage
	}
	toShard struct {
		table int
		msg   shardMessage
	}
	toCommitter  struct{ msg committerMessage }
	fetchFrom    struct{ from []kafka.Position } // of the consumer: start reading
	pauseSource  struct{ source int }
	resumeSource struct{ source int }
	finishShards struct{ clean bool } // last checkpoints, then left
	failNode     struct{ err error }
	answerAsk    struct {
		reply func(error)
		err   error
	}
	report    struct{ failure recordFailure }
	recovered struct { // an agent has done the record that it has failed in
		agent, topic string
		offset       int64
		attempts     int
	}
)

// recordFailure describes a failed turn, for the log and for counters.
type recordFailure struct {
	agent    string
	topic    string
	offset   int64 // -1: a timer or task
	step     string
	failedIn string // the agent that failed in a record of a channel that comes of this one; empty: agent itself
	attempts int
	decision plan.Decision
	paused   time.Duration // the agent's breaker has opened for that long
	again    bool          // and was open before
	err      error
	stack    string
	rec      plan.Rec
}

// phase is what a partition is about.
type phase uint8

const (
	restoring phase = iota // its shards read their changelogs
	running
	undoing  // its shards go back to an epoch
	stopping // nothing more is given out; what is done is committed
	finishing
	gone
)

// sourceQueue holds the records of one source that some agent may still need.
type sourceQueue struct {
	topic    *plan.Topic
	channel  *plan.Channel // in place of the topic
	from     int64         // where reading begins
	position int64         // the next offset expected
	batches  []*kafka.Batch
	first    int64 // number of batches[0]: batches are counted from the beginning
	records  int   // in batches
	paused   bool
	idle     int64 // the committed offset, for a source that no agent reads
}

// given is a Work that is with an agent.
type given struct {
	id         int64
	records    []plan.Rec
	start, end int64 // offsets
	done       int
	at         time.Time // of a timer's turn
	spans      []offsets // of a lane: what is done with each of the records; nil: they follow each other
}

// agentSlot is what the partition knows of one of its agents.
type agentSlot struct {
	agent       *plan.Agent
	source      int   // index in the stage, channels behind topics; -1: a timer or task
	into        []int // the same of the channels that it sends to
	fan         int   // how many records it sends to one of them for each of its own, as of the last report
	incarnation int64
	lanes       int // workers
	limit       *limiter
	answers     int   // of lanes to the flush under way
	batch       int64 // the cursor: next record to give out
	record      int
	works       []*given
	records     int // in works, not done
	done        progress
	whole       progress // as of the last whole epoch
	committed   progress
	failed      int64         // offset of the record that failed last
	attempts    int           // failures of that record
	tried       map[int64]int // the same of others, by offset, that it is not through with
	failedKey   string        // of a timer: its key, since the offset is its moment
	retry       time.Time     // not before
	backing     bool          // waits for retry, then for Begin
	recent      []time.Time   // failures that the breaker counts
	half        bool          // the breaker is open or half open: one record at a time
	suspects    int           // records of a batch that failed, one of which is at fault, that it is not through with
	pace        int           // how many records it is given at once: what it is given beyond one that fails is in vain
	due         time.Time     // of a timer
	first       time.Time     // when the timer was due first
	ran         bool          // a task: given already
	refused     bool          // a timer or task: what its last turn sent was refused by the broker, and no turn was committed since
	parked      []parked      // wait while others go on, by offset
	ranges      int           // of done offsets beyond a gap that there may be
	flush       int64         // waiting for the answer to this round
	in, out     int64         // records done and sent, for those who look
	dropped     int64         // likewise: by operators, for want of a key or value
	rivals      []*timerSlot  // timers during whose calls it must have nothing under way
	moves       []*timerSlot  // timers in event time whose time its records bring forward
	waits       map[int]int   // how often its turns wait for agents of this partition, by their numbers
	waitsIn     int64         // that incarnation of it
}

// tableSlot is what the partition knows of one of its shards.
type tableSlot struct {
	table   *plan.Table
	sent    int64 // batches of operations sent
	applied int64
	touched bool // in the epoch being filled
	ready   bool
	undone  bool
	expires int64     // when its next entry expires by the wall clock, in milliseconds; 0: none does
	ticked  time.Time // when it was last told the time for that alone
	// For those who look: records sent by functions inside it, and journaled.
	out, journaled int64
}

// parts is what a bundle will be made of.
type parts struct {
	outs   []outputs
	bytes  int
	sends  int  // records in them that go elsewhere than to changelogs, and were not sent
	moved  bool // offsets moved, timers fired or outputs were made
	timers map[string]int64
	clocks map[string]int64 // by table; of tables whose entries expire
}

func (a *parts) add(o outputs) {
	if o != nil && o.Len() > 0 {
		a.outs, a.bytes, a.moved = append(a.outs, o), a.bytes+len(o.Arena), true
		if !o.Journal {
			a.sends += o.Len()
		}
	}
}

func (a *parts) merge(b *parts) {
	a.outs, a.bytes, a.sends, a.moved = append(a.outs, b.outs...), a.bytes+b.bytes, a.sends+b.sends, a.moved || b.moved
	for name, at := range b.timers {
		a.fired(name, at)
	}
	for table, at := range b.clocks {
		a.tells(table, at)
	}
}

// tells notes what the time of a table was when its epoch was sealed.
func (a *parts) tells(table string, at int64) {
	if at == 0 {
		return
	}
	if a.clocks == nil {
		a.clocks = map[string]int64{}
	}
	a.clocks[table] = at
}

func (a *parts) fired(name string, at int64) {
	if a.timers == nil {
		a.timers = map[string]int64{}
	}
	a.timers[name], a.moved = at, true
}

// sealing is an epoch between the decision to seal it and the last shard's answer.
type sealing struct {
	round   int64
	flushes int  // agents that have not answered
	early   bool // the partition's own, to send what is in it
	drains  bool // it waits for the channels to be empty
	shards  int  // shards that have not answered
	epoch   int64
	parts   *parts
	upTo    []int64 // by table: what was sent before the seal
	done    []progress
}

// offered is a bundle that the committer has.
type offered struct {
	bundle *kafka.Bundle
	epoch  int64
	done   []progress
	timers map[string]int64
	clocks map[string]int64
	sends  int // records that the producer has to send
	bytes  int
}

// partitionState owns one partition of a stage: the queues of its sources, what its agents have done, its epochs. See
// the package documentation for its states.
type partitionState struct {
	plan      *plan.Plan
	stage     *plan.Stage
	partition int32
	grant     kafka.Grant
	env       *plan.Env
	letters   *plan.Topic
	node      string
	pause     func(b plan.Backoff, failures int) time.Duration // before a retry

	now     time.Time
	phase   phase
	sources []*sourceQueue
	agents  []*agentSlot
	tables  []*tableSlot
	timers  map[string]int64 // committed firings
	clocks  map[string]int64 // and times of tables
	durable []*timerSlot     // durable timers
	firing  *firing          // some that are due; nil: none are under way
	resting bool             // records have their turn first
	nextID  int64
	ordered bool // some agents take turns: see turnInOrder

	epoch      int64 // being filled
	wholeEpoch int64 // the last one that is whole
	undo       int64 // number of the last undo
	undoWait   int
	fill       *parts
	seal       *sealing
	whole      *parts // whole, not offered
	sends      bool   // at-least-once: what agents send is sent before its bundle is committed
	sending    *sending
	offer      *offered
	seq        int64
	dry        bool  // the committer knows that we are dry
	asked      int64 // a round that waits for our bundle

	new            bool      // some agent has no committed offset
	chosen         bool      // and begins where the first look has found, which another one would not find again
	beginning      bool      // nothing is given out until it is committed where the partition begins
	refresh        time.Time // when offsets are committed again, though nothing has happened
	committedEpoch int64
	careful        *careful
	cause          recordFailure // of the undo under way
	causePolicy    *plan.Policy
	soured         map[string]error   // why what was asked by a record at hand has failed, by the record
	later          []partitionMessage // wait until the seal under way has drained the channels
	halt           *halted            // why nothing more is given out
	blame          *blame             // of the partition before, not put on a record yet
	probe          *probe             // the process before died; nil: nothing is suspect
	culprit        *careful           // the record that was at hand when it began
	leaveBy        time.Time
	flushed        int // agents that a stop waits for
	rateIn         rate
	rateOut        rate
	out            []any
}

// newPartitionState makes the machine of a granted slot. from says, by source and agent, where reading begins.
func newPartitionState(p *plan.Plan, stage *plan.Stage, partition int32, g kafka.Grant, env *plan.Env, begin []startAt, node string, now time.Time, pause func(plan.Backoff, int) time.Duration) (*partitionState, error) {
	s := &partitionState{
		plan: p, stage: stage, partition: partition, grant: g, env: env, node: node, now: now, pause: pause,
		fill: new(parts), whole: new(parts), timers: map[string]int64{}, clocks: map[string]int64{}, epoch: 1,
	}
	for _, t := range p.Topics {
		if t.Kind == plan.DeadLetters {
			s.letters = t
		}
	}
	for _, t := range stage.Tables {
		s.tables = append(s.tables, &tableSlot{table: t})
	}
	for _, t := range stage.Sources {
		s.sources = append(s.sources, &sourceQueue{topic: t})
	}
	for _, c := range stage.Channels {
		s.sources = append(s.sources, &sourceQueue{channel: c, from: -1})
	}
	channelAt := func(c *plan.Channel) int { return len(stage.Sources) + slices.Index(stage.Channels, c) }
	for _, a := range stage.Agents {
		x := &agentSlot{agent: a, source: slices.Index(stage.Sources, a.Source), incarnation: 1, failed: -1, pace: maxGiven, fan: 1, lanes: max(a.Concurrency, 1), limit: newLimiter(a.Throttle)}
		if a.Channel != nil {
			x.source = channelAt(a.Channel)
		}
		for _, c := range a.Into {
			x.into = append(x.into, channelAt(c))
		}
		s.agents = append(s.agents, x)
	}
	s.findTimers()
	s.ordered = slices.ContainsFunc(stage.Agents, func(a *plan.Agent) bool { return a.InOrder })
	for _, a := range s.agents {
		if a.ranges = maxRanges(stage, a.source); s.isFed(a) { // nothing of it is in the metadata
			a.ranges = maxGiven
		}
	}
	if err := s.place(begin); err != nil {
		return nil, err
	}
	if err := s.checkRoom(); err != nil {
		return nil, err
	}
	for _, x := range s.durable {
		if x.byEvents {
			x.time = s.clocks[s.tables[x.table].table.Name]
		}
	}
	s.suspect(begin)
	return s, nil
}

// startAt is where the log of a source begins and ends, and where its records are of the times that agents want to start at: for agents that have
// no committed offset.
type startAt struct {
	first, end int64
	since      map[plan.Start]int64
	later      bool // found by its pattern after that had been read before: it is read from its beginning
}

// chosen is where an agent is to start.
func (b startAt) chosen(a *plan.Agent) plan.Start {
	if b.later {
		return plan.Earliest
	}
	return a.Start
}

// of is where an agent starts.
func (b startAt) of(start plan.Start) int64 {
	if start == plan.Latest {
		return b.end
	}
	if at, ok := b.since[start]; ok && at >= 0 {
		return max(at, b.first)
	} else if ok { // no record is as young
		return b.end
	}
	return b.first
}

// noStartError says that an agent is not to start without a committed offset, and has none.
type noStartError struct {
	group, agent, topic string
	partition           int32
}

func (e *noStartError) Error() string {
	return fmt.Sprintf("agent %s has no committed offset of %s/%d, and is declared to start nowhere then (topology.None): restore the offsets of the group %s, set them (kafka-consumer-groups.sh --group %s "+
		"--topic %s:%d --reset-offsets --to-… --execute, while no node runs), or let it start once with topology.Earliest, Latest or Since", e.agent, e.topic, e.partition, e.group, e.group, e.topic, e.partition)
}

// place reads the committed offsets and their metadata.
func (s *partitionState) place(begin []startAt) error {
	for i, q := range s.sources[:len(s.stage.Sources)] {
		pos := kafka.Position{Offset: -1}
		for _, x := range s.grant.Sources {
			if x.Topic == q.topic.Name && x.Partition == s.partition {
				pos = x
			}
		}
		meta, err := kafka.ParseMeta(pos.Metadata)
		if err != nil {
			return err
		}
		s.seq = max(s.seq, meta.Seq)
		for _, a := range s.agents { // others are gone from the topology
			if at, ok := meta.Timers[a.agent.Name]; ok && a.agent.Role == plan.Timer {
				s.timers[a.agent.Name] = at
			}
		}
		for _, t := range s.tables {
			if at, ok := meta.Clocks[t.table.Name]; ok {
				s.clocks[t.table.Name] = at
			}
		}
		q.from, q.idle = -1, max(pos.Offset, 0)
		for _, a := range s.agents {
			if a.source != i {
				continue
			}
			ahead, known := meta.Agents[a.agent.Of]
			if plant.Is("done-set of the topic") {
				for _, x := range meta.Agents {
					ahead.UpTo = max(ahead.UpTo, x.UpTo)
				}
			}
			switch {
			case known || pos.Offset >= 0 && len(meta.Agents) == 0: // the latter: committed by another program
				a.done = progressOf(ahead, pos.Offset)
			case begin[i].chosen(a.agent) == plan.None:
				return &noStartError{s.plan.Name, a.agent.Name, q.topic.Name, s.partition}
			default: // new to the topology, or all is
				start := begin[i].chosen(a.agent)
				a.done = progress{upTo: begin[i].of(start)}
				s.new, s.chosen = true, s.chosen || start != plan.Earliest
			}
			a.whole, a.committed = a.done.clone(), a.done.clone()
			if q.from < 0 || a.done.upTo < q.from {
				q.from = a.done.upTo
			}
		}
		q.position = max(q.from, 0)
	}
	return nil
}

// step handles one message and returns what it asks of others.
func (s *partitionState) step(m partitionMessage) []any {
	s.out = nil
	if s.probe != nil {
		s.countRetries()
	}
	if !s.waits(m) {
		s.handle(m)
	}
	s.maybeDrained()
	s.takeUp()
	s.maybeProbe()
	s.maybeExpire()
	s.give()
	s.maybeSend()
	s.maybeDry()
	s.askWake()
	return s.out
}

func (s *partitionState) handle(m partitionMessage) {
	switch m := m.(type) {
	case ShardReady:
		s.onShardReady(m)
	case Arrived:
		s.onArrived(m)
	case Worked:
		s.onWorked(m)
	case AgentFailed:
		s.onAgentFailed(m)
	case Ask:
		s.onAsk(m)
	case Waits:
		s.onWaits(m)
	case Applied:
		s.onApplied(m)
	case Sealed:
		s.onSealed(m)
	case ShardFailed:
		s.onShardFailed(m)
	case ShardLate:
		s.onShardLate(m)
	case Undone:
		s.onUndone(m)
	case Collected:
		s.onCollected(m)
	case SealRound:
		s.onSealRound(m)
	case Decided:
		s.onDecided(m)
	case Delivered:
		s.onDelivered(m)
	case Wake:
		s.onWake(m)
	case Resume:
		s.onResume()
	case Announced:
		s.onAnnounced()
	case Turn:
		s.onTurn(m)
	case Leave:
		s.onLeave(m)
	}
}

func (s *partitionState) emit(x any) { s.out = append(s.out, x) }

// start is called once: without tables there is nothing to restore.
func (s *partitionState) start() []any {
	s.out = nil
	s.maybeRun()
	s.maybeProbe()
	s.give()
	s.askWake()
	return s.out
}

func (s *partitionState) onShardReady(m ShardReady) {
	t := s.tables[m.Table]
	if m.Entries > 0 && s.fresh() {
		s.emit(failNode{newOffsetsGone(s.plan.Name, t.table, s.partition)})
		return
	}
	t.ready = true
	s.noteMoments(m.Table, m.Expires, m.Due)
	s.maybeRun()
}

// fresh says whether the group has committed nothing for this partition.
func (s *partitionState) fresh() bool {
	return !slices.ContainsFunc(s.grant.Sources, func(p kafka.Position) bool { return p.Offset >= 0 })
}

// maybeRun goes from restoring to running once all shards are ready.
func (s *partitionState) maybeRun() {
	if s.phase != restoring || slices.ContainsFunc(s.tables, func(t *tableSlot) bool { return !t.ready }) {
		return
	}
	s.phase = running
	s.fill.moved = s.fresh() || s.new // where it begins is committed at once
	// Before anything is given out, if another look would find another beginning: what one process has begun, no other leaves out.
	s.beginning = s.chosen
	s.refresh = s.now.Add(refreshEvery)
	s.emit(toCommitter{Join{s.grant.Slot, s.grant.Incarnation}})
	s.awaitEarlier()
	for i, a := range s.agents {
		s.emit(toAgent{i, Begin{a.incarnation}})
		if a.agent.Role == plan.Timer {
			a.due = s.dueFirst(a)
			a.first = a.due
		}
	}
	var from []kafka.Position
	for _, q := range s.sources {
		if q.from >= 0 {
			from = append(from, kafka.Position{TopicPartition: kafka.TopicPartition{Topic: q.topic.Name, Partition: s.partition}, Offset: q.from})
		}
	}
	s.emit(fetchFrom{from})
}

// dueFirst is when a timer is due first. One that was never called is due behind the moment at which it was there first, which is kept: else
// restarts would put it off, and a process that it has killed would not know that it was due.
func (s *partitionState) dueFirst(a *agentSlot) time.Time {
	last, known := s.timers[a.agent.Name]
	if !known {
		last = -max(s.now.UnixMilli(), 1)
		s.timers[a.agent.Name], s.fill.moved = last, true
	}
	return a.agent.Next(time.UnixMilli(max(last, -last)))
}

// askWake asks to be woken at the next moment that something is due.
func (s *partitionState) askWake() {
	var at time.Time
	earliest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if s.phase == running {
		earliest(s.refresh)
		for _, t := range s.tables {
			earliest(s.nextExpiry(t))
		}
		if s.probe != nil && s.probe.until.After(s.now) { // else it is looked at with the next message
			earliest(s.probe.until)
		}
		if s.probe != nil && s.probe.calm.After(s.now) {
			earliest(s.probe.calm)
		}
		if s.probe != nil {
			if at := s.patienceEnds(); at.After(s.now) {
				earliest(at)
			}
		}
		earliest(s.nextTimer())
		for i, a := range s.agents {
			if a.backing {
				earliest(a.retry)
				continue
			}
			if s.halt == nil {
				earliest(a.nextParked(s.now))
				earliest(s.throttledUntil(a))
			}
			if len(a.works) == 0 && s.halt == nil && !s.leavesOut(i) && (s.now.Before(a.due) || s.allows(i, 0)) {
				earliest(a.due)
			}
		}
	}
	if s.phase == stopping {
		earliest(s.leaveBy)
	}
	if !at.IsZero() {
		s.emit(wakeAt{at})
	}
}

func (s *partitionState) onWake(m Wake) {
	if m.Now.After(s.now) {
		s.now = m.Now
	}
	if s.phase == stopping && !s.leaveBy.IsZero() && !s.now.Before(s.leaveBy) {
		s.abandon()
	}
	if s.phase != running {
		return
	}
	if !s.now.Before(s.refresh) {
		s.refresh, s.fill.moved, s.dry = s.now.Add(refreshEvery), true, false
	}
	for i, a := range s.agents {
		if a.backing && !a.retry.IsZero() && !s.now.Before(a.retry) {
			a.backing = false
			s.emit(toAgent{i, Begin{a.incarnation}})
		}
	}
}

// onAsk passes a query on to its shard, unless what the handler has seen so far is gone.
func (s *partitionState) onAsk(m Ask) {
	if a := s.agents[m.Agent]; a.incarnation != m.Incarnation || s.phase == undoing || s.phase == gone {
		s.emit(answerAsk{m.Reply, errUndone})
		return
	}
	if t := s.tables[m.Table]; t.expires > 0 && t.expires <= s.now.UnixMilli() { // what has expired is not seen
		s.tick(m.Table)
	}
	s.emit(toShard{m.Table, Answer{m.Query, m.Reply}})
}
