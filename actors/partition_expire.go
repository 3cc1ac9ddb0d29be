package actors

import "time"

// tickEvery is how often a shard is told the time at most, for no other reason than that entries of it have expired by the wall clock.
// Operations and queries tell it whenever they come: what has expired is not seen, though it may not be deleted yet.
const tickEvery = 250 * time.Millisecond

// nextExpiry is when a shard is to be told the time; zero: not now. Careful mode gives it no epoch of its own.
func (s *partitionState) nextExpiry(t *tableSlot) time.Time {
	if t.expires == 0 || s.phase != running || s.careful != nil || s.halt != nil || s.beginning || t.sent != t.applied {
		return time.Time{}
	}
	at := time.UnixMilli(t.expires)
	if next := t.ticked.Add(tickEvery); next.After(at) {
		return next
	}
	return at
}

// maybeExpire lets shards delete what has expired by the wall clock.
func (s *partitionState) maybeExpire() {
	for i, t := range s.tables {
		if at := s.nextExpiry(t); !at.IsZero() && !s.now.Before(at) {
			s.tick(i)
		}
	}
}

// tick tells a shard what time it is. What it deletes for that belongs to the epoch, as all else.
func (s *partitionState) tick(table int) {
	t := s.tables[table]
	t.ticked = s.now
	s.fill.moved, s.dry = true, false
	s.apply(table, t.table.NewOps())
}
