package actors

import (
	"time"

	"github.com/troupe-stream/troupe/topology/plan"
)

// limiter bounds how many records an agent is given in any span of time: a sliding limit. Nil is none.
type limiter struct {
	plan.Throttle
	given []burst // within the last span, the oldest first
	count int     // of their records
}

// burst is how many records were given at a moment.
type burst struct {
	at time.Time
	n  int
}

func newLimiter(t *plan.Throttle) *limiter {
	if t == nil {
		return nil
	}
	return &limiter{Throttle: *t}
}

// look forgets what is longer ago than the span. After a clock that was set back, all of it is of now.
func (l *limiter) look(now time.Time) {
	if n := len(l.given); n > 0 && l.given[n-1].at.After(now) {
		for i := range l.given {
			if l.given[i].at.After(now) {
				l.given[i].at = now
			}
		}
	}
	for len(l.given) > 0 && !now.Before(l.given[0].at.Add(l.Per)) {
		l.count -= l.given[0].n
		l.given = l.given[1:]
	}
}

// room is how many records may be given now; limit where there is no limiter, or more.
func (l *limiter) room(now time.Time, limit int) int {
	if l == nil {
		return limit
	}
	l.look(now)
	return min(limit, max(l.N-l.count, 0))
}

// took notes that records were given.
func (l *limiter) took(now time.Time, n int) {
	if l == nil || n == 0 {
		return
	}
	l.count += n
	if last := len(l.given) - 1; last >= 0 && l.given[last].at.Equal(now) {
		l.given[last].n += n
		return
	}
	l.given = append(l.given, burst{now, n})
}

// gaveBack takes back that the records that were given last count: they come again, and were not begun.
func (l *limiter) gaveBack(n int) {
	if l == nil {
		return
	}
	for last := len(l.given) - 1; last >= 0 && n > 0; last-- {
		x := min(n, l.given[last].n)
		n, l.count = n-x, l.count-x
		if l.given[last].n -= x; l.given[last].n == 0 {
			l.given = l.given[:last]
		}
	}
}

// until is when more may be given; zero: now.
func (l *limiter) until(now time.Time) time.Time {
	if l == nil || l.room(now, 1) > 0 {
		return time.Time{}
	}
	return l.given[0].at.Add(l.Per)
}

// throttledUntil is when an agent for which records wait is given more; zero: its limit does not hold it back.
func (s *partitionState) throttledUntil(a *agentSlot) time.Time {
	if a.limit == nil || a.backing || !s.awaits(a) {
		return time.Time{}
	}
	return a.limit.until(s.now)
}

// awaits says whether there are records that an agent has not been given.
func (s *partitionState) awaits(a *agentSlot) bool {
	return a.source >= 0 && a.batch-s.sources[a.source].first < int64(len(s.sources[a.source].batches)) || s.dueParked(a) >= 0
}
