package topology

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// TopicPattern stands for all topics of the cluster whose names match an expression, those that are made later too. It is a Source: agents and flows read it like one
// topic, and Event.Topic tells which one a record is in. It is a handle: any goroutine may use it.
type TopicPattern[K, V any] struct{ like *Topic[K, V] }

// NewTopicPattern defines a source of all topics whose whole names match a regular expression, in the syntax of package regexp, with codecs for the keys and values of all of
// them. name is what the pattern is called in the topology's slot map, in commands and descriptions; it is no topic.
//
// Each topic that matches is read by an agent of its own, as those of Sources are: an agent that is called NAME is, for topic orders.eu, called NAME-orders.eu in
// logs, metrics and dead letters. Topics may have any numbers of partitions. Never read are the brokers' own topics (__consumer_offsets and the like) and those that this or
// another topology has made for itself, such as changelogs.
//
// A running node looks for new topics now and then (30 s unless told otherwise: node --topic-refresh), and begins anew with them: it lets go of nothing, but what
// it does rests for a moment. ReadFrom and StartAt hold for the topics that are there when the pattern is read first; what appears later, topics and further partitions,
// is read from its beginning: else what was written before it was found would be lost. A topic that is deleted is no longer read, and nothing else of it is touched.
//
// Since nobody knows how many partitions the topics will have, an agent of a pattern touches no tables (global ones it may read) and no channels: send what is to be kept
// through a topic, with GroupBy, Repartition or Send. TimestampExtractor, ReadFrom, WithPartitioner (what the topics' other writers use) and Loop are the options that it takes.
func NewTopicPattern[K, V any](t *Topology, name, expression string, keys codec.Codec[K], values codec.Codec[V], opts ...TopicOption) *TopicPattern[K, V] {
	x := &TopicPattern[K, V]{makeTopic(t, "topic pattern", name, keys, values, opts)}
	d := x.like.def
	d.id, d.expr = int32(len(t.patterns)), expression
	t.patterns = append(t.patterns, d)
	if expression == "" {
		t.fault("topic pattern %s has no expression: pass one that the names of its topics match, such as `orders\\..+`", name)
	}
	if d.partitions != 0 || len(d.config) > 0 {
		t.fault("topic pattern %s is given Partitions or WithConfig: a node makes none of its topics, which it does not know; leave them out", name)
	}
	var err error
	if d.pattern, err = wholeName(expression); err != nil {
		t.fault("topic pattern %s: %w: write it in the syntax of Go's package regexp", name, err)
		d.pattern = regexp.MustCompile("$^") // matches no name
	}
	return x
}

// wholeName compiles an expression that a name has to match from its beginning to its end.
func wholeName(expression string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expression); err != nil { // by itself: the error says what the user wrote
		return nil, err
	}
	return regexp.Compile("^(?:" + expression + ")$")
}

// Name returns what the pattern is called.
func (p *TopicPattern[K, V]) Name() string { return p.like.def.name }

// Matches says whether a topic of that name would be read.
func (p *TopicPattern[K, V]) Matches(topic string) bool { return p.like.def.matches(topic) }

// Encode encodes a key and a value as the topics hold them: for tools.
func (p *TopicPattern[K, V]) Encode(key K, value V) (k, v []byte, err error) {
	return p.like.Encode(key, value)
}

// Decode decodes record i of a batch of one of the topics: for tools. The error is a *DecodeError.
func (p *TopicPattern[K, V]) Decode(b *kafka.Batch, i int) (Event[K, V], error) {
	return p.like.Decode(b, i)
}

// topic implements AnyTopic. It returns nil for a nil handle, which the options turn into a fault.
func (p *TopicPattern[K, V]) topic() *topicDef {
	if p == nil {
		return nil
	}
	return p.like.def
}

// event implements Source.
func (p *TopicPattern[K, V]) event(rec plan.Rec, ev *Event[K, V]) error { return p.like.event(rec, ev) }

// codecs implements Source.
func (p *TopicPattern[K, V]) codecs() (codec.Codec[K], codec.Codec[V]) { return p.like.codecs() }

func (d *topicDef) matches(topic string) bool {
	return d.pattern != nil && d.pattern.MatchString(topic)
}

// isFed says whether what is in a topic or channel comes to the agent.
func (a *agentDef) isFed(d *topicDef) bool {
	if a.source == nil || a.source == d {
		return a.source == d
	}
	return !a.source.loop && !d.memory && d.kind == plan.External && a.source.matches(d.name)
}

// patternMend says further how to mend a loop that goes through a pattern.
func patternMend(t *Topology, cycle []*topicDef) string {
	for _, d := range cycle {
		for _, p := range t.patterns {
			if p.matches(d.name) && d.kind == plan.External {
				return fmt.Sprintf(", else let topic pattern %s not match %s", p.name, d.name)
			}
		}
	}
	return ""
}

// checkPatterns finds patterns that are of no use or in the way of a topic, and agents that cannot read one.
func (t *Topology) checkPatterns() (faults []error) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, p := range t.patterns {
		if !slices.ContainsFunc(t.agents, func(a *agentDef) bool { return a.source == p }) {
			add("topic pattern %s is read by no agent: read it, or remove it", p.name)
		}
		for _, d := range t.topics {
			if d.kind == plan.External && p.matches(d.name) && slices.ContainsFunc(t.agents, func(a *agentDef) bool { return a.source == d }) {
				add("topic %s is read under its name, and matches topic pattern %s (%s), so that it would be read twice: read it as one of the pattern's, or change the expression", d.name, p.name, p.expr)
			}
		}
	}
	for _, a := range t.agents {
		if a.source == nil || a.source.pattern == nil {
			continue
		}
		for _, x := range a.order {
			switch x := x.(type) {
			case *tableDef:
				add("agent %s reads topic pattern %s and touches table %s: the topics that match may have any number of partitions, and keys would be in others than the table's; "+
					"send the records through a topic, with topology.GroupBy, topology.Repartition or Send, and let an agent of that touch the table", a.name, a.source.name, x.name)
			case *topicDef:
				if x.memory {
					add("agent %s reads topic pattern %s and sends to channel %s, whose partitions are those of one topic: send through a topic", a.name, a.source.name, x.name)
				}
			}
		}
	}
	return faults
}

// patterns lists the patterns under their ids.
func (b *builder) patterns() {
	for _, d := range b.t.patterns {
		b.plan.Patterns = append(b.plan.Patterns, &plan.Pattern{
			ID: d.id, Name: d.name, Expr: d.expr, Matches: d.pattern.MatchString,
			Topic: &plan.Topic{
				Name: d.name, Kind: plan.Matching, Partitioner: d.partitioner, Key: d.key, Value: d.value, EventTime: d.eventTime, Source: true,
			},
		})
	}
}
