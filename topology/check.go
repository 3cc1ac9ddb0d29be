package topology

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// legalName is what Kafka takes as the name of a topic.
var legalName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// maxName is how long the name of a topic may be.
const maxName = 249

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s has no name: give it one", what)
	case name == "." || name == "..":
		return fmt.Errorf("%s is called %q, which Kafka refuses: choose another name", what, name)
	case !legalName.MatchString(name):
		return fmt.Errorf("%s is called %q: Kafka takes letters, digits, dots, underscores and hyphens only", what, name)
	case len(name) > maxName:
		return fmt.Errorf("%s has a name of %d characters: Kafka takes %d at most", what, len(name), maxName)
	}
	return nil
}

// checkNames finds names that Kafka refuses, that stand twice, or that collide with internal topics.
func (t *Topology) checkNames() (faults []error) {
	add := func(err error) {
		if err != nil {
			faults = append(faults, err)
		}
	}
	add(checkName("the topology", t.name))
	topics := map[string]string{} // by name with dots as underscores: Kafka's metrics cannot tell them apart
	claim := func(name, what string) {
		key := strings.ReplaceAll(name, ".", "_")
		if other, ok := topics[key]; ok {
			if other == what {
				add(fmt.Errorf("two topics are called %s: define it once and share the handle", name))
			} else {
				add(fmt.Errorf("%s collides with %s: rename one", what, other))
			}
			return
		}
		topics[key] = what
	}
	for _, d := range t.topics {
		add(checkName("a topic", d.name))
		claim(d.name, "topic "+d.name)
		if d.partitions < 0 {
			add(fmt.Errorf("topic %s is declared with %d partitions", d.name, d.partitions))
		}
	}
	tables, agents := map[string]bool{}, map[string]bool{}
	for _, d := range t.tables {
		add(checkName("a table", d.name))
		if tables[d.name] {
			add(fmt.Errorf("two tables are called %s: define it once and share the handle", d.name))
			continue
		}
		tables[d.name] = true
		if name := changelogName(t, d); d.name != "" {
			add(checkName("the changelog of table "+d.name, name))
			claim(name, "the changelog of table "+d.name)
		}
	}
	for _, suffix := range []string{"dead-letters", "slots", "leader"} {
		claim(t.name+"-"+suffix, "the internal topic "+t.name+"-"+suffix)
	}
	for _, a := range t.agents {
		add(checkName("an agent", a.name))
		if agents[a.name] {
			add(fmt.Errorf("two agents are called %s: their progress is kept under their names; rename one", a.name))
		}
		agents[a.name] = true
	}
	return faults
}

// checkEdges finds what is declared and cannot work.
func (t *Topology) checkEdges() (faults []error) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(t.agents) == 0 {
		add("topology %s has no agents: nothing would happen", t.name)
	}
	used, writers := map[*topicDef]bool{}, map[*tableDef][]*agentDef{}
	for _, a := range t.agents {
		for _, x := range a.order {
			var of *Topology
			name := ""
			switch x := x.(type) {
			case *topicDef:
				of, name = x.t, "topic "+x.name
				used[x] = true
			case *tableDef:
				of, name = x.t, "table "+x.name
			}
			if of != t {
				add("%s %s uses %s of another topology, %s: define it in this one", roleOf(a), a.name, name, of.name)
			}
		}
		if a.source != nil {
			used[a.source] = true
			if a.source.t != t {
				add("agent %s reads topic %s of another topology, %s: define it in this one", a.name, a.source.name, a.source.t.name)
			}
		}
		for tb := range a.writes {
			writers[tb] = append(writers[tb], a)
			if a.source == nil {
				add("%s %s writes table %s: only agents write tables; send to one", roleOf(a), a.name, tb.name)
			}
		}
	}
	for _, d := range t.topics {
		if !used[d] {
			add("topic %s is used by no agent: read it, declare it with topology.Sends, or remove it", d.name)
		}
	}
	for _, d := range t.tables {
		w := writers[d]
		if len(w) == 0 {
			add("table %s is written by no agent: declare topology.Writes(%s) where it is, or remove it", d.name, d.name)
		}
		faults = append(faults, twoStages(d, w)...)
	}
	return append(faults, t.checkLoops()...)
}

// twoStages finds tables that are written from sources that cannot be co-partitioned.
func twoStages(d *tableDef, writers []*agentDef) (faults []error) {
	for i, a := range writers {
		for _, b := range writers[:i] {
			x, y := a.source, b.source
			if x == nil || y == nil || x == y {
				continue
			}
			if x.partitions > 0 && y.partitions > 0 && x.partitions != y.partitions {
				faults = append(faults, fmt.Errorf("table %s is written from two stages: by agent %s from topic %s with %d partitions and by agent %s from topic %s with %d; "+
					"send one of them through a topic with as many", d.name, b.name, y.name, y.partitions, a.name, x.name, x.partitions))
			}
		}
	}
	return faults
}

// checkLoops finds cycles of agents that feed each other through topics none of which is declared with Loop.
func (t *Topology) checkLoops() (faults []error) {
	var path []*topicDef
	state := map[*topicDef]int{} // 1: on the path, 2: done
	var visit func(d *topicDef)
	visit = func(d *topicDef) {
		if d.loop || state[d] == 2 {
			return
		}
		if state[d] == 1 {
			at := slices.Index(path, d)
			var names []string
			for _, x := range append(slices.Clone(path[at:]), d) {
				names = append(names, x.name)
			}
			faults = append(faults, fmt.Errorf("topics form a loop: %s; if that is meant, declare one of them with topology.Loop()", strings.Join(names, " → ")))
			return
		}
		state[d] = 1
		path = append(path, d)
		for _, a := range t.agents {
			if a.source != d {
				continue
			}
			for _, x := range a.order {
				if next, ok := x.(*topicDef); ok {
					visit(next)
				}
			}
		}
		path = path[:len(path)-1]
		state[d] = 2
	}
	for _, d := range t.topics {
		visit(d)
	}
	return faults
}
