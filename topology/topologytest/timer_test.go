package topologytest_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func write(b bench) {
	topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
		b.table.Set(ctx, ev.Key, int64(len(ev.Value)))
		return nil
	}, topology.Writes(b.table))
}

// SEMANTICS 1: by the wall clock a timer is called first an interval after its start, and intervals that were missed are one call; a restart calls nothing again.
func TestTimer(t *testing.T) {
	t.Parallel()
	b := newBench()
	write(b)
	topology.Every(b.topo, "tick", time.Minute, func(ctx *topology.TaskContext) error {
		b.out.Send(ctx, "tick", ctx.Due.UTC().Format(time.TimeOnly))
		return nil
	}, topology.Sends(b.out))
	d := topologytest.New(t, b.topo)
	d.Advance(59 * time.Second)
	require.Empty(t, values(d, b.out))
	d.Advance(time.Second)
	require.Len(t, values(d, b.out), 1, "once for the topology, not per partition")
	d.Advance(10 * time.Minute)
	require.Len(t, values(d, b.out), 2, "intervals that were missed are one call")
	d.Crash()
	require.Len(t, values(d, b.out), 2, "a restart doubles nothing")
	d.Advance(time.Minute)
	require.Len(t, values(d, b.out), 3)
	require.Empty(t, d.Failures())
}

// One that reads a table is called in each of its partitions, and sees the entries there.
func TestTimerOfATable(t *testing.T) {
	t.Parallel()
	b := newBench()
	write(b)
	topology.Every(b.topo, "tick", time.Minute, func(ctx *topology.TaskContext) error {
		n := 0
		for range b.table.All(ctx) {
			n++
		}
		b.out.Send(ctx, fmt.Sprint(ctx.Partition()), fmt.Sprint(n), topology.ToPartition(ctx.Partition()))
		return nil
	}, topology.Reads(b.table), topology.Sends(b.out))
	d := topologytest.New(t, b.topo)
	for i := range 20 {
		topologytest.Pipe(d, b.in, fmt.Sprint("key", i), "v")
	}
	d.Advance(time.Minute)
	total := 0
	all := topologytest.Read(d, b.out)
	require.Len(t, all, 4)
	for _, ev := range all {
		n := 0
		_, err := fmt.Sscan(ev.Value, &n)
		require.NoError(t, err)
		require.Positive(t, n)
		total += n
	}
	require.Equal(t, 20, total)
}

func TestTimerThatFails(t *testing.T) {
	t.Parallel()
	b := newBench()
	write(b)
	calls := 0
	topology.Every(b.topo, "tick", time.Minute, func(ctx *topology.TaskContext) error {
		b.out.Send(ctx, "k", "v")
		if calls++; calls == 1 {
			return errors.New("bad tick")
		}
		return nil
	}, topology.Sends(b.out))
	d := one(t, b.topo)
	d.Advance(time.Minute)
	require.Len(t, d.Failures(), 1)
	require.ErrorContains(t, d.Failures()[0], "bad tick")
	d.Advance(2 * time.Minute)
	require.NotEmpty(t, values(d, b.out), "it goes on")
	require.Len(t, values(d, b.out), calls-1, "a call that failed has sent nothing")
}

// What a task has committed stays; what it sent behind that falls with it, and it is called again.
func TestTask(t *testing.T) {
	t.Parallel()
	b := newBench()
	write(b)
	calls := 0
	topology.Task(b.topo, "seed", func(ctx *topology.TaskContext) error {
		calls++
		b.out.Send(ctx, "k", fmt.Sprint("first ", calls))
		if !ctx.Commit() {
			return nil
		}
		b.out.Send(ctx, "k", fmt.Sprint("second ", calls))
		if calls == 1 {
			return errors.New("bad task")
		}
		return nil
	}, topology.Sends(b.out))
	d := one(t, b.topo)
	d.Advance(time.Minute)
	require.Equal(t, []string{"first 1", "first 2", "second 2"}, values(d, b.out))
	require.Len(t, d.Failures(), 1)
	require.ErrorContains(t, d.Failures()[0], "bad task")
}

// A crontab line fires once for each of its moments, through crashes; what was missed is one call that counts it.
func TestCron(t *testing.T) {
	t.Parallel()
	b := newBench()
	write(b)
	topology.Cron(b.topo, "nightly", "0 4 * * *", func(ctx *topology.TaskContext) error {
		b.out.Send(ctx, "nightly", fmt.Sprint(ctx.Due.UTC().Format("15:04"), " missed ", ctx.Missed))
		return nil
	}, topology.Sends(b.out), topology.OnLeader())
	d := topologytest.New(t, b.topo)
	begin := d.Now().UTC()
	first := time.Date(begin.Year(), begin.Month(), begin.Day(), 4, 0, 0, 0, time.UTC)
	if !first.After(begin) {
		first = first.AddDate(0, 0, 1)
	}
	d.Advance(first.Sub(begin) - time.Second)
	require.Empty(t, values(d, b.out))
	d.Advance(time.Second)
	require.Equal(t, []string{"04:00 missed 0"}, values(d, b.out))
	d.Crash()
	d.Advance(23 * time.Hour)
	require.Len(t, values(d, b.out), 1, "a restart doubles nothing")
	d.Advance(3 * 24 * time.Hour)
	d.Crash()
	require.Equal(t, []string{"04:00 missed 0", "04:00 missed 2"}, values(d, b.out))
	require.Empty(t, d.Failures())
}

// A line in a zone is called once on each of its days, at its time there, when clocks are put forward and back, through crashes at those moments.
func TestCronThroughDaylightSaving(t *testing.T) {
	t.Parallel()
	b := newBench()
	write(b)
	zone, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	var got []string
	topology.Cron(b.topo, "nightly", "CRON_TZ=Europe/Berlin 30 2 * * *", func(ctx *topology.TaskContext) error {
		require.Zero(t, ctx.Missed)
		got = append(got, ctx.Due.In(zone).Format(time.RFC3339))
		b.out.Send(ctx, "nightly", "")
		return nil
	}, topology.Sends(b.out))
	d := topologytest.New(t, b.topo)
	forward, back := time.Date(2027, 3, 28, 1, 0, 0, 0, time.UTC), time.Date(2027, 10, 31, 1, 0, 0, 0, time.UTC)
	for _, change := range []time.Time{forward, back} {
		for d.Now().Before(change.Add(-36 * time.Hour)) {
			d.Advance(min(12*time.Hour, change.Add(-36*time.Hour).Sub(d.Now())))
		}
		got = nil
		for range 4 * 72 {
			d.Advance(15 * time.Minute)
			if d.Now().Sub(change).Abs() < 2*time.Hour {
				d.Crash()
			}
		}
		if change.Equal(forward) {
			require.Equal(t, []string{"2027-03-27T02:30:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"}, got)
		} else {
			require.Equal(t, []string{"2027-10-30T02:30:00+02:00", "2027-10-31T02:30:00+02:00", "2027-11-01T02:30:00+01:00"}, got)
		}
	}
	require.Empty(t, d.Failures())
}

// SEMANTICS 1: the call after missed ones is due at the next whole interval of the first, not an interval after the late one.
func TestEveryCountsWhatItMissed(t *testing.T) {
	t.Parallel()
	b := newBench()
	write(b)
	topology.Every(b.topo, "tick", time.Minute, func(ctx *topology.TaskContext) error {
		b.out.Send(ctx, "tick", fmt.Sprint(ctx.Missed))
		return nil
	}, topology.Sends(b.out))
	d := topologytest.New(t, b.topo)
	d.Advance(time.Minute)
	d.Advance(10*time.Minute + 30*time.Second)
	d.Advance(30 * time.Second)
	require.Equal(t, []string{"0", "9", "0"}, values(d, b.out))
}
