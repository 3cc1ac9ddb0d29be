package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// stageDef is a stage before it has a number: topics that are read, tied together by the tables that their agents share.
type stageDef struct {
	sources  []*topicDef // sorted by name
	tables   []*tableDef
	channels []*topicDef
}

// key is what the slot map knows a stage by.
func (d *stageDef) key() string {
	names := make([]string, len(d.sources))
	for i, s := range d.sources {
		names[i] = s.name
	}
	return strings.Join(names, ",")
}

// stages are the stages of a topology but for the leader's, sorted by their keys.
type stages struct {
	all []*stageDef
	of  map[any]*stageDef // by *topicDef (topics and channels) and *tableDef; none for topics that nobody reads and tables that no agent touches
}

// findStages groups what must be co-partitioned: the topics that agents read with the tables they touch. It needs no sound
// topology: what belongs to another one is left out.
func (t *Topology) findStages() *stages {
	group := union{}
	for _, a := range t.agents {
		if a.fires != nil && a.fires.t == t { // what it is called for decides where it runs, once topics do for that
			for x := range a.reads {
				if x.t == t {
					group.join(a.fires, x)
				}
			}
		}
		if a.source == nil || a.source.t != t || a.source.pattern != nil { // topics that match a pattern are stages of their own
			continue
		}
		group.find(a.source)
		for x := range a.reads {
			if x.t == t {
				group.join(a.source, x)
			}
		}
		for x := range a.sends {
			if x.memory && x.t == t {
				group.join(a.source, x)
			}
		}
	}
	s := &stages{of: map[any]*stageDef{}}
	stage := func(x any) *stageDef {
		root := group.find(x)
		if s.of[root] == nil {
			s.of[root] = &stageDef{}
			s.all = append(s.all, s.of[root])
		}
		s.of[x] = s.of[root]
		return s.of[root]
	}
	for _, d := range t.topics {
		if group.has(d) {
			st := stage(d)
			st.sources = append(st.sources, d)
		}
	}
	for _, d := range t.channels {
		if group.has(d) {
			st := stage(d)
			st.channels = append(st.channels, d)
		}
	}
	for _, d := range t.tables {
		if group.has(d) {
			st := stage(d)
			st.tables = append(st.tables, d)
		}
	}
	for _, st := range s.all {
		slices.SortFunc(st.sources, func(x, y *topicDef) int { return cmp.Compare(x.name, y.name) })
	}
	slices.SortFunc(s.all, func(x, y *stageDef) int { return cmp.Compare(x.key(), y.key()) })
	return s
}

// ofAgent returns the stage that an agent runs in: that of its source, for timers and tasks that of the tables they read.
// nil is the leader's.
func (s *stages) ofAgent(a *agentDef) *stageDef {
	if a.source != nil {
		return s.of[a.source]
	}
	if a.fires != nil {
		return s.of[a.fires]
	}
	for _, x := range a.order {
		if st := s.of[x]; st != nil {
			if _, ok := x.(*tableDef); ok {
				return st
			}
		}
	}
	return nil
}

// checkStages finds stages whose topics cannot be co-partitioned, as far as they are declared (what the broker has is checked
// at start), and timers and tasks that read tables of two stages.
func (t *Topology) checkStages(s *stages) (faults []error) {
	for _, st := range s.all {
		faults = append(faults, t.checkCoPartitioned(st)...)
	}
	for _, a := range t.agents {
		own := s.ofAgent(a)
		if a.leader {
			faults = append(faults, t.checkLeader(a, s)...)
		}
		if a.source != nil || own == nil {
			continue
		}
		for _, x := range a.order {
			d, ok := x.(*tableDef)
			if of := s.of[x]; ok && of != nil && of != own {
				faults = append(faults, fmt.Errorf("%s %s reads tables of two stages: %s is spread as topics %s are, other tables as topics %s: "+
					"their partitions may be on different nodes; define one %s for each", roleOf(a), a.name, d.name, of.key(), own.key(), roleOf(a)))
			}
		}
	}
	return faults
}

// checkLeader finds what cannot run on the leader.
func (t *Topology) checkLeader(a *agentDef, s *stages) (faults []error) {
	if a.fires != nil {
		return []error{fmt.Errorf("agent %s is declared OnLeader: it is called for timers %s in the partitions of their keys; the option is for timers and tasks", a.name, a.fires.name)}
	}
	if a.source != nil {
		return []error{fmt.Errorf("agent %s is declared OnLeader: it reads %s %s, whose partitions are on all nodes; the option is for timers and tasks", a.name, a.source.what(), a.source.name)}
	}
	for _, x := range a.order {
		if d, ok := x.(*tableDef); ok && s.of[d] != nil {
			faults = append(faults, fmt.Errorf("%s %s is declared OnLeader and reads table %s, of which the leader has nothing: its partitions are where those of topics %s are; "+
				"remove OnLeader, and it runs once per partition, or let it read what an agent has gathered", roleOf(a), a.name, d.name, s.of[d].key()))
		}
	}
	return faults
}

func (t *Topology) checkCoPartitioned(st *stageDef) (faults []error) {
	var counted *topicDef // the first with a declared number of partitions
	for i, d := range st.sources {
		if d.partitions > 0 {
			if counted == nil {
				counted = d
			} else if d.partitions != counted.partitions {
				faults = append(faults, fmt.Errorf("%s: they are declared with %d and %d partitions, and must have as many; "+
					"declare the same number, or send one through a topic that has it", t.tie(counted, d), counted.partitions, d.partitions))
			}
		}
		if first := st.sources[0]; i > 0 && d.partitioner.Name != first.partitioner.Name {
			faults = append(faults, fmt.Errorf("%s: they have the partitioners %s and %s, so that a key would be in different partitions; "+
				"send one through a topic with the other's", t.tie(first, d), first.partitioner.Name, d.partitioner.Name))
		}
	}
	return faults
}

// tie says what makes two topics feed one stage.
func (t *Topology) tie(x, y *topicDef) string {
	shared := ""
	for _, a := range t.agents {
		for _, b := range t.agents {
			if a.source != x || b.source != y {
				continue
			}
			for _, d := range t.tables {
				if a.writes[d] && b.writes[d] {
					return fmt.Sprintf("table %s is written from two stages, by agent %s from topic %s and by agent %s from topic %s", d.name, a.name, x.name, b.name, y.name)
				}
				if a.reads[d] && b.reads[d] && shared == "" {
					shared = fmt.Sprintf("topics %s and %s are not co-partitioned, but agents %s and %s share table %s", x.name, y.name, a.name, b.name, d.name)
				}
			}
		}
	}
	if shared != "" {
		return shared
	}
	return fmt.Sprintf("topics %s and %s are not co-partitioned, but feed one stage through the tables or channels that its agents share", x.name, y.name)
}

// union is a union-find over topics and tables: the parent of each.
type union map[any]any

func (u union) has(x any) bool { _, ok := u[x]; return ok }

func (u union) find(x any) any {
	if !u.has(x) {
		u[x] = x
	}
	for u[x] != x {
		x = u[x]
	}
	return x
}

func (u union) join(a, b any) { u[u.find(a)] = u.find(b) }
