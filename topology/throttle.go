package topology

import (
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/topology/plan"
)

// Throttle makes of a source one whose records are handed out no faster than n in any span of time as long as per, for an agent or a flow that calls what takes no more:
// topology.From(topology.Throttle(orders, 100, time.Second)). Nothing is dropped, and the order stays: what may not be handed out yet waits where
// all records wait, in the partition's queue up to its usual bounds and then in Kafka.
//
// The limit is one of each agent in each partition: a topic with twelve partitions is read twelve times as fast in all, whatever the number of nodes, and of Sources
// each topic has a limit of its own. A record counts when it is handed out to the agent, those that a Filter drops behind it and further attempts too; Batches are
// gathered of what has been handed out. Agents that take turns by the times of their records, because they write tables that are joined (see Join), take turns with what is handed out to this one, too: a
// record of theirs that is younger than one which must wait waits with it. Elsewhere agents wait for none but themselves. The limit is kept in memory: where a partition begins to run, after a restart or on another node, up to n records are handed out at
// once. A channel cannot be throttled, since nothing could be committed meanwhile.
func Throttle[K, V any](source Source[K, V], n int, per time.Duration) Source[K, V] {
	switch x := source.(type) {
	case *sources[K, V]:
		parts := &sources[K, V]{}
		for _, part := range x.all {
			parts.all = append(parts.all, Throttle(part, n, per))
		}
		return parts
	case *throttled[K, V]:
		x.topic().t.fault("%s %s is throttled twice, to %v and to %d in %v: do it once", x.topic().what(), x.topic().name, x.limit, n, per)
		return x
	}
	if sourceOf(source) == nil {
		return source // a fault of the agent's
	}
	return &throttled[K, V]{source, &plan.Throttle{N: n, Per: per}}
}

// throttled is a source with a limit. Nothing but split and From looks at it.
type throttled[K, V any] struct {
	Source[K, V]
	limit *plan.Throttle
}

// limitOf takes a source and its limit apart.
func limitOf[K, V any](source Source[K, V]) (Source[K, V], *plan.Throttle) {
	if x, ok := source.(*throttled[K, V]); ok {
		return x.Source, x.limit
	}
	return source, nil
}

// limitedTo gives an agent a limit; nil: none.
func limitedTo(l *plan.Throttle) AgentOption {
	return func(a *agentDef) {
		if a.throttle = l; l != nil && (l.N < 1 || l.Per <= 0) {
			a.t.fault("%s %s is throttled to %v: pass a positive number and a positive duration", roleOf(a), a.name, l)
		}
	}
}

// checkLimits finds merged flows of one source that want it at several speeds.
func checkLimits[K, V any](flows []Flow[K, V]) {
	for _, x := range flows[1:] {
		if a, b := fmt.Sprint(flows[0].limit), fmt.Sprint(x.limit); a != b {
			x.t.fault("flows of topic %s are merged, and throttled differently, to %s and to %s: they are one agent; throttle them alike", x.root(), a, b)
		}
	}
}
