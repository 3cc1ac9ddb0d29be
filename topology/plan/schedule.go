package plan

import "time"

// Cron is a crontab line that has been read.
type Cron struct {
	Line string // as it was written
	// Next is the first moment after the given one that the line names. Later ones have later moments.
	Next func(after time.Time) time.Time
}

// Next is when a timer is due that fired last at a moment, or began to run then.
func (a *Agent) Next(after time.Time) time.Time {
	if a.Cron != nil {
		return a.Cron.Next(after)
	}
	return after.Add(a.Every)
}

// Latest is the last moment up to now at which a timer was due that is due since the given one, and how many before it were missed: they
// are one turn.
func (a *Agent) Latest(due, now time.Time) (at time.Time, missed int) {
	if now.Before(due) {
		return due, 0
	}
	if a.Cron == nil {
		late := now.Sub(due)
		return due.Add(late.Truncate(a.Every)), int(late / a.Every)
	}
	at = due
	for next := a.Cron.Next(at); !next.After(now); next = a.Cron.Next(at) {
		at = next
		missed++
	}
	return at, missed
}
