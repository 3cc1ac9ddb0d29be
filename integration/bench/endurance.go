package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// enduranceKeys are the keys of the suite endurance: its table does not grow.
const enduranceKeys = 100_000

// enduranceSuite lets the engine run for long, at a constant rate, and looks at it once a minute.
func enduranceSuite(s settings) suite {
	x := suite{
		name: "endurance", title: fmt.Sprintf("A run of %d minutes", s.minutes), most: 1, named: true,
		text: fmt.Sprintf("%d records a second are counted by one of %d keys, for so many minutes: what each minute gave. The last lines are of all minutes: the least of their rates per CPU-second beside the median, "+
			"and the most memory of the second half beside the median of the first. Checked: the changelog ends with every record counted once for its key.", s.rate, enduranceKeys),
		metrics: []metric{
			{Key: "cpu", Title: "M records per CPU-second", Digits: 3},
			{Key: "clock", Title: "M records/s by the clock", Digits: 3},
			{Key: "memory", Title: "resident MB", Less: true, Digits: 0},
			{Key: "least", Title: "least rate beside the median", Digits: 2},
			{Key: "growth", Title: "most memory beside the median before", Less: true, Digits: 2},
		},
	}
	for _, c := range ourVariants(s) {
		if c.variant == exactlyOnce || s.suites != "" && s.client != "" {
			x.contenders = append(x.contenders, c)
			x.targets = append(x.targets, alone("least", c, 0.9), alone("growth", c, 1.1))
		}
	}
	x.run = func(ctx context.Context, b *bench, c contender, j job) (sample, error) { return b.endure(ctx, x, c, j) }
	return x
}

func (b *bench) endure(ctx context.Context, s suite, c contender, j job) (sample, error) {
	j.Task, j.Source = taskEndless, j.Name+"-in"
	// What was read goes after some minutes: an hour of it may be more than the disk has room for.
	if err := b.cluster.topic(ctx, j.Source, partitions, map[string]string{"retention.ms": "600000", "segment.ms": "60000"}); err != nil {
		return nil, err
	}
	r, err := b.programs.start(c, j)
	if err != nil {
		return nil, err
	}
	defer r.end()
	starting, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	if err := r.knows(starting); err != nil {
		return nil, err
	}
	in, err := b.cluster.load(ctx, j.Source, b.rate, enduranceKeys)
	if err != nil {
		return nil, err
	}
	defer in.stop()
	if _, err := r.await(starting, "begin"); err != nil {
		return nil, err
	}
	minutes, err := b.minutesOf(ctx, s, c, r, j)
	if err != nil {
		return nil, err
	}
	sent, err := in.all()
	if err != nil {
		return nil, err
	}
	drain, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := b.cluster.handled(drain, j.Name, j.Source, sent); err != nil {
		return nil, err
	}
	src := source{kind: uniform, records: sent, keys: enduranceKeys}
	if _, err := b.cluster.checkCounts(ctx, c.changelog(j.Name), src, c.decode); err != nil {
		return nil, fmt.Errorf("wrong result: %w", err)
	}
	return flat(minutes), os.RemoveAll(j.Dir)
}

// minutesOf looks at a contender once a minute, and reports each.
func (b *bench) minutesOf(ctx context.Context, s suite, c contender, r *running, j job) (all []sample, err error) {
	if err := pause(ctx, 10*time.Second); err != nil { // it has begun with what had been waiting
		return nil, err
	}
	at, used, n, err := b.lookAt(ctx, r, j)
	if err != nil {
		return nil, err
	}
	for minute := range b.minutes {
		if err := pause(ctx, time.Until(at.Add(time.Minute))); err != nil {
			return nil, err
		}
		now, cpu, more, err := b.lookAt(ctx, r, j)
		if err != nil {
			return nil, err
		}
		memory, _, err := memoryOf(r.Pid())
		if err != nil {
			return nil, err
		}
		x := sample{"cpu": float64(more-n) / (cpu - used) / 1e6, "clock": float64(more-n) / now.Sub(at).Seconds() / 1e6, "memory": float64(memory) / 1e6}
		at, used, n = now, cpu, more
		all = append(all, x)
		of := c
		of.label += fmt.Sprintf(", minute %d", minute+1)
		b.report.add(s, of, x)
		progress(turn{s, 0}, of, x, time.Minute)
	}
	return all, nil
}

// lookAt says what a contender has used and committed.
func (b *bench) lookAt(ctx context.Context, r *running, j job) (at time.Time, cpu float64, records int, err error) {
	if cpu, err = cpuOf(r.Pid()); err != nil {
		return at, 0, 0, err
	}
	records, err = b.cluster.committed(ctx, j.Name, j.Source)
	return time.Now(), cpu, records, err
}

// flat says how even minutes were.
func flat(minutes []sample) sample {
	get := func(of []sample, key string) (out []float64) {
		for _, x := range of {
			out = append(out, x[key])
		}
		slices.Sort(out)
		return out
	}
	rates, half := get(minutes, "cpu"), (len(minutes)+1)/2
	x := sample{"cpu": median(rates), "clock": median(get(minutes, "clock")), "memory": median(get(minutes, "memory"))}
	x["least"] = rates[0] / median(rates)
	x["growth"] = 1
	if later := get(minutes[half:], "memory"); len(later) > 0 {
		x["growth"] = later[len(later)-1] / median(get(minutes[:half], "memory"))
	}
	return x
}

// committed is how many records of a topic a group has committed.
func (c *cluster) committed(ctx context.Context, group, topic string) (n int, err error) {
	at, err := c.admin.CommittedOffsets(ctx, group, allOf(topic, partitions)...)
	for _, position := range at {
		n += int(max(position.Offset, 0))
	}
	return n, err
}

// handled waits until a group has committed so many records.
func (c *cluster) handled(ctx context.Context, group, topic string, records int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := c.committed(ctx, group, topic)
		switch {
		case err != nil:
			return err
		case n == records:
			return nil
		case n > records:
			return fmt.Errorf("%d records are committed of %d", n, records)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(errLate, fmt.Errorf("%d records are committed of %d", n, records), ctx.Err())
		}
	}
}
