package topology

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Plan checks the topology whole and returns what the engine runs. The error joins every fault, each with its name and how to
// mend it. Any goroutine may call it; it gives out the same plan until something further is defined.
func (t *Topology) Plan() (*plan.Plan, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.planned != nil {
		return t.planned, nil
	}
	t.adopt()
	stages := t.findStages()
	stages.spreadBeside(t)
	faults := slices.Concat(t.faults, t.checkNames(), t.checkLeaves(), t.checkEdges(), t.checkLoops(), t.checkConcurrency(), t.checkEager(), t.checkStages(stages), t.checkFollowers(), t.checkTimers(stages), t.checkPatterns())
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	b := &builder{t: t, plan: &plan.Plan{Name: t.name}}
	b.patterns()
	b.topics()
	b.channels()
	b.stages(stages)
	b.repartitions(stages)
	if faults := checkMetadata(b.plan); len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	t.planned = b.plan
	return b.plan, nil
}

// checkMetadata finds stages whose progress does not fit beside a committed offset.
func checkMetadata(p *plan.Plan) (faults []error) {
	for _, st := range p.Drawn().Stages {
		for i, source := range st.Sources {
			agents, room := st.Metadata(i)
			if over := len(agents)*kafka.RangeSize - room; over > 0 {
				faults = append(faults, fmt.Errorf("topic %s is read by %d agents, and how far each of them is, with the timers and the tables with a TTL, or of timers in event time, that live in its partitions, takes up to %d characters more than the %d that Kafka keeps "+
					"beside a committed offset: have fewer agents read it, for example by one that sends to others through a channel or a topic of theirs, or give them shorter names",
					source.Name, len(agents), over, kafka.MaxMetadata))
			}
		}
	}
	return faults
}

// builder makes a plan of a topology that has passed all checks.
type builder struct {
	t      *Topology
	plan   *plan.Plan
	tables []*plan.Table // by the ids of the definitions
	leader *plan.Topic
}

// topics lists the user's topics under their ids, and the internal ones behind them.
func (b *builder) topics() {
	for _, d := range b.t.topics {
		b.plan.Topics = append(b.plan.Topics, &plan.Topic{
			ID: d.id, Name: d.name, Kind: d.kind, Partitions: d.partitions, Config: configOf(d), Partitioner: d.partitioner, Key: d.key, Value: d.value,
			EventTime: d.eventTime,
		})
	}
	for _, d := range b.t.topics {
		switch {
		case d.like == nil || d.like.memory: // of the latter, see stages
		case d.like.pattern != nil:
			b.plan.Topics[d.id].LikePattern = b.plan.Patterns[d.like.id]
		default:
			b.plan.Topics[d.id].Like = b.plan.Topics[d.like.id]
		}
	}
	links := b.t.links()
	for _, d := range b.t.globals {
		x := d.make
		x.Topic = b.plan.Topics[d.topic.id]
		x.Topic.Global = true
		b.plan.Globals = append(b.plan.Globals, &x)
	}
	for _, d := range b.t.tables {
		x := d.make
		x.Group, x.Stamped = links[d], d.stamped
		x.Changelog = b.internal(changelogName(b.t, d), plan.Changelog, 0, map[string]string{"cleanup.policy": "compact"})
		x.Changelog.Key, x.Changelog.Value = x.Key, x.Value
		if x.Split != nil {
			x.Changelog.Key, x.Changelog.Value = x.Rows, plan.Text{Type: "nothing"}
			x.Changelog.Key.Type = x.Key.Type + " with " + x.Value.Type
		}
		if d.policy != nil {
			x.Policy = d.policy.Complete(plan.Processor)
		}
		d.plan.Store(&x)
		b.tables = append(b.tables, &x)
	}
	b.plan.Tables = b.tables
	kept := func() map[string]string {
		return map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
	}
	b.internal(b.t.name+"-dead-letters", plan.DeadLetters, 1, kept())
	b.internal(b.t.name+"-slots", plan.Slots, 1, kept())
	b.leader = b.internal(b.t.name+"-leader", plan.Leader, 1, kept())
	b.leader.Source = true
}

// repartitions says of the topics that spread a table's changes how many partitions they have: as many as the table.
func (b *builder) repartitions(found *stages) {
	for _, d := range b.t.topics {
		if d.likeTable == nil {
			continue
		}
		if first := found.origin(d.likeTable); first != nil {
			b.plan.Topics[d.id].Like = b.plan.Topics[first.id]
		}
	}
}

// allSteps are an agent's steps with those that follow the tables it writes.
func (a *agentDef) allSteps() []string {
	steps := slices.Clone(a.steps)
	for _, x := range a.order {
		if d, ok := x.(*tableDef); ok && a.writes[d] {
			for _, f := range d.followers {
				steps = append(steps, f.steps...)
			}
		}
	}
	return steps
}

// channels lists the channels under their ids.
func (b *builder) channels() {
	for _, d := range b.t.channels {
		b.plan.Channels = append(b.plan.Channels, &plan.Channel{
			ID: d.id, Name: d.name, Capacity: d.capacity, Key: d.key, Value: d.value, NewParcel: d.parcel,
		})
		if d.outside != nil {
			b.plan.Channels[d.id].Puts = b.plan.Topics[d.outside.id]
		}
	}
}

func configOf(d *topicDef) map[string]string {
	c := maps.Clone(d.config)
	if _, said := c["cleanup.policy"]; !said && slices.ContainsFunc(d.t.globals, func(g *globalDef) bool { return g.topic == d }) {
		c["cleanup.policy"] = "compact"
	}
	if d.kind == plan.Repartition { // what has been read is deleted by its readers, not by time
		c["retention.ms"], c["retention.bytes"], c["cleanup.policy"] = "-1", "-1", "delete"
	}
	if d.kind == plan.Replies { // who asks reads at once: what is older is of use to nobody
		c["retention.ms"], c["segment.ms"], c["cleanup.policy"] = replyRetention, replySegment, "delete"
	}
	return c
}

func changelogName(t *Topology, d *tableDef) string { return t.name + "-" + d.name + "-changelog" }

func (b *builder) internal(name string, kind plan.Kind, partitions int32, config map[string]string) *plan.Topic {
	x := &plan.Topic{ID: int32(len(b.plan.Topics)), Name: name, Kind: kind, Partitions: partitions, Config: config, Partitioner: kafka.Murmur2()}
	b.plan.Topics = append(b.plan.Topics, x)
	return x
}

// stages numbers the stages, the leader's first, and puts agents and tables into theirs.
func (b *builder) stages(found *stages) {
	lead := &plan.Stage{Sources: []*plan.Topic{b.leader}}
	b.plan.Stages = []*plan.Stage{lead}
	of := map[*stageDef]*plan.Stage{}
	for _, d := range found.all {
		st := &plan.Stage{ID: int32(len(b.plan.Stages)), Key: d.key()}
		for _, s := range d.sources {
			st.Sources = append(st.Sources, b.plan.Topics[s.id])
		}
		for _, x := range d.tables {
			b.tables[x.id].Stage = st.ID
			st.Tables = append(st.Tables, b.tables[x.id])
		}
		for _, x := range d.channels {
			b.plan.Channels[x.id].Stage = st.ID
			x.origin.Store(d.sources[0])
			st.Channels = append(st.Channels, b.plan.Channels[x.id])
		}
		for _, x := range b.t.topics {
			if x.like != nil && x.like.memory && found.of[x.like] == d { // as many as the records of the channel come from
				b.plan.Topics[x.id].Like = st.Sources[0]
			}
		}
		of[d] = st
		b.plan.Stages = append(b.plan.Stages, st)
	}
	for _, a := range b.t.agents {
		if a.source != nil && a.source.pattern != nil {
			p := b.plan.Patterns[a.source.id]
			x := b.made(a, lead)
			x.Source = p.Topic
			p.Agents = append(p.Agents, x)
			continue
		}
		st := lead
		if d := found.ofAgent(a); d != nil {
			st = of[d]
		}
		b.agent(a, st)
	}
}

func (b *builder) agent(d *agentDef, st *plan.Stage) {
	a := b.made(d, st)
	st.Agents = append(st.Agents, a)
	b.plan.Agents = append(b.plan.Agents, a)
}

// made makes an agent that is in no list yet.
func (b *builder) made(d *agentDef, st *plan.Stage) *plan.Agent {
	a := &plan.Agent{
		ID: int32(len(b.plan.Agents)), Name: d.name, Of: d.of, Role: d.role, Stage: st.ID, Start: d.startsAt(), Every: d.every, Cron: d.cron,
		Loop: d.loop, Concurrency: d.workers, Throttle: d.throttle, Program: d.program, Raw: d.raw, Steps: d.allSteps(), InOrder: d.takesTurns(), Policy: b.t.policy.Complete(d.role),
	}
	if d.policy != nil {
		a.Policy = d.policy.Complete(d.role)
	}
	if d.fires != nil {
		a.Fires = b.tables[d.fires.id]
		d.spread = b.t.topics[st.Sources[0].ID]
		a.Policy.KeyOrder = false
	}
	if d.source != nil && d.source.memory {
		a.Channel = b.plan.Channels[d.source.id]
	} else if d.source != nil && d.source.pattern == nil {
		a.Source = b.plan.Topics[d.source.id]
		a.Source.Source = true
	}
	if r := d.reply; r != nil {
		a.Reply = &plan.Reply{Topic: b.plan.Topics[r.topic.id], Value: r.value, Eager: d.eager}
		for _, x := range r.others {
			a.Reply.Others = append(a.Reply.Others, b.plan.Topics[x.id])
		}
	}
	seen := map[any]bool{}
	for _, x := range d.order {
		if seen[x] {
			continue
		}
		seen[x] = true
		switch x := x.(type) {
		case *topicDef:
			if x.memory {
				a.Into = append(a.Into, b.plan.Channels[x.id])
				continue
			}
			a.Sends = append(a.Sends, b.plan.Topics[x.id])
			b.plan.Topics[x.id].Sink = true
		case *globalDef:
			a.Globals = append(a.Globals, b.plan.Globals[x.id])
		case *tableDef:
			a.Reads = append(a.Reads, b.tables[x.id])
			if d.writes[x] {
				a.Writes = append(a.Writes, b.tables[x.id])
			}
		}
	}
	return a
}

func roleOf(d *agentDef) string {
	switch d.role {
	case plan.Timer:
		return "timer"
	case plan.Task:
		return "task"
	case plan.Processor, plan.OnTimer:
	}
	return "agent"
}
