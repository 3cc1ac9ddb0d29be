package tables

import "time"

// TTL says that entries of a table expire.
type TTL struct {
	After time.Duration // after which an entry expires, unless its write says otherwise; 0: never
	Wall  bool          // by the wall clock, which Ops.Tick brings; else by the times of the records that write and read the table
}

// How many entries are deleted after one batch of operations at most: so many, and twice as many as there are operations, so that those that
// expire do not get ahead of it however long the load lasts. What is left is not seen any more, and goes with the next.
const (
	maxExpired       = 1000
	maxExpiredAtRest = 10_000 // where the batch only brings the time
)

// mayExpire is how many entries may be deleted after a batch of so many operations.
func mayExpire(ops int) int {
	if ops == 0 {
		return maxExpiredAtRest
	}
	return max(maxExpired, 2*ops)
}

// expiry knows when the entries of a shard expire. What is decided by time is decided by the shard's own clock, which operations
// bring forward, undo takes back, and whoever restores the shard is given (Config.Clock): so it comes to the same again.
type expiry struct {
	*side[int64]       // milliseconds since the Unix epoch
	after        int64 // milliseconds; 0: never
	wall         bool
	clock        int64 // entries up to this time have expired. It never goes back, but by undo
	at           int64 // time of the writes at hand: that of their record, which may be older than the clock
	clocks       []clockLog
}

// clockLog is what the clock was before an epoch.
type clockLog struct{ epoch, before int64 }

func newExpiry(t *TTL, clock int64) *expiry {
	if t == nil {
		return nil
	}
	return &expiry{side: newSide[int64](), after: t.After.Milliseconds(), wall: t.Wall, clock: clock, at: clock}
}

// tick brings the clock forward in an epoch, if the time is later.
func (x *expiry) tick(epoch, at int64) {
	if at <= x.clock {
		return
	}
	if n := len(x.clocks); n == 0 || x.clocks[n-1].epoch < epoch {
		x.clocks = append(x.clocks, clockLog{epoch, x.clock})
	}
	x.clock = at
}

func (x *expiry) undo(to int64) {
	x.side.undo(to)
	for n := len(x.clocks); n > 0 && x.clocks[n-1].epoch > to; n = len(x.clocks) {
		x.clock, x.clocks = x.clocks[n-1].before, x.clocks[:n-1]
	}
}

func (x *expiry) committed(epoch int64) {
	x.side.committed(epoch)
	for len(x.clocks) > 0 && x.clocks[0].epoch <= epoch {
		x.clocks = x.clocks[1:]
	}
}

// gone says whether an entry has expired for a reader.
func (x *expiry) gone(key string, committed bool) bool {
	if x == nil {
		return false
	}
	clock := x.clock
	if committed && len(x.clocks) > 0 {
		clock = x.clocks[0].before
	}
	at, ok := x.get(key, committed)
	return ok && at <= clock
}

// due returns up to limit keys that have expired; 0: all.
func (x *expiry) due(limit int) (keys []string) {
	x.tree.Scan(func(m mark[int64]) bool {
		if m.val > x.clock || limit > 0 && len(keys) == limit {
			return false
		}
		keys = append(keys, m.key)
		return true
	})
	return keys
}

// written notes that an entry was written: it expires when the table says so, or ms after the write.
func (x *expiry) written(epoch int64, key string, ms int64) {
	if x == nil {
		return
	}
	x.touch(epoch, key)
	if ms <= 0 {
		x.drop(key)
		return
	}
	x.put(key, x.at+ms)
}

// deleted notes that an entry is no more.
func (x *expiry) deleted(epoch int64, key string) {
	if x != nil {
		x.touch(epoch, key)
		x.drop(key)
	}
}

// begin sets the time of what comes: of a record, or 0 for one that has none and for what comes from nobody's turn.
func (x *expiry) begin(epoch, at int64) {
	if x == nil {
		return
	}
	if at <= 0 || x.wall {
		at = x.clock
	}
	x.tick(epoch, at)
	x.at = at
}

// expire deletes what has expired.
func (s *ShardOf[V]) expire(epoch int64, ops int) {
	if s.ttl == nil {
		return
	}
	for _, key := range s.ttl.due(mayExpire(ops)) {
		s.delete(epoch, keyBytes(key))
	}
}

// NextExpiry implements Shard.
func (s *ShardOf[V]) NextExpiry() int64 {
	if s.ttl == nil || !s.ttl.wall {
		return 0
	}
	if m, ok := s.ttl.tree.Min(); ok {
		return m.val
	}
	return 0
}

// Clock implements Shard.
func (s *ShardOf[V]) Clock() int64 {
	if s.ttl == nil {
		return 0
	}
	return s.ttl.clock
}
