package actors

import (
	"time"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/topology/plan"
)

// A record that is suspect and fails with an error is retried in windows of its own, and nothing else of its partition runs meanwhile. If its handler waits for an answer of
// another partition, which may wait for one of this, no attempt succeeds. So the time is counted in which it is retried, in all: over windows and exclusive turns, and pauses
// between attempts. When patience is over, what is suspect is so at level 0, and all else goes on. One that fails in its first attempts and then kills has to do so
// within that time to be found. A handler that only runs for long fails nothing, and has the time of a window (turnLimit).

// noteFailed notes that an agent has failed with an error in a record, or before it could begin with it.
func (s *partitionState) noteFailed(i int, offset int64) {
	p, a := s.probe, s.agents[i]
	x, suspect := trial{i, offset}, offset >= 0 && p.isSuspect(i, offset)
	if a.agent.Fires != nil {
		x.offset, suspect = a.done.upTo, p.isSuspect(i, 0)
	}
	if _, known := p.again[x]; suspect && p.level > 0 && (!known || plant.Is("patience begins anew with each attempt")) {
		p.again[x] = 0
	}
}

// countRetries counts for how long what has failed has been retried since. It is called at the beginning of each step, and goes by what the one before has left.
func (s *partitionState) countRetries() {
	p := s.probe
	for x := range p.again {
		switch {
		case s.agents[x.agent].committed.has(x.offset):
			delete(p.again, x)
		case s.isRetried(x):
			p.again[x] += s.now.Sub(p.seen)
		}
	}
	p.seen = s.now
}

// isRetried says whether a record that has failed is why the partition does nothing else now: it is in hand, or its next attempt is what is waited for. It is not as long as others
// have the turn, or others of the partition are in hand: those may have to be found, too.
func (s *partitionState) isRetried(x trial) bool {
	p := s.probe
	if s.halt != nil || p.asked && !p.held || p.seen.Before(p.calm) {
		return false
	}
	others := false
	for i, a := range s.agents {
		for _, w := range a.works {
			if i == x.agent && (a.agent.Fires != nil || w.holds(x.offset)) {
				return true
			}
			others = others || a.agent.Role != plan.Task && !s.isFed(a) // what is in channels comes of it
		}
	}
	return !others
}

// holds says whether a record is among those of a work that are not done.
func (w *given) holds(offset int64) bool {
	r := w.records[min(w.done, len(w.records)-1)]
	return r.B != nil && offset >= r.B.Records[r.I].Offset && offset < w.end
}

// isImpatient says whether something has been retried for long enough.
func (s *partitionState) isImpatient() bool {
	for _, d := range s.probe.again {
		if d >= probePatience {
			return true
		}
	}
	return false
}

// patienceEnds is when what is retried has been so for long enough, if nothing changes; zero: nothing is.
func (s *partitionState) patienceEnds() (at time.Time) {
	for x, d := range s.probe.again {
		if end := s.now.Add(probePatience - d); s.isRetried(x) && (at.IsZero() || end.Before(at)) {
			at = end
		}
	}
	return at
}
