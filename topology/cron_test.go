package topology

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// nexts are the moments of a line behind a moment, as clocks of its zone show them.
func nexts(t *testing.T, line, after string, n int) (all []string) {
	t.Helper()
	zone, _, err := cutZone(line)
	require.NoError(t, err)
	next, err := parseCron(line)
	require.NoError(t, err)
	at, err := time.ParseInLocation("2006-01-02 15:04:05 MST", after, zone)
	if err != nil {
		at, err = time.Parse("2006-01-02 15:04:05 -0700", after)
	}
	require.NoError(t, err)
	for range n {
		at = next(at)
		all = append(all, at.In(zone).Format("01-02 15:04 MST"))
	}
	return all
}

func TestCronLines(t *testing.T) {
	t.Parallel()
	const berlin, howe = "CRON_TZ=Europe/Berlin ", "TZ=Australia/Lord_Howe "
	for _, x := range []struct{ line, after, want string }{
		{"0 4 * * *", "2026-03-28 12:00:00 UTC", "03-29 04:00 UTC, 03-30 04:00 UTC"},
		{"*/15 9-17 * * 1-5", "2026-03-27 17:40:30 UTC", "03-27 17:45 UTC, 03-30 09:00 UTC"},
		{"@monthly", "2026-03-27 17:40:30 UTC", "04-01 00:00 UTC, 05-01 00:00 UTC"},
		{"0 0 29 2 *", "2096-03-01 00:00:00 UTC", "02-29 00:00 UTC, 02-29 00:00 UTC"},
		{berlin + "0 4 * * *", "2026-03-28 12:00:00 CET", "03-29 04:00 CEST, 03-30 04:00 CEST"},
		// Clocks go from 02:00 CET to 03:00 CEST: what is skipped comes then, once.
		{berlin + "30 2 * * *", "2026-03-28 12:00:00 CET", "03-29 03:00 CEST, 03-30 02:30 CEST"},
		{berlin + "0,20,40 2 * * *", "2026-03-29 01:00:00 CET", "03-29 03:00 CEST, 03-30 02:00 CEST"},
		{berlin + "0 2,3 * * *", "2026-03-29 01:00:00 CET", "03-29 03:00 CEST, 03-30 02:00 CEST"},
		// Stars go by what the clock shows.
		{berlin + "*/30 * * * *", "2026-03-29 01:00:00 CET", "03-29 01:30 CET, 03-29 03:00 CEST, 03-29 03:30 CEST"},
		{berlin + "@hourly", "2026-03-29 00:30:00 CET", "03-29 01:00 CET, 03-29 03:00 CEST, 03-29 04:00 CEST"},
		{berlin + "* 2 * * *", "2026-03-29 01:00:00 CET", "03-30 02:00 CEST, 03-30 02:01 CEST"},
		// Clocks go from 03:00 CEST to 02:00 CET: an hour comes twice.
		{berlin + "30 2 * * *", "2026-10-24 12:00:00 CEST", "10-25 02:30 CEST, 10-26 02:30 CET"},
		{berlin + "30 2 * * *", "2026-10-25 02:10:00 CET", "10-26 02:30 CET"},
		{berlin + "0 3 * * *", "2026-10-24 12:00:00 CEST", "10-25 03:00 CET, 10-26 03:00 CET"},
		{berlin + "*/30 2 * * *", "2026-10-25 00:00:00 CEST", "10-25 02:00 CEST, 10-25 02:30 CEST, 10-25 02:00 CET, 10-25 02:30 CET, 10-26 02:00 CET"},
		{berlin + "@hourly", "2026-10-25 01:10:00 CEST", "10-25 02:00 CEST, 10-25 02:00 CET, 10-25 03:00 CET"},
		// Half an hour: from 02:00 to 02:30 in October, from 02:00 to 01:30 in April.
		{howe + "15 2 * * *", "2026-10-03 12:00:00 +1030", "10-04 02:30 +11, 10-05 02:15 +11"},
		{howe + "45 1 * * *", "2026-04-04 12:00:00 +1100", "04-05 01:45 +11, 04-06 01:45 +1030"},
		{howe + "0 * * * *", "2026-04-05 00:30:00 +1100", "04-05 01:00 +11, 04-05 02:00 +1030, 04-05 03:00 +1030"},
	} {
		want := strings.Split(x.want, ", ")
		require.Equal(t, want, nexts(t, x.line, x.after, len(want)), "%s after %s", x.line, x.after)
	}
}

func TestCronFaults(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                                 "write minute, hour",
		"0 4 * *":                          "write minute, hour",
		"61 * * * *":                       "end of range (61) above maximum (59)",
		"* * * * * *":                      "expected exactly 5 fields",
		"CRON_TZ=Europe/Berlin":            "write minute, hour",
		"CRON_TZ=Mars/Base 0 4 * * *":      "there is no time zone \"Mars/Base\": take a name of the IANA database, such as Europe/Berlin",
		"TZ=Local 0 4 * * *":               "there is no time zone \"Local\"",
		"TZ= 0 4 * * *":                    "there is no time zone",
		"TZ=UTC CRON_TZ=Asia/Tokyo":        "it names two time zones",
		"@every 1h":                        "use topology.Every",
		"@reboot":                          "unrecognized descriptor",
		"0 0 30 2 *":                       "it names a day that never comes",
		"CRON_TZ=Europe/Berlin 0 0 31 4 *": "it names a day that never comes",
	} {
		topo := New("t")
		Cron(topo, "nightly", line, func(*TaskContext) error { return nil })
		_, err := topo.Plan()
		require.ErrorContains(t, err, fmt.Sprintf("timer nightly has the crontab line %q: ", line))
		require.ErrorContains(t, err, want)
	}
}

// A line with stars names each minute at which the clock shows it, one without them each day's time once, whatever clocks do.
func TestCronModel(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Africa/Casablanca", "Asia/Kathmandu", "Africa/Cairo"}
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		require.NoError(t, err)
		minute, hour := rapid.IntRange(0, 59).Draw(t, "minute"), rapid.IntRange(0, 23).Draw(t, "hour")
		from := time.Unix(rapid.Int64Range(1_600_000_000, 1_900_000_000).Draw(t, "from"), 0)
		if rapid.Bool().Draw(t, "at a change of the clock") {
			if _, end := from.In(zone).ZoneBounds(); !end.IsZero() {
				from = end.Add(time.Duration(rapid.IntRange(-5*60, 60).Draw(t, "minutes")) * time.Minute)
			}
		}
		line := fmt.Sprintf("CRON_TZ=%s %d %d * * *", zone, minute, hour)
		stars := rapid.Bool().Draw(t, "stars")
		if stars {
			line = fmt.Sprintf("CRON_TZ=%s %d * * * *", zone, minute)
		}
		next, err := parseCron(line)
		require.NoError(t, err)
		var got []time.Time
		end := from.Add(72 * time.Hour)
		for at := next(from); at.Before(end); at = next(at) {
			require.True(t, len(got) == 0 || at.After(got[len(got)-1]))
			got = append(got, at)
		}
		if stars {
			var want []time.Time
			for at := from.Truncate(time.Minute).Add(time.Minute).UTC(); at.Before(end); at = at.Add(time.Minute) {
				if at.In(zone).Minute() == minute {
					want = append(want, at)
				}
			}
			require.Equal(t, want, got)
			return
		}
		days := map[string]int{}
		for _, at := range got {
			days[at.In(zone).Format(time.DateOnly)]++
		}
		for day, n := range days {
			require.Equal(t, 1, n, day)
		}
		require.GreaterOrEqual(t, len(got), 2)
		require.LessOrEqual(t, len(got), 4)
	})
}
