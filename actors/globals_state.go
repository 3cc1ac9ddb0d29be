package actors

import (
	"fmt"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// globalsState knows how far the node's copies of topics have been read, and which offsets they must have reached before the first record
// is processed.
type globalsState struct {
	plan    *plan.Plan
	copies  []tables.Replica // by the IDs of global tables
	parts   map[kafka.TopicPartition]*globalPart
	order   []kafka.TopicPartition // of parts
	pending int                    // parts that have not come to their end
	ready   bool                   // all is read that was there when the node started
}

// globalPart is one partition of a topic that a global table copies.
type globalPart struct {
	start, position, end int64 // position -1: it is not known yet where it begins
	through              bool  // position has reached end
}

func newGlobalsState(p *plan.Plan, env *plan.Env) *globalsState {
	s := &globalsState{plan: p, copies: env.Globals, parts: map[kafka.TopicPartition]*globalPart{}}
	for _, t := range p.Topics {
		for part := range env.Partitions[t.ID] {
			if t.Global {
				tp := kafka.TopicPartition{Topic: t.Name, Partition: part}
				s.parts[tp], s.order = &globalPart{position: -1}, append(s.order, tp)
			}
		}
	}
	s.pending = len(s.order)
	s.ready = s.pending == 0
	return s
}

// locate takes where logs begin and end now, after a start or a failure to read, and returns from where they are to be read. The ends are those of all
// that is written, transactions in flight included. An error is for good: what was read is not what the log has.
func (s *globalsState) locate(starts, ends map[kafka.TopicPartition]int64) ([]kafka.Position, error) {
	again := false
	for _, tp := range s.order {
		p := s.parts[tp]
		switch out := p.position < starts[tp] || p.position > ends[tp]; {
		case p.position < 0 || !out:
		case s.ready:
			return nil, fmt.Errorf("%s/%d has the offsets %d to %d, and the node's copy has been read to %d: records were deleted that it has not seen, or the topic was made anew; a restart reads all that it has",
				tp.Topic, tp.Partition, starts[tp], ends[tp], p.position)
		default: // it is being read for the first time, and retention was faster
			again = true
		}
	}
	if again {
		for _, c := range s.copies {
			c.Clear()
		}
		for _, p := range s.parts {
			*p = globalPart{position: -1}
		}
		s.pending = len(s.order)
	}
	from := make([]kafka.Position, 0, len(s.order))
	for _, tp := range s.order {
		p := s.parts[tp]
		if p.position < 0 {
			p.start, p.position, p.end = starts[tp], starts[tp], ends[tp]
		}
		s.pass(p)
		from = append(from, kafka.Position{TopicPartition: tp, Offset: p.position})
	}
	return from, nil
}

// pass notes that a part has come to its end.
func (s *globalsState) pass(p *globalPart) {
	if !p.through && p.position >= p.end {
		p.through = true
		s.pending--
		s.ready = s.ready || s.pending == 0
	}
}

// read takes a batch into the copies of its topic.
func (s *globalsState) read(b *kafka.Batch) error {
	p := s.parts[kafka.TopicPartition{Topic: b.Topic, Partition: b.Partition}]
	if p == nil || p.position < 0 || b.Next <= p.position {
		return nil // of an assignment that is gone
	}
	for i, g := range s.plan.Globals {
		if g.Topic.Name != b.Topic || len(b.Records) == 0 {
			continue
		}
		if _, err := protect(func() error { return s.copies[i].Apply(b) }); err != nil {
			return err
		}
	}
	p.position = b.Next
	s.pass(p)
	return nil
}

// progress is how many of the offsets that were there at the start have been passed.
func (s *globalsState) progress() (done, total int64) {
	for _, p := range s.parts {
		if p.position >= 0 {
			total += p.end - p.start
			done += min(p.position, p.end) - p.start
		}
	}
	return done, total
}
