package actors

import "github.com/troupe-stream/troupe/topology/plan"

// An agent with concurrency has several lanes: workers of one incarnation, each of which is given the records of its keys, in order. A run of
// records becomes a work for each lane; what is done of them need not be done in order, and is kept as ranges behind the first gap.

// laneOf is the lane of a record: always the same for a key. Records without one are spread. It has nothing to do with what
// partitions a key is spread over: else all keys of a partition could have one lane.
func laneOf(r plan.Rec, lanes int) int {
	h, keyed := uint64(14695981039346656037), false // FNV-1a
	if all, ok := r.B.Values.(plan.KeyHasher); ok {
		h, keyed = all.KeyHash(r.I)
	} else {
		key := r.B.Key(r.I)
		keyed = key != nil
		for _, c := range key {
			h = (h ^ uint64(c)) * 1099511628211
		}
	}
	if !keyed {
		return int(r.B.Records[r.I].Offset % int64(lanes))
	}
	return int((h * 0x9E3779B97F4A7C15 >> 33) % uint64(lanes)) //nolint:gosec // small
}

// giveLanes gives each lane its part of a work.
func (s *partitionState) giveLanes(i int, w *given) {
	a := s.agents[i]
	works := make([]*given, a.lanes)
	from := w.start
	for j, r := range w.records {
		to := w.end
		if j+1 < len(w.records) {
			to = w.records[j+1].B.Records[w.records[j+1].I].Offset
		}
		lane := laneOf(r, a.lanes)
		x := works[lane]
		if x == nil {
			x = &given{id: s.id(), start: from}
			works[lane] = x
		}
		x.records, x.spans, x.end = append(x.records, r), append(x.spans, offsets{from, to}), to
		from = to
	}
	for lane, x := range works {
		if x != nil {
			a.works, a.records = append(a.works, x), a.records+len(x.records)
			s.emit(toAgent{i, Work{Incarnation: a.incarnation, ID: x.id, Lane: lane, Records: x.records, Hurry: s.hurries(a)}})
		}
	}
}

// inOrder says whether what an agent is given is done in order.
func (a *agentSlot) inOrder() bool { return a.agent.Raw == nil && a.lanes == 1 }
