package topology

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // a line with a time zone must not be a fault on machines without zone files only

	"github.com/robfig/cron/v3"

	"github.com/troupe-stream/troupe/topology/plan"
)

// Cron defines a timer that is called at the moments that a crontab line names: minute, hour, day of the month, month and day of the week,
// or @hourly, @daily, @weekly, @monthly, @yearly. It is called as one of Every is: once per topology, or per partition of the tables that it
// reads; exactly once through restarts; moments that were missed are one call, which counts them.
//
// Times are those of UTC, or of the zone that the line begins with: "CRON_TZ=Europe/Berlin 0 4 * * *". When clocks are put forward, moments
// that are skipped come at once, together; when they are put back, those of the hour that comes twice are not repeated. A line with a star
// in its minute or hour goes by what the clock shows: it has nothing in an hour that is skipped, and runs in both of one that comes
// twice. That is what cron does (Vixie's and Debian's, cron(8)); Faust and robfig/cron leave moments out, or repeat them.
func Cron(t *Topology, name, line string, fn func(ctx *TaskContext) error, opts ...AgentOption) {
	a := t.newAgent(name, plan.Timer, nil, opts)
	next, err := parseCron(line)
	if err != nil {
		t.fault("timer %s has the crontab line %q: %w", name, line, err)
	}
	a.cron = &plan.Cron{Line: line, Next: next}
	a.check(fn == nil)
	a.program = func() plan.Program { return program(a.turns(fn, false)) }
}

// cronFields is what a line consists of.
const cronFields = cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor

// parseCron reads a crontab line. The function that it returns gives the first moment after another one.
func parseCron(line string) (func(time.Time) time.Time, error) {
	zone, rest, err := cutZone(line)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(rest, "@every") {
		return nil, errors.New("intervals are not tied to the clock: use topology.Every")
	}
	parsed, err := cron.NewParser(cronFields).Parse(rest)
	if err != nil {
		return nil, fmt.Errorf("%w; write minute, hour, day of the month, month and day of the week, such as \"0 4 * * 1-5\", behind \"CRON_TZ=Europe/Berlin \" if need be", err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("it names no moments of the clock: use topology.Every for intervals")
	}
	spec.Location = time.UTC // of what clocks show
	c := &crontab{shown: spec, zone: zone, stars: isStarred(rest)}
	if spec.Next(time.Unix(0, 0).UTC()).IsZero() {
		return nil, errors.New("it names a day that never comes: check day and month")
	}
	return c.next, nil
}

// cutZone takes the time zone off a line.
func cutZone(line string) (zone *time.Location, rest string, err error) {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "TZ=") && !strings.HasPrefix(line, "CRON_TZ=") {
		return time.UTC, line, nil
	}
	assignment, rest, _ := strings.Cut(line, " ")
	_, name, _ := strings.Cut(assignment, "=")
	if zone, err = time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return nil, "", fmt.Errorf("there is no time zone %q: take a name of the IANA database, such as Europe/Berlin", name)
	}
	if rest = strings.TrimSpace(rest); strings.Contains(rest, "TZ=") {
		return nil, "", errors.New("it names two time zones: leave one out")
	}
	return zone, rest, nil
}

// isStarred says whether a line goes by what the clock shows, minute by minute or hour by hour.
func isStarred(line string) bool {
	f := strings.Fields(line)
	if len(f) == 1 {
		return f[0] == "@hourly"
	}
	return strings.ContainsAny(f[0]+f[1], "*?")
}

// crontab is a line that has been read. What clocks show is written as times of UTC.
type crontab struct {
	shown cron.Schedule // of what clocks show
	zone  *time.Location
	stars bool
}

// never is when a line is due again that has no moment for years. robfig/cron looks five years ahead; February 29 may be eight away.
const never = 100 * 365 * 24 * time.Hour

func (c *crontab) nextShown(after time.Time) time.Time {
	for range 3 {
		if next := c.shown.Next(after); !next.IsZero() {
			return next
		}
		after = after.AddDate(4, 0, 0)
	}
	return after.Add(never)
}

// shows is what clocks in a zone show at a moment.
func shows(at time.Time, zone *time.Location) time.Time {
	_, offset := at.In(zone).Zone()
	return at.UTC().Add(time.Duration(offset) * time.Second)
}

func (c *crontab) next(after time.Time) time.Time {
	if c.stars {
		return c.nextOnClock(after)
	}
	for shown := c.nextShown(shows(after, c.zone)); ; shown = c.nextShown(shown) {
		if at := c.moment(shown); at.After(after) { // else it is of the first of two hours that are shown alike
			return at
		}
	}
}

// nextOnClock follows the clock from one change of it to the next.
func (c *crontab) nextOnClock(after time.Time) time.Time {
	for {
		_, offset := after.In(c.zone).Zone()
		at := c.nextShown(shows(after, c.zone)).Add(-time.Duration(offset) * time.Second)
		_, end := after.In(c.zone).ZoneBounds()
		if end.IsZero() || at.Before(end) {
			return at
		}
		if shown := shows(end, c.zone); c.nextShown(shown.Add(-time.Second)).Equal(shown) {
			return end.UTC()
		}
		after = end
	}
}

// moment is when clocks show something: the first time if they do so twice, and when they are put forward if never.
func (c *crontab) moment(shown time.Time) time.Time {
	at := time.Date(shown.Year(), shown.Month(), shown.Day(), shown.Hour(), shown.Minute(), shown.Second(), 0, c.zone)
	start, end := at.ZoneBounds()
	switch d := shows(at, c.zone).Sub(shown); {
	case d > 0:
		return start.UTC()
	case d < 0:
		return end.UTC()
	case start.IsZero():
		return at.UTC()
	}
	_, before := start.Add(-time.Second).Zone()
	if first := shown.Add(-time.Duration(before) * time.Second); first.Before(start) {
		return first
	}
	return at.UTC()
}
