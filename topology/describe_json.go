package topology

import (
	"encoding/json"

	"github.com/troupe-stream/troupe/topology/plan"
)

// What the JSON form of a plan is made of.
type (
	describedPlan struct {
		Name    string            `json:"name"`
		Stages  []describedStage  `json:"stages"`
		Globals []describedGlobal `json:"globals,omitempty"`
		Topics  []describedTopic  `json:"topics"`
	}
	describedStage struct {
		ID       int32              `json:"id"`
		Sources  []string           `json:"sources"`
		Agents   []describedAgent   `json:"agents"`
		Tables   []describedTable   `json:"tables"`
		Channels []describedChannel `json:"channels,omitempty"`
	}
	describedChannel struct {
		Name     string `json:"name"`
		Key      string `json:"key"`
		Value    string `json:"value"`
		Capacity int    `json:"capacity"`
	}
	describedAgent struct {
		Name        string   `json:"name"`
		Role        string   `json:"role"`
		Source      string   `json:"source,omitempty"`
		Starts      string   `json:"starts,omitempty"`
		Channel     string   `json:"channel,omitempty"` // that it reads
		Into        []string `json:"into,omitempty"`    // channels that it sends to
		Every       string   `json:"every,omitempty"`
		Cron        string   `json:"cron,omitempty"`
		Fires       string   `json:"fires,omitempty"`
		Concurrency int      `json:"concurrency,omitempty"`
		Throttle    string   `json:"throttle,omitempty"`
		Props       bool     `json:"props,omitempty"`
		Sends       []string `json:"sends,omitempty"`
		Reads       []string `json:"reads,omitempty"`
		Writes      []string `json:"writes,omitempty"`
		Globals     []string `json:"globals,omitempty"`
		Steps       []string `json:"steps,omitempty"`
		Answer      string   `json:"answer,omitempty"`
		Eager       bool     `json:"eager,omitempty"`
	}
	describedTable struct {
		Name      string   `json:"name"`
		Key       string   `json:"key"`
		Value     string   `json:"value"`
		Changelog string   `json:"changelog"`
		Ordered   bool     `json:"ordered,omitempty"`
		Local     bool     `json:"local,omitempty"`
		Timers    bool     `json:"timers,omitempty"`
		EventTime bool     `json:"eventTime,omitempty"`
		Set       bool     `json:"set,omitempty"` // of values, for each key
		Expires   string   `json:"expires,omitempty"`
		Indexes   []string `json:"indexes,omitempty"`
		Version   uint64   `json:"version,omitempty"`
	}
	describedGlobal struct {
		Name  string `json:"name"`
		Key   string `json:"key"`
		Value string `json:"value"`
		Topic string `json:"topic"`
	}
	describedTopic struct {
		Name       string `json:"name"`
		Kind       string `json:"kind"`
		Key        string `json:"key,omitempty"`
		Value      string `json:"value,omitempty"`
		Partitions int32  `json:"partitions,omitempty"`
		Extracted  bool   `json:"timesExtracted,omitempty"`
		Matches    string `json:"matches,omitempty"` // the expression of a pattern
	}
)

func describeJSON(p *plan.Plan) (string, error) {
	out := describedPlan{Name: p.Name}
	for _, st := range p.Stages {
		x := describedStage{ID: st.ID, Sources: topicNames(st.Sources), Agents: []describedAgent{}, Tables: []describedTable{}}
		for _, a := range st.Agents {
			x.Agents = append(x.Agents, describeAgent(a))
		}
		for _, t := range st.Tables {
			d := describedTable{t.Name, t.Key.Type, t.Value.Type, t.Changelog.Name, t.Ordered, t.Local, t.Timers, t.ByEvents, t.Split != nil, "", t.Indexes, t.Version}
			if t.TTL != nil {
				d.Expires = expiresText(t.TTL)
			}
			x.Tables = append(x.Tables, d)
		}
		for _, c := range st.Channels {
			x.Channels = append(x.Channels, describedChannel{c.Name, c.Key.Type, c.Value.Type, c.Capacity})
		}
		out.Stages = append(out.Stages, x)
	}
	for _, g := range p.Globals {
		out.Globals = append(out.Globals, describedGlobal{g.Name, g.Topic.Key.Type, g.Topic.Value.Type, g.Topic.Name})
	}
	for _, t := range p.Topics {
		x := describedTopic{t.Name, kindNames[t.Kind], t.Key.Type, t.Value.Type, t.Partitions, t.EventTime != nil, ""}
		if t.Kind == plan.Matching {
			x.Matches = t.Pattern.Expr
		}
		if t.Kind == plan.Slots { // as many as there are slots
			x.Partitions = 0
		}
		out.Topics = append(out.Topics, x)
	}
	b, err := json.MarshalIndent(out, "", "  ")
	return string(b) + "\n", err
}

func describeAgent(a *plan.Agent) describedAgent {
	x := describedAgent{
		Name: a.Name, Role: roleNames[a.Role], Concurrency: a.Concurrency, Props: a.Raw != nil, Steps: a.Steps,
		Sends: topicNames(a.Sends), Reads: tableNames(a.Reads), Writes: tableNames(a.Writes),
	}
	for _, g := range a.Globals {
		x.Globals = append(x.Globals, g.Name)
	}
	if a.Source != nil {
		x.Source = a.Source.Name
		if a.Start != plan.Earliest {
			x.Starts = startText(a.Start)
		}
	}
	if a.Channel != nil {
		x.Channel = a.Channel.Name
	}
	for _, c := range a.Into {
		x.Into = append(x.Into, c.Name)
	}
	if a.Throttle != nil {
		x.Throttle = a.Throttle.String()
	}
	if a.Reply != nil {
		x.Answer, x.Eager = a.Reply.Value.Type, a.Reply.Eager
	}
	if a.Cron != nil {
		x.Cron = a.Cron.Line
	}
	if a.Every > 0 {
		x.Every = a.Every.String()
	}
	return x
}

func topicNames(topics []*plan.Topic) (names []string) {
	for _, t := range topics {
		names = append(names, t.Name)
	}
	return names
}

func tableNames(tables []*plan.Table) (names []string) {
	for _, t := range tables {
		names = append(names, t.Name)
	}
	return names
}
