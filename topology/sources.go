package topology

import (
	"slices"

	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Sources makes one source of several topics and channels, for an agent or a flow that treats their records alike. Each of them is read by an agent of
// its own: one that is called NAME is, for topic orders, called NAME-orders in logs, metrics and dead letters. So records of one topic are handled in order, those of
// several side by side; the function of a loop agent runs, and Batches are gathered, for each topic apart; one that fails holds up no other. Topics need have the same number
// of partitions only where their agents share tables or channels.
//
// What has been done of a topic is kept under NAME alone: a topic may be added to an agent that had one before, or taken away, and the others go on where they were.
func Sources[K, V any](first Source[K, V], others ...Source[K, V]) Source[K, V] {
	x := &sources[K, V]{}
	for _, s := range append([]Source[K, V]{first}, others...) {
		if several, ok := s.(*sources[K, V]); ok {
			x.all = append(x.all, several.all...)
			continue
		}
		x.all = append(x.all, s)
	}
	return x
}

// sources are several sources as one. Nothing but split, From and Throttle looks at it: agents read its parts.
type sources[K, V any] struct{ all []Source[K, V] }

// topic implements AnyTopic: it is none.
func (s *sources[K, V]) topic() *topicDef { return nil }

// parts says how many there are.
func (s *sources[K, V]) parts() int { return len(s.all) }

// codecs implements Source: each part has its own.
func (s *sources[K, V]) codecs() (codec.Codec[K], codec.Codec[V]) { return nil, nil }

// event implements Source.
func (s *sources[K, V]) event(plan.Rec, *Event[K, V]) error {
	return lasting("a record of several sources: it belongs to one of them") // a bug of this module's
}

// flow is a flow of all of them.
func (s *sources[K, V]) flow() Flow[K, V] {
	var flows []Flow[K, V]
	for _, part := range s.all {
		flows = append(flows, From(part))
	}
	return merged(flows)
}

// split calls define for each part of a source, with a name and options for its agent.
func split[K, V any](t *Topology, name string, source Source[K, V], opts []AgentOption, define func(name string, source Source[K, V], opts []AgentOption)) {
	several, ok := source.(*sources[K, V])
	if !ok {
		source, limit := limitOf(source)
		define(name, source, append(slices.Clone(opts), limitedTo(limit)))
		return
	}
	seen := map[*topicDef]bool{}
	for _, part := range several.all {
		d := sourceOf(part)
		part, limit := limitOf(part)
		opts := append(slices.Clone(opts), limitedTo(limit))
		switch {
		case d == nil || len(several.all) == 1:
			define(name, part, opts)
		case seen[d]:
			t.fault("agent %s was given Sources with %s %s twice: name it once", name, d.what(), d.name)
		default:
			seen[d] = true
			define(name+"-"+d.name, part, append(opts, partOf(name)))
		}
	}
}

// partOf says that an agent is one of several, for a topic each, of one that the user has defined.
func partOf(name string) AgentOption { return func(a *agentDef) { a.of = name } }

// Merge makes one flow of several: what follows is done with the records of all (Kafka Streams: merge). Each topic that they begin at is read by an agent of its own,
// named as those of Sources are: the records of one topic, and the changes of one table, stay in their order, those of several have none. A record that comes by several of the flows, because they begin at the
// same topic, goes through one after the other, in the order in which they are given here, in one turn.
func Merge[K, V any](first Flow[K, V], others ...Flow[K, V]) Flow[K, V] {
	return merged(append([]Flow[K, V]{first}, others...))
}

func merged[K, V any](flows []Flow[K, V]) Flow[K, V] {
	x := flows[0]
	x.more = slices.Clone(x.more)
	for _, f := range flows[1:] {
		x.more = append(x.more, f.branches()...)
		if x.values == nil {
			x.values = f.values
		}
		if x.keys == nil {
			x.keys = f.keys
		}
	}
	return x
}

// byRoot puts together those of merged flows that begin at the same source or table.
func byRoot[K, V any](f Flow[K, V]) (roots [][]Flow[K, V]) {
	for _, x := range f.branches() {
		at := slices.IndexFunc(roots, func(same []Flow[K, V]) bool { return same[0].source == x.source && same[0].table == x.table })
		if at < 0 {
			roots = append(roots, []Flow[K, V]{x})
			continue
		}
		roots[at] = append(roots[at], x)
	}
	return roots
}
