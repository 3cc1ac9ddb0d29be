package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// How often the slot of a partition that keeps breaking is taken anew at once; then it is stopped for a while.
const (
	maxBreaks   = 5
	breakWindow = time.Minute
)

// root is the actor at the top of a node: it owns the slots, and spawns and supervises everything else. It is never
// restarted: when it gives up, the node ends.
type root struct {
	site     *site
	slots    *slotTable
	group    kafka.Group
	producer kafka.Producer
	admin    kafka.Admin
	restorer *restorer
	globals  *globals // nil: there are no global tables
	interval time.Duration
	ctx      context.Context
	ready    chan<- struct{} // closed once the children and the handler are there
	handler  *groupHandler
	failed   func(error)
	log      *slog.Logger

	producerPID *actor.PID
	globalsPID  *actor.PID // nil: there are no global tables
	member      string     // in the group
	joined      time.Time  // as who it is; zero: not yet
	granted     []int32    // slots that are ours by the group's decision, taken or not
	errs        failures

	parts    map[int32]*ownedSlot
	releases []*release
	denied   bool // a right is missing: nothing more can be committed, and to wait for it is no use
	breaks   map[int32][]time.Time
	memories map[int32]*memory // of partitions that gave way, for their successors
	turns    turns
	ending   map[string]int32 // slots by the id of partition actors that were told to stop: their checkpoints are open still
}

// ownedSlot is a slot that this node owns, from its grant on.
type ownedSlot struct {
	grant kafka.Grant
	pid   *actor.PID // nil while its sources' ends are looked up
	next  *prepared  // waits for the end of the partition before
	why   error      // it cannot be rebuilt; nil: it can
}

// release is a Release under way.
type release struct {
	waiting  map[int32]int64 // incarnation by slot
	released []int32
	reply    func([]int32)
}

// Receive implements actor.Actor.
func (r *root) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		r.spawn(c)
	case takenSlots:
		slots := make([]int32, len(m.grants))
		for i, g := range m.grants {
			slots[i] = g.Slot
			r.take(c, g)
		}
		r.tellRebalance(slots, nil, nil, nil)
	case prepared:
		r.onPrepared(c, m)
	case releaseSlots:
		r.release(c, m)
	case lostSlots:
		r.log.Warn("slots lost", "slots", m.slots, "error", m.why)
		crashpoint.Hit("own.lost")
		r.noteError(fmt.Sprintf("slots %v lost", m.slots), m.why)
		for _, s := range m.slots {
			r.drop(c, s)
		}
		r.tellRebalance(nil, nil, m.slots, m.why)
	case joinedGroup:
		r.onJoined(m)
	case *actor.Terminated:
		r.onTerminated(c, m.Who)
	case partitionLeft:
		r.onLeft(c, m)
	case partitionBroken:
		r.onBroken(c, m)
	case rebuild:
		if o := r.parts[m.slot]; o != nil && o.grant.Incarnation == m.incarnation && o.why != nil {
			r.retake(c, []int32{m.slot}, o.why)
		}
	case retake:
		r.retake(c, m.slots, m.why)
	case announceSlot:
		r.announce(c, m)
	case notHeld:
		r.onNotHeld(c, m)
	case askedTurn:
		r.onAskedTurn(m)
	case endedTurn:
		r.onEndedTurn(m)
	case nodeFailed:
		r.denied = r.denied || errors.Is(m.err, kafka.ErrDenied)
		r.failed(m.err)
	case inspectNode:
		r.inspect(c)
	case inspectTree:
		r.tree(c)
	case resumeParts:
		r.resume(c, m)
	case digestShard:
		r.digest(c, m)
	}
}

func (r *root) spawn(c actor.Context) {
	r.parts, r.breaks, r.ending = map[int32]*ownedSlot{}, map[int32][]time.Time{}, map[string]int32{}
	r.memories = map[int32]*memory{}
	g := r.site.ground
	spawn := func(name string, a actor.Actor) *actor.PID {
		return g.Child(c, name, func() actor.Actor { return a }, nil)
	}
	p := spawn("producer", &producer{client: r.producer, ground: g, ctx: r.ctx, log: r.log, meters: r.site.meters, hooks: r.site.hooks})
	r.producerPID = p
	r.site.committer = spawn("committer", &committer{
		state: newCommitterState(r.interval, g.Now()), ground: g, producer: p, members: map[int32]*actor.PID{}, log: r.log,
	})
	r.site.consumer = spawn("consumer", &consumer{group: r.group, routes: map[kafka.TopicPartition]route{}})
	r.site.restorer = spawn("restorer", r.restorer)
	if r.globals != nil {
		r.globalsPID = spawn("globals", r.globals)
	}
	r.handler = &groupHandler{slots: r.slots, ground: g, node: c.Self(), consumer: r.site.consumer, log: r.log}
	close(r.ready)
}

// take begins with a slot: first, where the logs of its sources begin and end.
func (r *root) take(c actor.Context, g kafka.Grant) {
	st := r.slots.stages[g.Slot]
	if st == nil {
		return // an older version's stage: owned by the group's decision, run by nobody
	}
	r.drop(c, g.Slot)
	r.parts[g.Slot] = &ownedSlot{grant: g}
	crashpoint.Hit("own.granted")
	self := c.Self()
	r.site.ground.Go(func() {
		begin, err := r.begin(st, r.slots.numbers[g.Slot], r.slots.later[g.Slot])
		r.site.ground.Send(self, prepared{g, begin, err})
	})
}

func (r *root) begin(st *plan.Stage, partition int32, later bool) ([]startAt, error) {
	ctx, cancel := r.site.ground.WithTimeout(r.ctx, 30*time.Second)
	defer cancel()
	var tps []kafka.TopicPartition
	for _, t := range st.Sources {
		tps = append(tps, kafka.TopicPartition{Topic: t.Name, Partition: partition})
	}
	starts, ends, err := bounds(ctx, r.admin, kafka.ReadCommitted, tps...)
	begin := make([]startAt, 0, len(tps))
	for _, tp := range tps {
		begin = append(begin, startAt{starts[tp], ends[tp], map[plan.Start]int64{}, later})
	}
	for _, a := range st.Agents {
		i := slices.Index(st.Sources, a.Source)
		if i < 0 || begin[i].chosen(a) <= plan.Earliest || err != nil {
			continue
		}
		if _, asked := begin[i].since[a.Start]; asked { // for another agent
			continue
		}
		var since map[kafka.TopicPartition]int64
		since, err = r.admin.Since(ctx, int64(a.Start), tps[i])
		begin[i].since[a.Start] = since[tps[i]]
	}
	return begin, err
}

func (r *root) onPrepared(c actor.Context, m prepared) {
	o := r.parts[m.grant.Slot]
	if o == nil || o.grant.Incarnation != m.grant.Incarnation {
		return
	}
	if r.isEnding(m.grant.Slot) {
		o.next = &m
		return
	}
	st, number := r.slots.stages[m.grant.Slot], r.slots.numbers[m.grant.Slot]
	if m.err != nil {
		r.onBroken(c, partitionBroken{slot: m.grant.Slot, incarnation: m.grant.Incarnation, err: fmt.Errorf("find the ends of %s/%d: %w", st.Key, number, m.err)})
		return
	}
	log := r.log.With("stage", st.Key, "partition", number)
	state, err := newPartitionState(r.site.plan, st, number, m.grant, r.site.env, m.begin, r.site.name, r.site.ground.Now(), pauses(rand.New(rand.NewPCG(r.site.ground.Random(), 0))))
	if errors.Is(err, kafka.ErrMetadata) {
		r.failed(fmt.Errorf("slot %d (%s/%d): %w", m.grant.Slot, st.Key, number, err))
		return
	}
	if x, ok := errors.AsType[*noStartError](err); ok {
		r.failed(x)
		return
	}
	if err != nil {
		r.failed(fmt.Errorf("slot %d (%s/%d): %w; was the group used by another program? To start over, %s", m.grant.Slot, st.Key, number, err, kafka.StartOver(r.site.plan.Name)))
		return
	}
	crashpoint.Hit("own.prepared")
	state.sends = r.site.sends
	state.recall(r.memories[m.grant.Slot])
	delete(r.memories, m.grant.Slot)
	p := &partitionActor{site: r.site, state: state, log: log}
	o.pid = r.site.ground.Child(c, fmt.Sprintf("partition-%s-%d", st.Key, number), func() actor.Actor { return p }, p)
}

func (r *root) isEnding(slot int32) bool {
	for _, s := range r.ending {
		if s == slot {
			return true
		}
	}
	return false
}

// onTerminated goes on with a grant whose slot's partition before has ended.
func (r *root) onTerminated(c actor.Context, who *actor.PID) {
	slot, ok := r.ending[who.Id]
	if !ok {
		return
	}
	delete(r.ending, who.Id)
	crashpoint.Hit("own.ended")
	if o := r.parts[slot]; o != nil && o.next != nil {
		m := *o.next
		o.next = nil
		r.onPrepared(c, m)
	}
}

// drop stops whatever runs for a slot, without committing.
func (r *root) drop(c actor.Context, slot int32) {
	o := r.parts[slot]
	if o == nil {
		return
	}
	delete(r.parts, slot)
	r.turns.end(slot)
	r.giveTurn()
	c.Send(r.site.committer, Part{slot, o.grant.Incarnation})
	c.Send(r.site.consumer, stopFetch{slot, o.grant.Incarnation})
	if o.pid != nil {
		r.ending[o.pid.Id] = slot
		c.Stop(o.pid)
	}
	for _, x := range r.releases {
		delete(x.waiting, slot)
	}
	crashpoint.Hit("own.dropped")
	r.answer()
}

// release asks the partitions of slots to commit what they have done and stop.
func (r *root) release(c actor.Context, m releaseSlots) {
	x, now := &release{waiting: map[int32]int64{}, reply: m.reply}, r.site.ground.Now()
	for _, s := range m.slots {
		o := r.parts[s]
		switch {
		case r.slots.stages[s] == nil:
			x.released = append(x.released, s)
		case o == nil:
		case r.denied:
			r.drop(c, s)
		case o.pid == nil: // nothing has begun
			r.drop(c, s)
			x.released = append(x.released, s)
		default:
			x.waiting[s] = o.grant.Incarnation
			c.Send(r.site.consumer, stopFetch{s, o.grant.Incarnation})
			c.Send(o.pid, Leave{Now: now, Grace: max(m.by.Sub(now)/2, 0)})
		}
	}
	crashpoint.Hit("own.leaving")
	r.releases = append(r.releases, x)
	r.answer()
}

func (r *root) onLeft(c actor.Context, m partitionLeft) {
	o := r.parts[m.slot]
	if o == nil || o.grant.Incarnation != m.incarnation {
		return
	}
	for _, x := range r.releases {
		if x.waiting[m.slot] == m.incarnation && m.committed {
			x.released = append(x.released, m.slot)
		}
	}
	crashpoint.Hit("own.left")
	r.drop(c, m.slot)
}

// answer ends the releases that wait for nothing more.
func (r *root) answer() {
	r.releases = slices.DeleteFunc(r.releases, func(x *release) bool {
		if len(x.waiting) > 0 {
			return false
		}
		r.tellRebalance(nil, x.released, nil, nil)
		x.reply(x.released)
		return true
	})
}

// onBroken takes the slot of a partition anew: its shards are rebuilt from their changelogs. One that keeps breaking is stopped for a
// while; the others go on.
func (r *root) onBroken(c actor.Context, m partitionBroken) {
	o := r.parts[m.slot]
	if o == nil || o.grant.Incarnation != m.incarnation {
		return
	}
	if m.memory != nil { // not the shard's fault
		r.memories[m.slot] = m.memory
		r.log.Warn("partition gives way: a function hangs inside a shard; it is rebuilt", "slot", m.slot, "error", m.err)
		r.retake(c, []int32{m.slot}, m.err)
		return
	}
	r.noteError("partition "+status.Name(stageName(r.slots.stages[m.slot]), r.slots.numbers[m.slot])+" broke", m.err)
	now, log := r.site.ground.Now(), r.log.With("slot", m.slot, "stage", r.slots.stages[m.slot].Key, "partition", r.slots.numbers[m.slot])
	recent := slices.DeleteFunc(r.breaks[m.slot], func(t time.Time) bool { return now.Sub(t) > breakWindow })
	_, refused := errors.AsType[*tables.VersionError](m.err) // which no attempt mends
	_, slow := errors.AsType[*slowRestoreError](m.err)       // nor one at once, beside as many others
	refused = refused || slow
	if r.breaks[m.slot] = append(recent, now); !refused && len(r.breaks[m.slot]) < maxBreaks {
		log.Error("partition broke: it is rebuilt", "error", errorText(m.err, r.site.values))
		crashpoint.Hit("own.broken")
		r.retake(c, []int32{m.slot}, m.err)
		return
	}
	log.Error("partition stopped: it cannot be rebuilt; other partitions go on, and it is tried again later", "error", errorText(m.err, r.site.values), "again_after", breakWindow)
	r.drop(c, m.slot)
	why := m.err
	if !refused {
		why = fmt.Errorf("partition broke %d times within %v: %w", maxBreaks, breakWindow, m.err)
	}
	r.parts[m.slot] = &ownedSlot{grant: o.grant, why: why}
	g, self := r.site.ground, c.Self()
	g.After(breakWindow, func() { g.Send(self, rebuild{m.slot, m.incarnation}) })
}

func (r *root) retake(c actor.Context, slots []int32, why error) {
	for _, s := range slots {
		r.drop(c, s)
	}
	crashpoint.Hit("own.given-up")
	r.group.Retake(slots, withoutValues(why, r.site.values)) // the group logs it
}

// HandleFailure implements actor.SupervisorStrategy: the actors directly below the root hold what a transaction needs;
// one that fails has a bug, and the node ends.
func (r *root) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	supervisor.StopChildren(child)
	r.failed(fmt.Errorf("actor %s failed: %v", child.Id, reason))
}
