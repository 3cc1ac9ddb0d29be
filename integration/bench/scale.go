package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keysSuite counts the same number of records over more and more keys, beside a plain map that does so in memory alone.
func keysSuite(s settings) suite {
	x := suite{
		name: "keys", title: "Keyed count, from 100000 to 10000000 keys", most: 2,
		text: "As the keyed count, exactly-once, with more and more keys: records do not fit into the processor's caches any more, and each is a changelog record of its own. Beside it the bare loop, which keeps " +
			"its counts in a map of Go's, and what that map and the engine's table take for the same increments in memory alone, without Kafka. Checked as the keyed count.",
		metrics: []metric{
			{Key: "cpu", Title: "M records per CPU-second", Digits: 3},
			{Key: "ns", Title: "ns of CPU for a record", Less: true, Digits: 0},
			{Key: "clock", Title: "M records/s by the clock", Digits: 3},
			journaled,
			{Key: "peak", Title: "most MB resident", Less: true, Digits: 0},
			{Key: "gc", Title: "% of CPU for garbage collection", Less: true, Digits: 1},
			{Key: "pause", Title: "longest pause of a collection in ms", Less: true, Digits: 2},
		},
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			src := source{kind: uniform, records: max(b.records, c.at), keys: c.at}
			if c.task == taskPlain {
				return b.plain(ctx, c, j, src)
			}
			x, err := b.count(ctx, c, j, src)
			if err == nil {
				b.counted[c.scaled(0, "").slug()+" "+src.topic()] = j.Name // a table with one record for each key is restored by another suite
			}
			return x, err
		},
	}
	points := []int{100_000}
	for _, n := range []int{million, 10 * million} {
		if n <= large(s) {
			points = append(points, n)
		}
	}
	last := points[len(points)-1]
	scales := []contender{bareLimit}
	for _, c := range ourVariants(s) {
		if c.variant == exactlyOnce {
			scales = append(scales, c)
			x.targets = append(x.targets, alone("peak", c.keyed(last), 2*gibibyte))
		}
	}
	for _, c := range append(scales, memoryMap, memoryTable) {
		for _, n := range points {
			x.contenders = append(x.contenders, c.keyed(n))
		}
	}
	x.derived = func(r *suiteResult) (out []ratio) {
		grows := func(c contender) float64 {
			a, z := r.row(c.keyed(points[0]).label), r.row(c.keyed(last).label)
			if a == nil || z == nil || points[0] == last {
				return 0
			}
			return z.median("ns") - a.median("ns")
		}
		for _, c := range scales[1:] {
			if got, beside := grows(c), grows(bareLimit); got != 0 && beside > 0 {
				out = append(out, ratio{
					Metric: fmt.Sprintf("ns of CPU that a record takes more with %d keys than with %d", last, points[0]), Of: c.label, Beside: bareLimit.label, Want: 1, Got: got / beside, Less: true,
				})
			}
		}
		return out
	}
	return x
}

func (c contender) keyed(n int) contender { return c.scaled(n, strconv.Itoa(n)+" keys") }

// plain counts in memory alone.
func (b *bench) plain(ctx context.Context, c contender, j job, src source) (sample, error) {
	j.Task, j.Records, j.Keys = taskPlain, src.records, src.keys
	m, err := b.programs.run(ctx, c, j)
	if err != nil {
		return nil, err
	}
	if n := int(m.Figures["restored"]); n != src.keys {
		return nil, fmt.Errorf("wrong result: %d entries of %d", n, src.keys)
	}
	x := m.sample(0)
	delete(x, "journal")
	return x, os.RemoveAll(j.Dir)
}

// partitionsSuite counts one source in more and more partitions.
func partitionsSuite(s settings) suite {
	x := suite{
		name: "partitions", title: "Keyed count, from 1 to 64 partitions", most: 3,
		text:    "As the keyed count, with 100000 keys, in so many partitions. It should cost the same. Checked as the keyed count.",
		metrics: append(slices.Clip(throughput), journaled),
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			src := source{kind: uniform, records: b.records / 2, keys: 100_000}
			if c.at != partitions {
				src.partitions = c.at
			}
			return b.count(ctx, c, j, src)
		},
	}
	for _, c := range append(ourVariants(s), bareLimit) {
		at := func(n int) contender {
			if n == 1 {
				return c.scaled(n, "1 partition")
			}
			return c.scaled(n, strconv.Itoa(n)+" partitions")
		}
		for _, n := range []int{1, 4, 16, 64} {
			x.contenders = append(x.contenders, at(n))
			if n != partitions && c.kind == kindOurs {
				x.targets = append(x.targets, target{"cpu", at(n), at(partitions), 0.9})
			}
		}
	}
	return x
}

// processesSuite counts one source in one process and in two of one group.
func processesSuite(s settings) suite {
	x := suite{
		name: "processes", title: "Keyed count, by one process and by two", most: 2,
		text: "As the keyed count, with 100000 keys, by so many processes of one group, which have shared the partitions before the first record can be read. CPU-seconds are those of all of them. " +
			"Checked as the keyed count.",
		metrics: append(slices.Clip(throughput), journaled),
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			return b.together(ctx, c, j, source{kind: uniform, records: b.records / 2, keys: 100_000})
		},
	}
	for _, c := range ourVariants(s) {
		one, two := c.scaled(1, "1 process"), c.scaled(2, "2 processes")
		x.contenders = append(x.contenders, one, two)
		x.targets = append(x.targets, target{"cpu", two, one, 0.9})
	}
	return x
}

// together runs several processes of a contender through a source that becomes visible once each has its share.
func (b *bench) together(ctx context.Context, c contender, j job, src source) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	j.Task, j.Source, j.Records = taskCount, j.Name+"-in", src.records
	if err := b.cluster.topic(ctx, j.Source, src.parts(), nil); err != nil {
		return nil, err
	}
	all, err := b.processes(ctx, c, j, src.parts())
	defer func() {
		for _, r := range all {
			r.end()
		}
	}()
	if err != nil {
		return nil, err
	}
	show, err := b.cluster.hidden(ctx, src, j.Source)
	if err != nil {
		return nil, err
	}
	used, err := cpuOfAll(all)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := show(); err != nil {
		return nil, err
	}
	for _, r := range all {
		if _, err := r.await(ctx, "end"); err != nil {
			return nil, err
		}
	}
	wall := time.Since(began)
	now, err := cpuOfAll(all)
	if err != nil {
		return nil, err
	}
	n, err := b.cluster.checkCounts(ctx, c.changelog(j.Name), src, c.decode)
	if err != nil {
		return nil, fmt.Errorf("wrong result: %w", err)
	}
	x := measure{Records: src.records, Wall: wall.Seconds(), CPU: now - used}.sample(n)
	delete(x, "memory")
	delete(x, "peak")
	return x, nil
}

// processes starts as many of a contender as its place on the scale says, and waits until they have shared the partitions. Those that
// it returns must be ended, whatever the error.
func (b *bench) processes(ctx context.Context, c contender, j job, parts int) (all []*running, err error) {
	for i := range c.at {
		mine := j
		mine.Instance, mine.Dir = fmt.Sprintf("%s-%d", j.Name, i), fmt.Sprintf("%s-%d", j.Dir, i)
		if j.Profile != "" {
			mine.Profile = fmt.Sprintf("%s-%d", j.Profile, i)
		}
		r, err := b.programs.start(c, mine)
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	for _, r := range all {
		if err := r.knows(ctx); err != nil {
			return all, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !shared(all, parts) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			var said strings.Builder
			for _, r := range all {
				said.WriteString("\n" + r.Tail(10))
			}
			return all, fmt.Errorf("%s: %w before its %d partitions were shared; the last lines:%s", c.label, ctx.Err(), parts, said.String())
		}
	}
	return all, nil
}

// shareTimeout is how long processes may take to share partitions.
const shareTimeout = time.Minute

// shared says whether all partitions run, and some in each process.
func shared(all []*running, parts int) bool {
	sum := 0
	for _, r := range all {
		n := r.has()
		if sum += n; n == 0 {
			return false
		}
	}
	return sum == parts
}

// has is how many partitions of the source the contender said last that run.
func (r *running) has() (n int) {
	for _, l := range r.Lines() {
		_, _ = fmt.Sscanf(l, word+"running %d", &n) // of another line it takes nothing
	}
	return n
}

func cpuOfAll(all []*running) (sum float64, err error) {
	for _, r := range all {
		used, err := cpuOf(r.Pid())
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// valuesSuite passes on records with values of many sizes.
func valuesSuite(s settings) suite {
	x := suite{
		name: "values", title: "Values from 10 bytes to 100 kB", most: 2,
		text: "Each record is written to another topic with another value of the same size; the fewer records the larger they are. Checked: the topic holds each new value once.",
		metrics: []metric{
			{Key: "cpu", Title: "M records per CPU-second", Digits: 3},
			{Key: "mb", Title: "MB per CPU-second", Digits: 1},
			{Key: "mbclock", Title: "MB/s by the clock", Digits: 1},
		},
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			src := source{kind: uniform, records: max(min(b.records/4, b.records*60/c.at)/c.share, 100), keys: 1000, size: c.at}
			x, err := b.mapped(ctx, c, j, src)
			if err == nil {
				x["mb"], x["mbclock"] = x["cpu"]*float64(20+c.at), x["clock"]*float64(20+c.at)
			}
			return x, err
		},
	}
	sizes := []struct {
		bytes int
		name  string
	}{{10, "10 B"}, {100, "100 B"}, {1000, "1 kB"}, {10_000, "10 kB"}, {100_000, "100 kB"}}
	for _, size := range sizes {
		for _, c := range append(ourVariants(s), streamsEOS.sharing(2)) {
			x.contenders = append(x.contenders, c.scaled(size.bytes, size.name))
		}
		for _, t := range against(s, 1) {
			if t.Of.variant == exactlyOnce {
				x.targets = append(x.targets, target{t.Metric, t.Of.scaled(size.bytes, size.name), t.Beside.scaled(size.bytes, size.name), t.Want})
			}
		}
	}
	return x
}
