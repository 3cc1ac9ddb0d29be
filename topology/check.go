package topology

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/troupe-stream/troupe/topology/plan"
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
	case name == "__consumer_offsets" || name == "__transaction_state":
		return fmt.Errorf("%s is called %s, which is a topic of Kafka's own: choose another name", what, name)
	case !legalName.MatchString(name):
		return fmt.Errorf("%s is called %q: Kafka takes letters, digits, dots, underscores and hyphens only", what, name)
	case len(name) > maxName:
		return fmt.Errorf("%s has a name of %d characters, %s…: Kafka takes %d at most; choose a shorter one", what, len(name), name[:20], maxName)
	}
	return nil
}

// names gathers the names of a topology and what is wrong with them.
type names struct {
	faults []error
	topics map[string]string // what a topic is, by its name with dots as underscores: Kafka's metrics cannot tell them apart
}

// check notes a name that Kafka refuses, and says whether it is legal.
func (n *names) check(what, name string) bool {
	err := checkName(what, name)
	if err != nil {
		n.faults = append(n.faults, err)
	}
	return err == nil
}

func (n *names) add(format string, args ...any) {
	n.faults = append(n.faults, fmt.Errorf(format, args...))
}

// claim notes the name of a topic, which nothing else may have.
func (n *names) claim(name, what string) {
	key := strings.ReplaceAll(name, ".", "_")
	other, taken := n.topics[key]
	switch {
	case !taken:
		n.topics[key] = what
	case other == what:
		n.add("two %ss are called %s: define it once and share the handle", strings.Fields(what)[0], name)
	default:
		n.add("%s and %s collide (Kafka takes dots and underscores for the same): rename one", what, other)
	}
}

// checkNames finds names that Kafka refuses, that stand twice, or that collide with internal topics.
func (t *Topology) checkNames() []error {
	n := &names{topics: map[string]string{}}
	legal := n.check("the topology", t.name) // else the names derived from it would all be reported too
	for _, d := range t.topics {
		switch {
		case d.kind == plan.Replies:
			if legal && n.check("the internal topic for replies", d.name) {
				n.claim(d.name, "the internal topic "+d.name)
			}
		case d.kind == plan.Repartition: // two flows of one name are reported as agents
			if legal && n.topics[strings.ReplaceAll(d.name, ".", "_")] == "" && n.check("a repartition topic", d.name) {
				n.claim(d.name, "the repartition topic "+d.name)
			}
		case n.check("a topic", d.name):
			n.claim(d.name, "topic "+d.name)
		}
		if d.partitions < 0 {
			n.add("topic %s is declared with %d partitions: declare a positive number, or none", d.name, d.partitions)
		}
	}
	for _, d := range t.channels {
		if n.check("a channel", d.name) {
			n.claim(d.name, "channel "+d.name)
		}
	}
	patterns := map[string]bool{}
	for _, d := range t.patterns {
		if n.check("a topic pattern", d.name); patterns[d.name] {
			n.add("two topic patterns are called %s: define it once and share the handle", d.name)
		}
		patterns[d.name] = true
	}
	n.checkTables(t, legal)
	if legal {
		for _, suffix := range []string{"dead-letters", "slots", "leader"} {
			name := t.name + "-" + suffix
			n.check("the internal topic for "+suffix, name)
			n.claim(name, "the internal topic "+name)
		}
	}
	n.checkAgents(t)
	return n.faults
}

// progressKey is what the progress of an agent is kept under.
type progressKey struct {
	topic *topicDef
	of    string
}

func (n *names) checkAgents(t *Topology) {
	agents, progress := map[string]bool{}, map[progressKey]string{}
	for _, a := range t.agents {
		n.check(roleOf(a)+" of topology "+t.name, a.name)
		key := progressKey{a.source, a.of}
		switch other, same := progress[key]; {
		case agents[a.name]:
			n.add("two agents are called %s: progress is kept under their names; rename one, or give the end of an operator's flow a name with topology.Named", a.name)
		case same && a.source != nil: // each would take over what the other has done
			n.add("agents %s and %s both read %s %s as %s, under which their progress is kept: rename one, or give the end of an operator's flow a name with topology.Named", other, a.name, a.source.what(), a.source.name, a.of)
		}
		agents[a.name], progress[key] = true, a.name
	}
}

func (n *names) checkTables(t *Topology, legal bool) {
	folded := map[string]string{} // file systems that ignore case would keep two tables in one file
	for _, d := range t.globals {
		if n.check("a global table", d.name) && slices.ContainsFunc(t.tables, func(x *tableDef) bool { return x.name == d.name }) {
			n.add("a table and a global table are called %s: rename one", d.name)
		}
		if slices.ContainsFunc(t.globals[:d.id], func(x *globalDef) bool { return x.name == d.name }) {
			n.add("two global tables are called %s: define it once and share the handle", d.name)
		}
	}
	for _, d := range t.tables {
		if !n.check("a table", d.name) {
			continue
		}
		low := strings.ToLower(d.name)
		if other, ok := folded[low]; ok {
			if other == d.name {
				n.add("two tables are called %s: define it once and share the handle", d.name)
			} else {
				n.add("tables %s and %s differ in case only: rename one", other, d.name)
			}
			continue
		}
		folded[low] = d.name
		if name := changelogName(t, d); legal && n.check("the changelog of table "+d.name, name) {
			n.claim(name, "the changelog of table "+d.name)
		}
	}
}

// checkEdges finds what is declared and cannot work.
func (t *Topology) checkEdges() (faults []error) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(t.agents) == 0 {
		add("topology %s has no agents: nothing would happen", t.name)
	}
	used, written, read := map[*topicDef]bool{}, map[*tableDef]bool{}, map[*globalDef]bool{}
	for _, d := range t.globals {
		used[d.topic] = true
		if d.topic.t != t {
			add("global table %s is a copy of topic %s of another topology, %s: define the topic in this one", d.name, d.topic.name, d.topic.t.name)
		}
		if d.topic.keyFault != nil {
			add("global table %s: the codec of the keys of topic %s cannot be used for keys: %w; use another one, such as codec.String, or codec.ForKeys to vouch for it", d.name, d.topic.name, d.topic.keyFault)
		}
	}
	for _, a := range t.agents {
		faults = append(faults, t.checkForeign(a)...)
		if a.source != nil {
			used[a.source] = true
		}
		for d := range a.sends {
			used[d] = true
		}
		if a.results && a.sinks == 0 {
			add("agent %s is made by Process and has no sink: its results would go nowhere; give it one with AddSink, or define it with Each", a.name)
		}
		for d := range a.globals {
			read[d] = true
		}
		for _, d := range t.tables {
			if !a.writes[d] {
				continue
			}
			written[d] = true
			if a.role == plan.Timer || a.role == plan.Task {
				add("%s %s writes table %s: only agents write tables; let it send to a topic, and an agent write", roleOf(a), a.name, d.name)
			}
		}
	}
	for _, d := range t.topics {
		if d.keyFault != nil && slices.ContainsFunc(t.agents, func(a *agentDef) bool { return a.sends[d] }) {
			add("topic %s is sent to, and the codec of its keys cannot be used for keys: %w; use another one, such as codec.String, or codec.ForKeys to vouch for it", d.name, d.keyFault)
		}
		if !used[d] {
			add("topic %s is used by no agent: read it, declare it with topology.Sends, or remove it", d.name)
		}
	}
	faults = append(faults, t.checkChannels()...)
	for _, d := range t.tables {
		if d.ttl != nil && (d.joined || d.stamped || len(d.followers) > 0) {
			add("table %s has a TTL, and is joined or its changes are followed, which would not hear of entries that expire: remove topology.TTL, and delete rows by an agent", d.name)
		}
		if !written[d] {
			add("table %s is written by no agent: declare topology.Writes(%s) where it is, or remove it", d.name, d.name)
		}
	}
	for _, d := range t.globals {
		if !read[d] {
			add("global table %s is read by no agent: declare topology.Reads(%s) where it is, or remove it", d.name, d.name)
		}
	}
	return faults
}

// checkChannels finds channels that lead from or to nowhere, and senders that cannot send to one.
func (t *Topology) checkChannels() (faults []error) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, d := range t.channels {
		read, sent := false, false
		for _, a := range t.agents {
			read = read || a.source == d
			if a.source == d && a.throttle != nil {
				add("agent %s reads channel %s throttled: records of a channel are done with those that they come from, and nothing could be committed meanwhile; throttle what the agent that sends to it reads, or put a topic in its place", a.name, d.name)
			}
			if !a.sends[d] {
				continue
			}
			sent = true
			switch {
			case a.role != plan.Processor:
				add("%s %s sends to channel %s: only agents send to channels, whose records are done when theirs are; let it send to a topic", roleOf(a), a.name, d.name)
			case a.inside:
				add("agent %s sends to channel %s from inside table %s: send to a topic, or read and write the table from an agent made with Each", a.name, d.name, a.tableOf())
			}
		}
		if !read {
			add("channel %s is read by no agent: what is sent to it would be lost; read it, or remove it", d.name)
		}
		if !sent {
			add("channel %s is sent to by no agent: declare it with topology.Sends where it is, or remove it", d.name)
		}
	}
	return faults
}

// tableOf is the table that an agent runs inside of.
func (a *agentDef) tableOf() string {
	for d := range a.writes {
		return d.name
	}
	return ""
}

// checkForeign finds topics and tables of other topologies.
func (t *Topology) checkForeign(a *agentDef) (faults []error) {
	foreign := func(verb, what, name string, of *Topology) {
		if of != t {
			faults = append(faults, fmt.Errorf("%s %s %s %s %s of another topology, %s: define it in this one", roleOf(a), a.name, verb, what, name, of.name))
		}
	}
	if a.source != nil {
		foreign("reads", a.source.what(), a.source.name, a.source.t)
	}
	for _, x := range a.order {
		switch x := x.(type) {
		case *topicDef:
			foreign("sends to", x.what(), x.name, x.t)
		case *tableDef:
			foreign("uses", "table", x.name, x.t)
		case *globalDef:
			foreign("reads", "global table", x.name, x.t)
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
			faults = append(faults, t.loopFault(path[slices.Index(path, d):]))
			return
		}
		state[d] = 1
		path = append(path, d)
		for _, a := range t.agents {
			if !a.isFed(d) {
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
	for _, d := range slices.Concat(t.topics, t.channels) {
		visit(d)
	}
	return faults
}

// loopFault names the topics of a cycle, and the agents between them.
func (t *Topology) loopFault(cycle []*topicDef) error {
	var b strings.Builder
	for i, d := range cycle {
		next := cycle[(i+1)%len(cycle)]
		for _, a := range t.agents {
			if a.isFed(d) && a.sends[next] {
				fmt.Fprintf(&b, "%s → ", d.name)
				if a.source != d {
					fmt.Fprintf(&b, "topic pattern %s → ", a.source.name)
				}
				fmt.Fprintf(&b, "agent %s → ", a.name)
				break
			}
		}
	}
	b.WriteString(cycle[0].name)
	if !slices.ContainsFunc(cycle, func(d *topicDef) bool { return !d.memory }) {
		return errors.New("records go round in a loop of channels, and would never be done: " + b.String() + "; put a topic with topology.Loop() in place of one")
	}
	return errors.New("records go round in a loop: " + b.String() + "; if that is meant, declare one of the topics with topology.Loop()" + patternMend(t, cycle))
}
