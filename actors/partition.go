package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/internal/crashpoint"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// site is what the actors of a node have in common. It is immutable.
type site struct {
	plan       *plan.Plan
	env        *plan.Env
	ground     Ground
	disk       tables.Disk
	checkpoint time.Duration     // how often
	dir        string            // for checkpoints
	name       string            // of the node
	ids        map[string]string // topic ids
	committer  *actor.PID
	consumer   *actor.PID
	restorer   *actor.PID
	deletions  *deletions
	ends       func(context.Context, kafka.TopicPartition) (int64, error)
	holds      func(ctx context.Context, slot int32, incarnation int64) (bool, error)
	log        *slog.Logger
	values     bool // the log may hold keys and values of records
	strays     *sync.WaitGroup
	hangs      *hangs
	answers    *early
	sends      bool // at-least-once
	sender     *early
	guardian   *guardian
	meters     *meters
	hooks      *hooks
}

// What a partition tells its node.
type (
	partitionLeft struct {
		slot        int32
		incarnation int64
		committed   bool
	}
	partitionBroken struct {
		slot        int32
		incarnation int64
		err         error
		memory      *memory // what its successor must know; nil: nothing
	}
	nodeFailed struct{ err error }
)

// partitionActor is the actor of one owned slot: a shell around partitionState. Its agents and shards are its children,
// and it supervises them.
type partitionActor struct {
	site   *site
	self   *actor.PID
	state  *partitionState
	agents []*actor.PID
	shards []shardRef // by table; those of a group are one actor
	stop   func()     // of the timer
	at     time.Time
	open   int // shards that have not finished
	clean  bool
	log    *slog.Logger
	storms map[stormKey]*storm
	calm   func()        // stops the timer that ends their windows
	gauges []*shardGauge // of shards
	tally  tally
}

// Receive implements actor.Actor.
func (p *partitionActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		p.self = c.Self()
		p.tally.agents, p.tally.tables = make([]agentTally, len(p.state.agents)), make([]tableTally, len(p.state.tables))
		c.Send(p.site.committer, memberLink{p.state.grant.Slot, c.Self()}) // before anything that the state has to say to it
		p.spawn(c)
		p.tellState()
		p.tellProbe()
		p.do(c, p.state.start())
		p.tellState()
	case partitionMessage:
		p.clock()
		partitionStep(m)
		if w, ok := m.(Worked); ok && w.Took > 0 {
			p.site.meters.byAgent[p.state.agents[w.Agent].agent].work.observe(w.Took)
		}
		p.do(c, p.state.step(m))
		p.publish()
		p.tellState()
	case shardBroken:
		crashpoint.Hit("own.shard-broken")
		c.Send(c.Parent(), partitionBroken{slot: p.state.grant.Slot, incarnation: p.state.grant.Incarnation, err: m.err})
	case shardFinished:
		if p.open--; p.open == 0 {
			p.leave(c)
		}
	case sumUp:
		p.sumUp(c, false)
	case partitionQuery:
		c.Respond(p.inspect())
	case partitionTree:
		c.Respond(p.tree())
	case resumeQuery:
		p.resume(c)
	case digestQuery:
		p.digest(c, m)
	case *actor.Stopping:
		p.site.hooks.tell(StateChange{p.site.ground.Now(), p.site.plan.Name, stageName(p.state.stage), p.state.partition, p.tally.state, phaseNames[gone], ""})
		if p.stop != nil {
			p.stop()
		}
		p.sumUp(c, true)
		for _, s := range p.shards {
			c.Send(p.site.restorer, forget{s.pid})
		}
	}
}

// tellProbe logs that processes have died with records of the partition in hand, more than once in a row.
func (p *partitionActor) tellProbe() {
	if x := p.state.probe; x != nil && x.level > 0 {
		p.log.Warn("processes died with records in hand: it is found out which, one window after the other", "level", x.level, "deaths", x.deaths)
	}
}

// clock tells the state what time it is.
func (p *partitionActor) clock() {
	if now := p.site.ground.Now(); now.After(p.state.now) {
		p.state.now = now
	}
}

func (p *partitionActor) spawn(c actor.Context) {
	s := p.state
	members := map[int32][]*shardActor{} // of groups
	for i, t := range s.stage.Tables {
		cfg := tables.Config{Table: t.Name, Partition: s.partition, Changelog: t.Changelog.ID, MaxBytes: int(p.site.env.MaxBytes[t.Changelog.ID]), Clock: s.clocks[t.Name]}
		id := tables.Identity{Topology: p.site.plan.Name, Table: t.Name, Partition: s.partition, ChangelogID: p.site.ids[t.Changelog.Name], Version: t.Version, Expiring: t.TTL != nil, Stamped: t.Stamped}
		log, gauge := p.log.With("table", t.Name), new(shardGauge)
		p.gauges = append(p.gauges, gauge)
		deadline, grace := deadlineIn(s.stage, t)
		if deadline > 0 {
			cfg.Calls = new(atomic.Int64)
		}
		shard := func() *shardActor {
			return &shardActor{site: p.site, grant: s.grant, table: t, index: i, config: cfg, identity: id, log: log, deadline: deadline, grace: grace, gauge: gauge}
		}
		if t.Group != 0 {
			members[t.Group] = append(members[t.Group], shard())
			p.shards = append(p.shards, shardRef{table: i})
			continue
		}
		p.shards = append(p.shards, shardRef{p.site.ground.Child(c, "shard-"+t.Name, func() actor.Actor { return shard() }, nil), -1})
	}
	p.spawnGroups(c, members)
	for i, a := range s.stage.Agents {
		p.agents = append(p.agents, p.site.ground.Child(c, "agent-"+a.Name, func() actor.Actor {
			base := agentActor{agent: a, index: i, stage: s.stage, partition: s.partition, env: p.site.env, ground: p.site.ground, strays: p.site.strays, hangs: p.site.hangs, guardian: p.site.guardian, early: func(o outputs) { p.site.answers.send(nil, o) }}
			if a.Raw != nil {
				return &rawAgent{agentActor: base} // it is its children's strategy itself
			}
			return &base
		}, nil))
	}
}

// do carries out what the state asks for.
func (p *partitionActor) do(c actor.Context, out []any) {
	for _, x := range out {
		switch x := x.(type) {
		case toAgent:
			c.Send(p.agents[x.agent], x.msg)
		case toShard:
			p.shards[x.table].send(c, x.msg)
		case toCommitter:
			c.Send(p.site.committer, x.msg)
		case sendEarly:
			crashpoint.Hit("send.asked")
			g, self := p.site.ground, c.Self()
			p.site.sender.send(func(err error) { g.Send(self, Delivered{err}) }, x.outs...)
		case fetchFrom:
			p.log.Info("partition running")
			crashpoint.Hit("own.running")
			c.Send(p.site.consumer, startFetch{p.state.grant, x.from, c.Self(), p.state.stage})
		case pauseSource:
			c.Send(p.site.consumer, pauseFetch{p.source(x.source)})
		case resumeSource:
			c.Send(p.site.consumer, resumeFetch{p.source(x.source)})
		case giveWay:
			c.Send(c.Parent(), partitionBroken{p.state.grant.Slot, p.state.grant.Incarnation, x.err, x.memory})
		case finishShards:
			p.finish(c, x.clean)
		case failNode:
			c.Send(c.Parent(), nodeFailed(x))
		case answerAsk:
			x.reply(x.err)
		case report:
			p.report(c, x.failure)
		case announce:
			c.Send(c.Parent(), announceSlot{p.state.grant.Slot, p.state.grant.Incarnation, x.trying})
		case askTurn:
			c.Send(c.Parent(), askedTurn{p.state.grant.Slot, p.state.grant.Incarnation, x.number})
		case endTurn:
			c.Send(c.Parent(), endedTurn{p.state.grant.Slot, p.state.grant.Incarnation})
		case recovered:
			p.recovered(c, x)
		case wakeAt:
			p.wakeAt(c, x.at)
		}
	}
}

func (p *partitionActor) source(i int) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: p.state.stage.Sources[i].Name, Partition: p.state.partition}
}

// wakeAt makes sure that the state is woken at a time, or before.
func (p *partitionActor) wakeAt(c actor.Context, at time.Time) {
	if !p.at.IsZero() && !at.Before(p.at) && p.at.After(p.site.ground.Now()) {
		return
	}
	if p.stop != nil {
		p.stop()
	}
	p.at = at
	g, self := p.site.ground, c.Self()
	p.stop = g.After(at.Sub(g.Now()), func() { g.Send(self, Wake{g.Now()}) })
}

func (p *partitionActor) finish(c actor.Context, clean bool) {
	p.clean, p.open = clean, len(p.shards)
	crashpoint.Hit("finish.partition")
	for _, s := range p.shards {
		s.send(c, finishShard{})
	}
	if p.open == 0 {
		p.leave(c)
	}
}

func (p *partitionActor) leave(c actor.Context) {
	crashpoint.Hit("finish.left")
	c.Send(c.Parent(), partitionLeft{p.state.grant.Slot, p.state.grant.Incarnation, p.clean})
}

// HandleFailure implements actor.SupervisorStrategy: agents are restarted, with fresh state; the record that failed is
// tried again by the partition. A shard that fails is never resumed: the slot is taken anew and the shard rebuilt.
func (p *partitionActor) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	for i, a := range p.agents {
		if !a.Equal(child) {
			continue
		}
		p.countRestart(i, reason)
		supervisor.RestartChildren(child)
		if err, ok := reason.(error); ok && errors.As(err, new(failure)) {
			return // the partition has been told
		}
		// not by its program: what it had been given is given again
		p.site.ground.Send(p.self, AgentFailed{Agent: i, Incarnation: p.state.agents[i].incarnation, Work: -1, Err: fmt.Errorf("agent actor: %v", reason)})
		return
	}
	supervisor.StopChildren(child)
	p.site.ground.Send(p.self, shardBroken{fmt.Errorf("shard actor %s: %v", child.Id, reason)})
}

// Phase says what the partition is about: for the simulation, which counts the messages that each phase has met.
func (p *partitionActor) Phase() string {
	switch s := p.state; {
	case s.phase == running && s.careful != nil:
		return "careful"
	case s.phase == finishing:
		return "finishing"
	default:
		return phaseNames[s.phase]
	}
}
