package actors

import (
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// forever is how long a changelog keeps deletions that never go, or of which the broker does not say.
const forever = time.Duration(math.MaxInt64)

// deletions knows for how long topics keep deletions, by delete.retention.ms as this process has seen it. A broker notes on a deletion when it
// may go, by the setting at that time, when it is first compacted (KIP-534): so the least since then counts, and not the one of now.
type deletions struct {
	mu   sync.Mutex
	seen map[string][]keeping // by topic, the oldest first
}

type keeping struct {
	from time.Time
	keep time.Duration
}

func newDeletions() *deletions { return &deletions{seen: map[string][]keeping{}} }

// note takes in what the broker says now.
func (d *deletions) note(now time.Time, have map[string]kafka.TopicState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, x := range have {
		keep, told := deletionsOf(x)
		if all := d.seen[name]; told && (len(all) == 0 || all[len(all)-1].keep != keep) {
			d.seen[name] = append(all, keeping{now, keep})
		}
	}
}

// least is the shortest that a topic has kept deletions since a time. Of the time before it was first seen nothing is known: it counts as then.
func (d *deletions) least(topic string, since time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	all, least := d.seen[topic], forever
	for i, x := range all {
		if i+1 == len(all) || all[i+1].from.After(since) {
			least = min(least, x.keep)
		}
	}
	return least
}

// Deletions is how long a topic keeps deletions, by delete.retention.ms; where they never go, or the broker does not say, as long as a Duration
// can be.
func Deletions(x kafka.TopicState) time.Duration {
	keep, _ := deletionsOf(x)
	return keep
}

// deletionsOf reads delete.retention.ms of a topic. told is false where the broker does not say.
func deletionsOf(x kafka.TopicState) (keep time.Duration, told bool) {
	ms, err := strconv.ParseInt(x.Config["delete.retention.ms"], 10, 64)
	switch {
	case err != nil:
		return forever, false
	case ms < 0 || ms > int64(forever/time.Millisecond):
		return forever, true
	}
	return time.Duration(ms) * time.Millisecond, true
}
