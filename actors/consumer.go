package actors

import (
	"context"
	"log/slog"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// What the consumer's actor receives.
type (
	// fetched brings a batch from the polling goroutine.
	fetched struct{ batch *kafka.Batch }
	// startFetch routes the sources of a grant to its partition, and begins to read them.
	startFetch struct {
		grant     kafka.Grant
		from      []kafka.Position
		partition *actor.PID
		stage     *plan.Stage
	}
	// stopFetch ends the routes of a grant.
	stopFetch struct {
		slot        int32
		incarnation int64
	}
	pauseFetch  struct{ tp kafka.TopicPartition }
	resumeFetch struct{ tp kafka.TopicPartition }
)

// route says whose a topic-partition's records are.
type route struct {
	slot        int32
	incarnation int64
	source      int
	partition   *actor.PID
}

// consumer is the actor that routes what the group reads to the partitions that own it.
type consumer struct {
	group  kafka.Group
	routes map[kafka.TopicPartition]route
}

// Receive implements actor.Actor.
func (a *consumer) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case fetched:
		if r, ok := a.routes[kafka.TopicPartition{Topic: m.batch.Topic, Partition: m.batch.Partition}]; ok {
			c.Send(r.partition, Arrived{r.source, m.batch})
		}
	case startFetch:
		for _, p := range m.from {
			source := slices.IndexFunc(m.stage.Sources, func(t *plan.Topic) bool { return t.Name == p.Topic })
			a.routes[p.TopicPartition] = route{m.grant.Slot, m.grant.Incarnation, source, m.partition}
		}
		a.group.Assign(m.grant, m.from)
	case stopFetch:
		for tp, r := range a.routes {
			if r.slot == m.slot && r.incarnation == m.incarnation {
				delete(a.routes, tp)
			}
		}
	case pauseFetch:
		a.group.Pause(m.tp)
	case resumeFetch:
		a.group.Resume(m.tp)
	}
}

// groupHandler turns what the group says into messages. Its methods are called on the group's goroutines.
type groupHandler struct {
	slots    *slotTable
	ground   Ground
	node     *actor.PID
	consumer *actor.PID
	log      *slog.Logger
}

// slotTable says what slots stand for. It is immutable.
type slotTable struct {
	stages  map[int32]*plan.Stage
	numbers map[int32]int32 // partition of the stage
	later   map[int32]bool  // see startAt
}

// Sources implements kafka.GroupHandler.
func (h *groupHandler) Sources(slot int32) []kafka.TopicPartition {
	st := h.slots.stages[slot]
	if st == nil {
		return nil
	}
	var all []kafka.TopicPartition
	for _, t := range st.Sources {
		all = append(all, kafka.TopicPartition{Topic: t.Name, Partition: h.slots.numbers[slot]})
	}
	return all
}

// Taken implements kafka.GroupHandler.
func (h *groupHandler) Taken(grants []kafka.Grant) { h.ground.Send(h.node, takenSlots{grants}) }

// Release implements kafka.GroupHandler.
func (h *groupHandler) Release(ctx context.Context, slots []int32) []int32 {
	done := make(chan struct{})
	var released []int32
	reply := func(slots []int32) { released = slots; close(done) }
	h.ground.Send(h.node, releaseSlots{slots, deadlineOf(ctx, h.ground.Now()), reply})
	if err := h.ground.Await(ctx, done); err != nil {
		h.log.Warn("slots not released in time: their next owner fences this node", "slots", slots)
		h.ground.Send(h.node, lostSlots{slots, err})
		return nil
	}
	return released
}

// Lost implements kafka.GroupHandler.
func (h *groupHandler) Lost(slots []int32, why error) {
	h.ground.Send(h.node, lostSlots{slots, why})
}

// Joined implements kafka.JoinHandler.
func (h *groupHandler) Joined(member string, slots []int32) {
	h.ground.Send(h.node, joinedGroup{member, slots})
}

// Batch implements kafka.GroupHandler.
func (h *groupHandler) Batch(b *kafka.Batch) { h.ground.Send(h.consumer, fetched{b}) }

// Failed implements kafka.GroupHandler.
func (h *groupHandler) Failed(err error, fatal bool) {
	if fatal {
		h.ground.Send(h.node, nodeFailed{err})
		return
	}
	h.log.Warn("kafka client", "error", err)
}
