package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/troupe-stream/troupe/topology/plan"
)

// Branch splits a flow: each record goes to the flow of the first predicate that takes it, or to the last flow, behind those of all predicates, if none does
// (Kafka Streams: split, branch and defaultBranch). A predicate may be asked several times about a record: it must be pure.
func Branch[K, V any](f Flow[K, V], takes ...func(Event[K, V]) bool) []Flow[K, V] {
	for _, p := range takes {
		f.needs(p == nil, "Branch")
	}
	var branches []Flow[K, V]
	one := f.t.grow(append(slices.Clone(f.steps), "branches")) // those that nothing goes on from are dropped: that is what they are for
	for i := range len(takes) + 1 {
		branch := Filter(f, func(ev Event[K, V]) bool {
			for _, before := range takes[:i] {
				if before(ev) {
					return false
				}
			}
			return i == len(takes) || takes[i](ev)
		})
		branches = append(branches, branch.renamed(fmt.Sprintf("branch %d", i+1)).all(func(x *Flow[K, V]) {
			x.leaf.use()
			x.leaf = one
		}))
	}
	return branches
}

// renamed calls the last step something else.
func (f Flow[K, V]) renamed(step string) Flow[K, V] {
	return f.all(func(x *Flow[K, V]) { x.steps = append(slices.Clone(x.steps[:len(x.steps)-1]), step) })
}

// Echo sends the flow's records to several topics, to all or to none of them, with their times and headers, as To does.
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
		f.t.fault("the flow of %s is echoed to no topic: pass some, or leave it out", f.root())
	}
	end := endOf("echo-"+strings.Join(names, "-"), opts)
	define(f, end.name, "echo to "+strings.Join(names, ", "), func(s *scope, ev Event[K, V]) error {
		for _, t := range topics {
			t.put(s, ev.Key, ev.Value, s.onward(ev.NullKey, ev.NullValue))
		}
		return nil
	}, Sends(sinks...))
}

// Through sends the flow's records to a topic, as To does, and goes on with what is in it: whatever else is written to the topic comes too.
func Through[K, V any](f Flow[K, V], topic *Topic[K, V], opts ...FlowOption) Flow[K, V] {
	To(f, topic, opts...)
	on := From(topic)
	on.use() // the topic is worth something if nothing goes on from it, too
	return on
}

// Repartition sends the flow's records through an internal topic with n partitions, TOPOLOGY-NAME-repartition, by the keys that they have, and goes on behind it: with more
// partitions, more nodes can share what follows; the steps before have as many as their topic. The topic is made and purged by the nodes; n cannot be changed once there are records
// in it. The name is that of the agent, too. How values are written is taken from the flow's topic, unless Map or FlatMap has changed them since: then WithValues must say it.
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
	To(f, topic, Named(name))
	return From(topic)
}
