package plan

import (
	"fmt"
	"slices"
	"strings"
)

// Pattern is a source of all topics whose names match an expression. What a node runs is a plan with those that there are: see With.
type Pattern struct {
	ID      int32
	Name    string
	Expr    string // for people
	Matches func(topic string) bool
	Topic   *Topic   // what each topic that matches is like; it is in no list
	Agents  []*Agent // that read each of them; they are in no list
}

// Match is a topic that matches a pattern.
type Match struct {
	Pattern *Pattern
	Topic   string
}

// Matches finds, among the names of all topics of a cluster, those that match a pattern, sorted by name. left says of topics that match and cannot be read why that is,
// each with its mend. Topics that the brokers, or a topology, have made for themselves match nothing.
func (p *Plan) Matches(names []string) (matches []Match, left []error) {
	internal := p.internal(names)
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	agents := map[string]bool{}
	for _, a := range p.Agents {
		agents[a.Name] = true
	}
	for _, name := range slices.Compact(sorted) {
		if internal(name) {
			continue
		}
		var of []*Pattern
		for _, x := range p.Patterns {
			if x.Matches(name) {
				of = append(of, x)
			}
		}
		switch taken := takenName(of, name, agents); {
		case len(of) == 0:
		case len(of) > 1:
			left = append(left, fmt.Errorf("topic %s matches the topic patterns %s and %s, and can be read by one alone: it is not read; change one of the expressions", name, of[0].Name, of[1].Name))
		case taken != "":
			left = append(left, fmt.Errorf("topic %s matches topic pattern %s, and its agent would be called %s, as another one is: it is not read; rename that one", name, of[0].Name, taken))
		default:
			matches = append(matches, Match{of[0], name})
			for _, a := range of[0].Agents {
				agents[a.nameFor(name)] = true
			}
		}
	}
	return matches, left
}

// takenName is the name of an agent that would read a topic, where there is one of that name; else it is empty.
func takenName(of []*Pattern, topic string, agents map[string]bool) string {
	for _, x := range of {
		for _, a := range x.Agents {
			if name := a.nameFor(topic); agents[name] {
				return name
			}
		}
	}
	return ""
}

// nameFor is what an agent of a pattern is called for one of its topics.
func (a *Agent) nameFor(topic string) string { return a.Of + "-" + topic }

// internal says of names of topics whether they are of those that brokers or topologies make for themselves. Which topologies there are is told by the topics that each has.
func (p *Plan) internal(names []string) func(string) bool {
	own := map[string]bool{}
	for _, t := range p.Topics {
		if t.Kind != External {
			own[t.Name] = true
		}
	}
	topologies := map[string]bool{p.Name: true}
	for _, name := range names {
		if t, ok := strings.CutSuffix(name, "-slots"); ok && slices.Contains(names, t+"-leader") {
			topologies[t] = true
		}
	}
	return func(name string) bool {
		if own[name] || strings.HasPrefix(name, "__") {
			return true
		}
		for i := range len(name) {
			if name[i] == '-' && topologies[name[:i]] && isInternal(name[i:]) {
				return true
			}
		}
		return false
	}
}

// isInternal says whether what stands behind a topology's name is the rest of the name of one of its own topics.
func isInternal(rest string) bool {
	switch rest {
	case "-slots", "-leader", "-dead-letters", "-replies":
		return true
	}
	return strings.HasSuffix(rest, "-changelog") || strings.HasSuffix(rest, "-repartition") || strings.HasSuffix(rest, "-answers") || strings.HasSuffix(rest, "-puts")
}

// With returns the plan with a stage for each topic that matches a pattern, behind all others. What both plans have is shared.
func (p *Plan) With(matches []Match) *Plan {
	if len(p.Patterns) == 0 {
		return p
	}
	x := p.open()
	for _, m := range matches {
		x.add(m)
	}
	return x
}

func (p *Plan) add(m Match) {
	t := *m.Pattern.Topic
	t.ID, t.Name, t.Kind, t.Pattern = int32(len(p.Topics)), m.Topic, External, m.Pattern
	if i := slices.IndexFunc(p.Topics, func(x *Topic) bool { return x.Name == m.Topic }); i >= 0 { // agents send to it, or a global table is a copy of it
		same := *p.Topics[i]
		same.Source, same.Pattern, same.EventTime = true, m.Pattern, t.EventTime
		t = same
		p.Topics[i] = &t
	} else {
		p.Topics = append(p.Topics, &t)
	}
	p.addStage(m.Topic, &t, m.Pattern.Agents, func(a *Agent) string { return a.nameFor(m.Topic) })
}

// addStage adds a stage of one source, with agents like those given.
func (p *Plan) addStage(key string, source *Topic, agents []*Agent, name func(*Agent) string) {
	st := &Stage{ID: int32(len(p.Stages)), Key: key, Sources: []*Topic{source}}
	for _, a := range agents {
		b := *a
		b.ID, b.Name, b.Stage, b.Source = int32(len(p.Agents)), name(a), st.ID, source
		st.Agents, p.Agents = append(st.Agents, &b), append(p.Agents, &b)
	}
	p.Stages = append(p.Stages, st)
}

// open returns a copy of the plan that topics, agents and stages can be added to. What both have is shared.
func (p *Plan) open() *Plan {
	x := *p
	x.Topics, x.Agents, x.Stages = slices.Clone(p.Topics), slices.Clone(p.Agents), slices.Clone(p.Stages)
	return &x
}

// Drawn returns the plan with a stage for each pattern itself, for those who look at it: its topic is none that can be read.
func (p *Plan) Drawn() *Plan {
	if len(p.Patterns) == 0 {
		return p
	}
	x := p.open()
	for _, of := range p.Patterns {
		t := *of.Topic
		t.ID, t.Pattern = int32(len(x.Topics)), of
		x.Topics = append(x.Topics, &t)
		x.addStage(of.Name, &t, of.Agents, func(a *Agent) string { return a.Name })
	}
	return x
}
