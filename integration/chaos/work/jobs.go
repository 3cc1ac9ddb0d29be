package work

import (
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// The agents of Jobs go at different speeds: quick at once, slow SlowEach per job and Stall at each StallOf-th, gather in
// batches of up to GatherMost within GatherWithin. So they are through with different parts of one topic at any moment.
const (
	SlowEach     = 2 * time.Millisecond
	Stall        = 400 * time.Millisecond
	StallOf      = 150
	GatherMost   = 40
	GatherWithin = 150 * time.Millisecond
)

// Jobs runs three agents of different speed on one topic. Each sends on what it gets, quick and slow count it too.
func Jobs() *topology.Topology {
	t := topology.New("jobs")
	jobs := topology.NewTopic(t, "jobs", codec.String, codec.Int64)
	quickly := topology.NewTopic(t, "quickly", codec.String, codec.Int64)
	slowly := topology.NewTopic(t, "slowly", codec.String, codec.Int64)
	gathered := topology.NewTopic(t, "gathered", codec.String, codec.Int64)
	quicks := topology.NewTable(t, "quicks", codec.String, codec.Int64)
	slows := topology.NewTable(t, "slows", codec.String, codec.Int64)
	count := func(n int64, _ bool) (int64, error) { return n + 1, nil }
	topology.Each(t, "quick", jobs, func(ctx *topology.Context, ev topology.Event[string, int64]) error {
		quickly.Send(ctx, ev.Key, ev.Value)
		quicks.Update(ctx, ev.Key, count)
		return nil
	}, topology.Sends(quickly), topology.Writes(quicks))
	topology.Agent(t, "slow", jobs, func(ctx *topology.Context, in topology.Stream[string, int64]) error {
		for ev := range in.All() {
			if !pause(ctx, ev.Value) {
				return ctx.Err() // its partition moves: another owner does the job
			}
			slowly.Send(ctx, ev.Key, ev.Value)
			slows.Update(ctx, ev.Key, count)
		}
		return nil
	}, topology.Sends(slowly), topology.Writes(slows))
	topology.Agent(t, "gather", jobs, func(ctx *topology.Context, in topology.Stream[string, int64]) error {
		for batch := range in.Batches(GatherMost, GatherWithin) {
			for _, ev := range batch {
				gathered.Send(ctx, ev.Key, ev.Value)
			}
		}
		return nil
	}, topology.Sends(gathered))
	return t
}

// pause takes the time that a job takes; false if the handler should give up.
func pause(ctx *topology.Context, id int64) bool {
	d := SlowEach
	if id%StallOf == 0 {
		d = Stall
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
