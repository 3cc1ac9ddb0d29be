package actors

import (
	"cmp"
	"slices"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

func (s *partitionState) onArrived(m Arrived) {
	q := s.sources[m.Source]
	b := m.Batch
	if b.Next <= q.position || s.phase == gone {
		return // read again: it is here already
	}
	for len(b.Records) > 0 && b.Records[0].Offset < q.position {
		trimmed := *b
		trimmed.Records = b.Records[1:]
		b = &trimmed
	}
	if q.topic.EventTime != nil {
		b = timed(q.topic, b)
	}
	q.position = b.Next
	q.batches, q.records = append(q.batches, b), q.records+len(b.Records)
	s.maybePause(m.Source)
}

// timed is a batch with the event times of its records. The function is the user's: where it fails, the record has none, and fails when it is an
// agent's turn. It runs on another goroutine: a runtime.Goexit in it would end the mailbox's.
func timed(t *plan.Topic, b *kafka.Batch) *kafka.Batch {
	times := make([]int64, len(b.Records))
	for i := 0; i < len(times); i++ { // once, unless a goroutine is ended
		_, _ = protectAside(func() error {
			for ; i < len(times); i++ {
				times[i] = -1
				_, _ = protect(func() error {
					at, err := t.EventTime(b, i)
					if err == nil {
						times[i] = max(at, -1)
					}
					return err
				})
			}
			return nil
		})
	}
	x := *b
	x.Times = times
	return &x
}

// pending is how much of a source has not been given to its slowest agent.
func (s *partitionState) pending(i int) (records, bytes int) {
	q := s.sources[i]
	slowest := q.first + int64(len(q.batches))
	for _, a := range s.agents {
		if a.source == i {
			slowest = min(slowest, a.batch)
		}
	}
	for _, b := range q.batches[max(slowest-q.first, 0):] {
		records, bytes = records+len(b.Records), bytes+len(b.Arena)
	}
	return records, bytes
}

// queued is how many records of a source wait for its slowest agent to be given them, parked ones too.
func (s *partitionState) queued(i int) (most int) {
	q := s.sources[i]
	for _, a := range s.agents {
		if a.source != i {
			continue
		}
		n := -a.record
		for _, b := range q.batches[max(a.batch-q.first, 0):] {
			n += len(b.Records)
		}
		for _, p := range a.parked {
			if !p.given {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// maybePause pauses or resumes a source by its water marks.
func (s *partitionState) maybePause(i int) {
	q := s.sources[i]
	if !q.paused && q.records < lowMark {
		return
	}
	records, bytes := s.pending(i)
	switch {
	case !q.paused && (records > highMark || bytes > highBytes || q.records > maxHeld):
		q.paused = true
		s.emit(pauseSource{i})
	case q.paused && records < lowMark && bytes < lowBytes && q.records < maxHeld:
		q.paused = false
		s.emit(resumeSource{i})
	}
}

// trim forgets the batches that no agent needs any more, whatever happens.
func (s *partitionState) trim() {
	for i, q := range s.sources[:len(s.stage.Sources)] {
		keep := int64(-1)
		for _, a := range s.agents {
			if a.source == i && (keep < 0 || a.committed.upTo < keep) {
				keep = a.committed.upTo
			}
		}
		n := 0
		for n < len(q.batches) && q.batches[n].Next <= keep {
			q.records -= len(q.batches[n].Records)
			n++
		}
		if n == 0 {
			continue
		}
		s.cut(i, n)
		s.maybePause(i)
	}
}

// seek puts an agent's cursor at the first record that it has not done.
func (s *partitionState) seek(a *agentSlot) {
	a.works, a.records, a.ran = nil, 0, false
	if f := s.firing; f != nil && s.agents[f.slot.agent] == a {
		s.firing = nil
	}
	for i := range a.parked {
		a.parked[i].given = a.done.has(a.parked[i].offset) // else it is to be given again
	}
	if a.source < 0 {
		return
	}
	q := s.sources[a.source]
	a.batch, a.record = q.first, 0
	for i, b := range q.batches {
		if b.Next <= a.done.upTo {
			a.batch = q.first + int64(i) + 1
			continue
		}
		a.record, _ = slices.BinarySearchFunc(b.Records, a.done.upTo, func(r kafka.Record, at int64) int { return cmp.Compare(r.Offset, at) })
		return
	}
}
