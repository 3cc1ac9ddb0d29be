package topology

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Plan checks the topology whole and returns what the engine runs. The error joins every fault, each with its name and how to
// mend it.
func (t *Topology) Plan() (*plan.Plan, error) {
	faults := append(slices.Clone(t.faults), t.checkNames()...)
	faults = append(faults, t.checkEdges()...)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	b := &builder{t: t, plan: &plan.Plan{Name: t.name}, agents: map[*agentDef]*plan.Agent{}}
	b.topics()
	b.stages()
	if len(b.faults) > 0 {
		return nil, errors.Join(b.faults...)
	}
	return b.plan, nil
}

// builder makes a plan of a topology whose names and edges are sound.
type builder struct {
	t      *Topology
	plan   *plan.Plan
	agents map[*agentDef]*plan.Agent
	leader *plan.Topic
	faults []error
}

// topics lists the user's topics under their ids, and the internal ones behind them.
func (b *builder) topics() {
	for _, d := range b.t.topics {
		b.plan.Topics = append(b.plan.Topics, &plan.Topic{
			ID: d.id, Name: d.name, Kind: d.kind, Partitions: d.partitions, Config: repartitionConfig(d), Partitioner: d.partitioner, Key: d.key, Value: d.value,
		})
	}
	for _, d := range b.t.tables {
		x := d.make
		x.ID, x.Name = d.id, d.name
		x.Changelog = b.internal(changelogName(b.t, d), plan.Changelog, 0, map[string]string{"cleanup.policy": "compact"})
		x.Changelog.Key, x.Changelog.Value = x.Key, x.Value
		d.plan = &x
		b.plan.Tables = append(b.plan.Tables, &x)
	}
	b.internal(b.t.name+"-dead-letters", plan.DeadLetter, 1, map[string]string{"retention.ms": "-1", "cleanup.policy": "delete"})
	b.internal(b.t.name+"-slots", plan.Slots, 1, map[string]string{"retention.ms": "-1", "cleanup.policy": "delete"})
	b.leader = b.internal(b.t.name+"-leader", plan.Leader, 1, map[string]string{"retention.ms": "-1", "cleanup.policy": "delete"})
}

func repartitionConfig(d *topicDef) map[string]string {
	c := maps.Clone(d.config)
	if d.kind == plan.Repartition { // what has been read is deleted by its readers, not by time
		c["retention.ms"], c["cleanup.policy"] = "-1", "delete"
	}
	return c
}

func changelogName(t *Topology, d *tableDef) string { return t.name + "-" + d.name + "-changelog" }

func (b *builder) internal(name string, kind plan.Kind, partitions int32, config map[string]string) *plan.Topic {
	x := &plan.Topic{ID: int32(len(b.plan.Topics)), Name: name, Kind: kind, Partitions: partitions, Config: config, Partitioner: kafka.Murmur2()}
	b.plan.Topics = append(b.plan.Topics, x)
	return x
}

// stages groups what must be co-partitioned: agents with the topics they read and the tables they touch.
func (b *builder) stages() {
	group := newUnion()
	for _, a := range b.t.agents {
		for tb := range a.reads {
			if a.source != nil {
				group.join(a.source, tb)
			}
		}
		if a.source != nil {
			group.find(a.source)
		}
	}
	byRoot := map[any]*plan.Stage{}
	for _, d := range b.t.topics {
		if !group.has(d) {
			continue
		}
		root := group.find(d)
		if byRoot[root] == nil {
			byRoot[root] = &plan.Stage{}
		}
		byRoot[root].Sources = append(byRoot[root].Sources, b.plan.Topics[d.id])
	}
	lead := &plan.Stage{Sources: []*plan.Topic{b.leader}}
	all := []*plan.Stage{lead}
	for _, st := range byRoot {
		slices.SortFunc(st.Sources, func(x, y *plan.Topic) int { return cmp.Compare(x.Name, y.Name) })
		names := make([]string, len(st.Sources))
		for i, s := range st.Sources {
			names[i] = s.Name
		}
		st.Key = strings.Join(names, ",")
		all = append(all, st)
	}
	slices.SortFunc(all, func(x, y *plan.Stage) int { return cmp.Compare(x.Key, y.Key) }) // the leader's, without a name, is first
	for i, st := range all {
		st.ID = int32(i)
		b.coPartitioned(st)
	}
	b.plan.Stages = all
	for _, d := range b.t.tables {
		if st := byRoot[group.find(d)]; st != nil {
			d.plan.Stage = st.ID
			st.Tables = append(st.Tables, d.plan)
		}
	}
	for _, a := range b.t.agents {
		b.agent(a, lead, func(x any) *plan.Stage { return byRoot[group.find(x)] })
	}
	lead.Key = ""
	b.leader.Source = true
}

// coPartitioned checks what is declared; what the broker has is checked at start.
func (b *builder) coPartitioned(st *plan.Stage) {
	first := st.Sources[0]
	for _, s := range st.Sources[1:] {
		if s.Partitions > 0 && first.Partitions > 0 && s.Partitions != first.Partitions {
			b.fault("topics %s and %s feed one stage and are declared with %d and %d partitions: they must have as many, since their agents share tables; "+
				"declare the same number, or send one through a topic that has it", first.Name, s.Name, first.Partitions, s.Partitions)
		}
		if s.Partitioner.Name != first.Partitioner.Name {
			b.fault("topics %s and %s feed one stage and have the partitioners %s and %s: a key would be in different partitions; send one through a topic with the other's",
				first.Name, s.Name, first.Partitioner.Name, s.Partitioner.Name)
		}
	}
}

func (b *builder) fault(format string, args ...any) {
	t := &Topology{}
	t.fault(format, args...)
	b.faults = append(b.faults, t.faults...)
}

func (b *builder) agent(d *agentDef, lead *plan.Stage, stageOf func(any) *plan.Stage) {
	a := &plan.Agent{
		ID: int32(len(b.plan.Agents)), Name: d.name, Role: d.role, Start: d.start, Every: d.every, Loop: d.loop, Program: d.program, Raw: d.raw, Steps: d.steps,
	}
	st := lead
	if d.source != nil {
		a.Source = b.plan.Topics[d.source.id]
		a.Source.Source = true
		st = stageOf(d.source)
	}
	seen := map[any]bool{}
	for _, x := range d.order {
		if seen[x] {
			continue
		}
		seen[x] = true
		switch x := x.(type) {
		case *topicDef:
			a.Sends = append(a.Sends, b.plan.Topics[x.id])
			b.plan.Topics[x.id].Sink = true
		case *tableDef:
			a.Reads = append(a.Reads, x.plan)
			if d.writes[x] {
				a.Writes = append(a.Writes, x.plan)
			}
			if d.source != nil {
				continue
			}
			if of := stageOf(x); st != lead && of != st {
				b.fault("%s %s reads tables of two stages, %s and %s: their partitions may be on different nodes; use one for each", roleOf(d), d.name, st.Key, of.Key)
			} else if of != nil {
				st = of
			}
		}
	}
	a.Stage = st.ID
	st.Agents = append(st.Agents, a)
	b.plan.Agents = append(b.plan.Agents, a)
}

func roleOf(d *agentDef) string {
	switch d.role {
	case plan.Timer:
		return "timer"
	case plan.Task:
		return "task"
	case plan.Processor:
	}
	return "agent"
}

// union is a union-find over topics and tables.
type union struct{ parent map[any]any }

func newUnion() *union { return &union{map[any]any{}} }

func (u *union) has(x any) bool { _, ok := u.parent[x]; return ok }

func (u *union) find(x any) any {
	if !u.has(x) {
		u.parent[x] = x
	}
	for u.parent[x] != x {
		x = u.parent[x]
	}
	return x
}

func (u *union) join(a, b any) { u.parent[u.find(a)] = u.find(b) }
