package topology

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/topology/plan"
)

// Merge makes one flow of several, of topics of one or of many. The records of each keep their order; between flows there is none, but that records of topics that feed one
// stage go by their timestamps. What ends the flow is one agent for each of them, named after its topic too (NAME-from-TOPIC), with a progress of its own.
// Where it ends in a table, by GroupByKey, the topics must be co-partitioned: Plan and the node's start check that. GroupBy, Repartition and To ask nothing of
// them; the repartition topic has as many partitions as the first one's.
func Merge[K, V any](first Flow[K, V], others ...Flow[K, V]) Flow[K, V] {
	m := first
	m.merged = slices.Clone(first.merged)
	for _, f := range others {
		if f.t != first.t {
			first.t.fault("the flow from topic %s is merged with one of another topology", first.source.name)
			continue
		}
		if m.values == nil {
			m.values = f.values
		}
		m.merged = append(m.merged, f.parts()...)
	}
	return m
}

// parts are the flows that a flow was merged of.
func (f Flow[K, V]) parts() []Flow[K, V] {
	one := f
	one.merged = nil
	return append([]Flow[K, V]{one}, f.merged...)
}

// partNames are the names of the agents of a merged flow.
func partNames(name string, sources []*topicDef) []string {
	if len(sources) == 1 {
		return []string{name}
	}
	var names []string
	times := map[*topicDef]int{}
	for _, s := range sources {
		n := name + "-from-" + s.name
		if times[s]++; times[s] > 1 {
			n = fmt.Sprintf("%s-%d", n, times[s])
		}
		names = append(names, n)
	}
	return names
}

// Branch splits a flow: each record goes to the flow of the first predicate that takes it, or to the last flow, behind those of all predicates, if none does
// (Kafka Streams: split, branch and defaultBranch). A predicate may be asked several times about a record: it must be pure.
func Branch[K, V any](f Flow[K, V], takes ...func(Event[K, V]) bool) []Flow[K, V] {
	for _, p := range takes {
		f.needs(p == nil, "Branch")
	}
	var branches []Flow[K, V]
	for i := range len(takes) + 1 {
		branch := Filter(f, func(ev Event[K, V]) bool {
			for _, before := range takes[:i] {
				if before(ev) {
					return false
				}
			}
			return i == len(takes) || takes[i](ev)
		})
		branches = append(branches, branch.renamed(fmt.Sprintf("branch %d", i+1)))
	}
	return branches
}

// renamed calls the last step something else.
func (f Flow[K, V]) renamed(step string) Flow[K, V] {
	f.steps = append(slices.Clone(f.steps[:len(f.steps)-1]), step)
	merged := make([]Flow[K, V], len(f.merged))
	for i, m := range f.merged {
		merged[i] = m.renamed(step)
	}
	f.merged = merged
	return f
}

// Echo sends the flow's records to several topics, to all or to none of them, with the times of their sources; headers are not passed on.
func Echo[K, V any](f Flow[K, V], topics []*Topic[K, V], opts ...FlowOption) {
	var names []string
	var sinks []AnyTopic
	for _, t := range topics {
		sinks = append(sinks, t)
		if t != nil {
			names = append(names, t.def.name)
		}
	}
	if len(topics) == 0 {
		f.t.fault("the flow from topic %s is echoed to no topic: pass some, or leave it out", f.source.name)
	}
	end := endOf("echo-"+strings.Join(names, "-"), opts)
	define(f, end.name, "echo to "+strings.Join(names, ", "), func(s *scope, ev Event[K, V]) error {
		for _, t := range topics {
			t.put(s, ev.Key, ev.Value, sending{nullKey: ev.NullKey, nullValue: ev.NullValue})
		}
		return nil
	}, Sends(sinks...))
}

// Through sends the flow's records to a topic, as To does, and goes on with what is in it: whatever else is written to the topic comes too.
func Through[K, V any](f Flow[K, V], topic *Topic[K, V], opts ...FlowOption) Flow[K, V] {
	To(f, topic, opts...)
	return From(topic)
}

// Repartition sends the flow's records through an internal topic with n partitions, TOPOLOGY-NAME-repartition, by the keys that they have, and goes on behind it: with more
// partitions, more nodes can share what follows; the steps before have as many as their topic. The topic is made and purged by the nodes; n cannot be changed once there are records
// in it. The name is that of the agent, too. How values are written is taken from the flow's topic, unless Map or FlatMap has changed them since: then WithValues must say it.
// Headers are not passed on.
func Repartition[K, V any](f Flow[K, V], name string, n int32, opts ...GroupOption[V]) Flow[K, V] {
	values := f.values
	for _, o := range opts {
		o(&values)
	}
	switch {
	case n <= 0:
		f.t.fault("repartition %s has %d partitions: pass a positive number", name, n)
	case values == nil:
		f.t.fault("repartition %s needs to know how to write values to its topic: pass it topology.WithValues(codec)", name)
		return f
	}
	topic := NewTopic(f.t, fmt.Sprintf("%s-%s-repartition", f.t.name, name), f.keys, values, Partitions(n))
	topic.def.kind = plan.Repartition
	return Through(f, topic, Named(name))
}

// Distinct lets through the first record of each key, and the next one that is within later than the last that it let through, by their timestamps; a record that is
// earlier than that one is none. within of 0 is for ever. What it has let through is in a table of its own, in milliseconds of the Unix epoch, which grows with the keys unless it forgets them; it
// is asked once per record. Records without a key are let through.
func Distinct[K, V any](f Flow[K, V], seen *Table[K, int64], within time.Duration) Flow[K, V] {
	if seen == nil {
		f.t.fault("the flow from topic %s has a step Distinct with a nil table: define the table first", f.source.name)
		return f
	}
	if within < 0 {
		f.t.fault("the flow from topic %s has a step Distinct within %v: pass a positive duration, or 0 for ever", f.source.name, within)
	}
	x := same(f, "distinct by "+seen.def.name, func(down func(*scope, Event[K, V]) error) func(*scope, Event[K, V]) error {
		return func(s *scope, ev Event[K, V]) error {
			if ev.NullKey {
				return down(s, ev)
			}
			ctx := &Context{s}
			last, ok, err := seen.Get(ctx, ev.Key)
			if err != nil {
				return err
			}
			now := s.timestamp()
			if ok && (within == 0 || now < last+within.Milliseconds()) {
				return nil
			}
			seen.Set(ctx, ev.Key, now)
			return down(s, ev)
		}
	})
	return x.uses(Writes(seen))
}

// uses declares what the last step touches.
func (f Flow[K, V]) uses(opts ...AgentOption) Flow[K, V] {
	f.options = append(slices.Clone(f.options), opts...)
	merged := make([]Flow[K, V], len(f.merged))
	for i, m := range f.merged {
		merged[i] = m.uses(opts...)
	}
	f.merged = merged
	return f
}
