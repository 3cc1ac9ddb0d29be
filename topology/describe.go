package topology

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Formats are what Describe can write.
func Formats() []string { return []string{"text", "mermaid", "dot", "json"} }

// Describe writes a plan for people or programs: its stages, topics, agents, tables, internal topics and edges. The format is
// one of Formats.
//
// A topic pattern is shown in place of its topics; in a plan that a node has made with those that it has found, as both.
func Describe(p *plan.Plan, format string) (string, error) {
	if slices.Contains(Formats(), format) {
		p = p.Drawn()
	}
	switch format {
	case "text":
		return describeText(p), nil
	case "mermaid":
		return describeMermaid(p), nil
	case "dot":
		return describeDot(p), nil
	case "json":
		return describeJSON(p)
	}
	return "", fmt.Errorf("no format %q: there are %s", format, strings.Join(Formats(), ", "))
}

var kindNames = map[plan.Kind]string{
	plan.External: "external", plan.Repartition: "repartition", plan.Changelog: "changelog", plan.DeadLetters: "dead letters",
	plan.Slots: "slots", plan.Leader: "leader", plan.Replies: "replies", plan.Matching: "pattern",
}

var roleNames = map[plan.Role]string{plan.Processor: "agent", plan.Timer: "timer", plan.Task: "task", plan.OnTimer: "agent"}

func describeText(p *plan.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "topology %s\n", p.Name)
	for _, st := range p.Stages {
		if len(st.Agents) == 0 {
			continue
		}
		key := st.Key
		if key == "" {
			key = "(leader)"
		}
		fmt.Fprintf(&b, "\nstage %d: %s\n", st.ID, key)
		for _, a := range st.Agents {
			fmt.Fprintf(&b, "  %s %s%s\n", roleNames[a.Role], a.Name, agentNotes(a))
		}
		for _, t := range st.Tables {
			fmt.Fprintf(&b, "  table %s (%s → %s%s), changelog %s\n", t.Name, t.Key.Type, t.Value.Type, tableNotes(t), t.Changelog.Name)
		}
		for _, c := range st.Channels {
			fmt.Fprintf(&b, "  channel %s (%s → %s), in memory, capacity %d\n", c.Name, c.Key.Type, c.Value.Type, c.Capacity)
		}
	}
	if len(p.Globals) > 0 {
		b.WriteString("\nglobal tables: a full copy on every node\n")
	}
	for _, g := range p.Globals {
		fmt.Fprintf(&b, "  %s (%s → %s), of topic %s\n", g.Name, g.Topic.Key.Type, g.Topic.Value.Type, g.Topic.Name)
	}
	b.WriteString("\ntopics\n")
	for _, t := range p.Topics {
		types := ""
		if t.Key.Type != "" {
			types = fmt.Sprintf(" (%s → %s)", t.Key.Type, t.Value.Type)
		}
		count := ""
		if t.Partitions > 0 && t.Kind != plan.Slots {
			count = fmt.Sprintf(", partitions: %d", t.Partitions)
		}
		if t.EventTime != nil {
			count += ", times extracted"
		}
		kind := kindNames[t.Kind]
		if t.Kind == plan.Matching {
			kind = "all topics that match " + t.Pattern.Expr
		}
		fmt.Fprintf(&b, "  %s: %s%s%s\n", t.Name, kind, types, count)
	}
	return b.String()
}

func tableNotes(t *plan.Table) (notes string) {
	if t.Timers {
		if notes = ", durable timers"; t.ByEvents {
			notes += " in event time"
		}
	} else if t.Split != nil {
		notes = ", set"
	} else if t.Ordered {
		notes = ", ordered"
	}
	if t.Local {
		notes += ", local"
	}
	if t.TTL != nil {
		notes += ", expires " + expiresText(t.TTL)
	}
	for _, name := range t.Indexes {
		notes += ", index " + name
	}
	if t.Version > 0 {
		notes += fmt.Sprintf(", version %d", t.Version)
	}
	return notes
}

// expiresText says when entries expire.
func expiresText(t *tables.TTL) string {
	after := "when told"
	if t.After > 0 {
		after = "after " + t.After.String()
	}
	if t.Wall {
		return after + " of wall time"
	}
	return after + " of event time"
}

func agentNotes(a *plan.Agent) string {
	var n []string
	switch {
	case a.Source == nil:
	case a.Source.Kind == plan.Matching:
		n = append(n, "reads topics that match "+a.Source.Name)
	default:
		n = append(n, "reads "+a.Source.Name)
	}
	if a.Channel != nil {
		n = append(n, "reads channel "+a.Channel.Name)
	}
	if a.Source != nil && a.Start != plan.Earliest {
		n = append(n, "starts "+startText(a.Start))
	}
	switch {
	case a.Fires != nil:
		n = append(n, "called for timers "+a.Fires.Name)
	case a.Cron != nil:
		n = append(n, "at "+a.Cron.Line)
	case a.Role == plan.Timer:
		n = append(n, "every "+a.Every.String())
	}
	for _, t := range a.Reads {
		if slices.Contains(a.Writes, t) {
			n = append(n, "writes table "+t.Name)
		} else {
			n = append(n, "reads table "+t.Name)
		}
	}
	for _, g := range a.Globals {
		n = append(n, "reads global table "+g.Name)
	}
	for _, t := range a.Sends {
		if t.Kind != plan.Replies {
			n = append(n, "sends "+t.Name)
		}
	}
	if a.Reply != nil {
		answers := "answers with " + a.Reply.Value.Type + " by " + a.Reply.Topic.Name
		if a.Reply.Eager {
			answers += ", before the commit"
		}
		n = append(n, answers)
	}
	for _, c := range a.Into {
		n = append(n, "sends channel "+c.Name)
	}
	if len(a.Steps) > 0 {
		n = append(n, "steps: "+strings.Join(a.Steps, " | "))
	}
	if a.Throttle != nil {
		n = append(n, "throttled to "+a.Throttle.String())
	}
	if a.Concurrency > 1 {
		n = append(n, fmt.Sprintf("concurrency %d", a.Concurrency))
	}
	if a.Raw != nil {
		n = append(n, "actor props")
	}
	if len(n) == 0 {
		return ""
	}
	return ": " + strings.Join(n, ", ")
}

// startText says where an agent without a committed offset starts.
func startText(s plan.Start) string {
	switch s {
	case plan.Earliest:
		return "at the earliest record"
	case plan.Latest:
		return "at the latest record"
	case plan.None:
		return "at a committed offset only"
	}
	return "at " + time.UnixMilli(int64(s)).UTC().Format(time.RFC3339Nano)
}

// edge is one arrow of a drawing; label is empty for a plain one.
type edge struct{ from, to, label string }

// drawing lists nodes and edges under ids that every format takes.
func drawing(p *plan.Plan) (topics []*plan.Topic, edges []edge) {
	for _, t := range p.Topics {
		if t.Kind == plan.External || t.Kind == plan.Repartition || t.Kind == plan.Replies || t.Kind == plan.Matching {
			topics = append(topics, t)
		}
	}
	for _, g := range p.Globals {
		edges = append(edges, edge{fmt.Sprintf("t%d", g.Topic.ID), fmt.Sprintf("g%d", g.ID), ""})
	}
	for _, a := range p.Agents {
		id := fmt.Sprintf("a%d", a.ID)
		for _, g := range a.Globals {
			edges = append(edges, edge{fmt.Sprintf("g%d", g.ID), id, "reads"})
		}
		if a.Source != nil {
			edges = append(edges, edge{fmt.Sprintf("t%d", a.Source.ID), id, ""})
		}
		if a.Channel != nil {
			edges = append(edges, edge{fmt.Sprintf("c%d", a.Channel.ID), id, ""})
		}
		for _, t := range a.Reads {
			if slices.Contains(a.Writes, t) {
				edges = append(edges, edge{id, fmt.Sprintf("s%d", t.ID), "writes"})
			} else {
				edges = append(edges, edge{fmt.Sprintf("s%d", t.ID), id, "reads"})
			}
		}
		if a.Fires != nil {
			edges = append(edges, edge{fmt.Sprintf("s%d", a.Fires.ID), id, "calls"})
		}
		for _, t := range a.Sends {
			edges = append(edges, edge{id, fmt.Sprintf("t%d", t.ID), ""})
		}
		for _, c := range a.Into {
			edges = append(edges, edge{id, fmt.Sprintf("c%d", c.ID), ""})
		}
	}
	return topics, edges
}

func describeMermaid(p *plan.Plan) string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	topics, edges := drawing(p)
	for _, t := range topics {
		fmt.Fprintf(&b, "  t%d([%q])\n", t.ID, t.Name)
	}
	for _, g := range p.Globals {
		fmt.Fprintf(&b, "  g%d[(%q)]\n", g.ID, g.Name)
	}
	for _, st := range p.Stages {
		if len(st.Agents) == 0 {
			continue
		}
		fmt.Fprintf(&b, "  subgraph stage%d [\"stage %d\"]\n", st.ID, st.ID)
		for _, a := range st.Agents {
			fmt.Fprintf(&b, "    a%d[%q]\n", a.ID, a.Name)
		}
		for _, t := range st.Tables {
			fmt.Fprintf(&b, "    s%d[(%q)]\n", t.ID, t.Name)
		}
		for _, c := range st.Channels {
			fmt.Fprintf(&b, "    c%d{{%q}}\n", c.ID, c.Name)
		}
		b.WriteString("  end\n")
	}
	for _, e := range edges {
		if e.label != "" {
			fmt.Fprintf(&b, "  %s -->|%s| %s\n", e.from, e.label, e.to)
			continue
		}
		fmt.Fprintf(&b, "  %s --> %s\n", e.from, e.to)
	}
	return b.String()
}

func describeDot(p *plan.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n  rankdir=LR;\n", p.Name)
	topics, edges := drawing(p)
	for _, t := range topics {
		fmt.Fprintf(&b, "  t%d [label=%q, shape=ellipse];\n", t.ID, t.Name)
	}
	for _, g := range p.Globals {
		fmt.Fprintf(&b, "  g%d [label=%q, shape=cylinder];\n", g.ID, g.Name)
	}
	for _, st := range p.Stages {
		if len(st.Agents) == 0 {
			continue
		}
		fmt.Fprintf(&b, "  subgraph cluster_%d {\n    label=\"stage %d\";\n", st.ID, st.ID)
		for _, a := range st.Agents {
			fmt.Fprintf(&b, "    a%d [label=%q, shape=box];\n", a.ID, a.Name)
		}
		for _, t := range st.Tables {
			fmt.Fprintf(&b, "    s%d [label=%q, shape=cylinder];\n", t.ID, t.Name)
		}
		for _, c := range st.Channels {
			fmt.Fprintf(&b, "    c%d [label=%q, shape=hexagon];\n", c.ID, c.Name)
		}
		b.WriteString("  }\n")
	}
	for _, e := range edges {
		fmt.Fprintf(&b, "  %s -> %s [label=%q];\n", e.from, e.to, e.label)
	}
	b.WriteString("}\n")
	return b.String()
}
