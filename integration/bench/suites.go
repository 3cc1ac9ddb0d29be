package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/troupe-stream/troupe/kafka/confluent"
)

// sample is what one run gave, by the keys of a suite's metrics.
type sample map[string]float64

// metric is one figure of a suite.
type metric struct {
	Key    string
	Title  string
	Less   bool // less is better
	Digits int  // behind the point
}

// target is a ratio that a suite is to reach, of medians in one run.
type target struct {
	Metric string
	Of     contender
	Beside contender
	Want   float64 // at least, or at most where less is better
}

// suite is one comparison.
type suite struct {
	name       string
	title      string
	text       string // what is done and checked
	metrics    []metric
	contenders []contender
	targets    []target
	run        func(ctx context.Context, b *bench, c contender, j job) (sample, error)
}

// throughput are the metrics of suites that go through a source once.
var throughput = []metric{
	{Key: "cpu", Title: "M records per CPU-second", Digits: 3},
	{Key: "clock", Title: "M records/s by the clock", Digits: 3},
}

// journaled is a metric of suites with a changelog: fewer records are better, but say nothing alone. It depends on how many records an
// epoch has.
var journaled = metric{Key: "journal", Title: "changelog records per record", Less: true, Digits: 2}

// suites are all comparisons, the most important first.
func suites(s settings) []suite {
	return []suite{
		countSuite(s, 100_000, true), latencySuite(s, 1000), latencySuite(s, 10_000), restoreSuite(s), wordcountSuite(s), jsonSuite(s), rowSuite(s), mapSuite(s),
		countSuite(s, 1_000_000, false), recoverySuite(s),
	}
}

// countSuite is a keyed count with its changelog.
func countSuite(s settings, keys int, everybody bool) suite {
	x := suite{
		name:    fmt.Sprintf("count-%dk", keys/1000),
		title:   fmt.Sprintf("Keyed count, %d keys", keys),
		text:    "Records of 28 bytes are counted by key, uniformly; the counts are journaled in a changelog, and results committed. Checked: the changelog ends with every record counted once.",
		metrics: append(slices.Clip(throughput), journaled),
	}
	mine := ourVariants(s)
	if everybody {
		mine = variantsOn(s, confluent.Batched, confluent.Public)
	}
	x.contenders = append([]contender{barePublic, bareBatched, bareLimit}, mine...)
	x.contenders = append(x.contenders, streamsPlain, streamsALO, streamsEOS)
	if everybody {
		x.contenders = append(x.contenders, gokaPlain, faustPlain)
	}
	for _, c := range ourVariants(s) {
		peer := streamsALO
		if c.variant == exactlyOnce {
			peer = streamsEOS
		}
		x.targets = append(x.targets, target{"cpu", c, bareLimit, 0.75}, target{"cpu", c, peer, 5})
		if c.variant == atLeastOnce {
			x.targets = append(x.targets, target{"cpu", c, streamsPlain, 3})
			if everybody {
				x.targets = append(x.targets, target{"cpu", c, gokaPlain, 10}, target{"cpu", c, faustPlain, 100})
			}
		}
	}
	if mine := ourVariants(s); len(mine) > 1 {
		x.targets = append(x.targets, target{"cpu", mine[1], mine[0], 0.9})
	}
	x.targets = append(x.targets, target{"cpu", bareBatched, barePublic, 2})
	x.run = func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
		src := source{"uniform", max(b.records/c.share, 1000), keys}
		j.Task = taskCount
		return b.through(ctx, c, j, src, src.records, func() (int, error) {
			return b.cluster.checkCounts(ctx, c.changelog(j.Name), src.records, src.distinct(), c.decode)
		})
	}
	return x
}

// against are the targets of suites that are compared with Kafka Streams alone, at the same guarantee.
func against(s settings, key string, want float64) (out []target) {
	for _, c := range ourVariants(s) {
		peer := streamsALO
		if c.variant == exactlyOnce {
			peer = streamsEOS
		}
		out = append(out, target{key, c, peer, want})
	}
	return out
}

func wordcountSuite(s settings) suite {
	return suite{
		name: "wordcount", title: "Word count, two stages",
		text:       "Lines of ten words are split, the words go through a topic by their hash and are counted. Records are words. Checked: the changelog ends with every word counted once.",
		metrics:    throughput,
		contenders: append(ourVariants(s), streamsALO, streamsEOS),
		targets:    against(s, "cpu", 3),
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			src := source{"lines", b.records / 20, vocabulary}
			j.Task = taskWordcount
			return b.through(ctx, c, j, src, src.records*wordsInLine, func() (int, error) {
				return b.cluster.checkCounts(ctx, c.changelog(j.Name), src.records*wordsInLine, vocabulary, c.decode)
			})
		},
	}
}

func jsonSuite(s settings) suite {
	return suite{
		name: "json", title: "JSON values",
		text:       "Orders of some 80 bytes of JSON are added up by key; the totals are JSON too. Checked: the changelog ends with every order counted once.",
		metrics:    throughput,
		contenders: append(ourVariants(s), streamsALO, streamsEOS),
		targets:    against(s, "cpu", 3),
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			src := source{"json", b.records / 2, 100_000}
			j.Task = taskJSON
			return b.through(ctx, c, j, src, src.records, func() (int, error) {
				return b.cluster.checkCounts(ctx, c.changelog(j.Name), src.records, src.distinct(), func(v []byte) (int64, error) {
					var t total
					err := json.Unmarshal(v, &t)
					return t.Count, err
				})
			})
		},
	}
}

// rowSuite compares the ways to keep state, exactly-once.
func rowSuite(s settings) suite {
	x := suite{
		name: "state", title: "A handler with state: Update, EachRow, Get and Set",
		text:    "A handler counts by key: by a function that the shard runs (Update), with the row of its key (EachRow), or by asking for the value and setting it (Get and Set), as others do. Exactly-once but for goka. Checked as the keyed count.",
		metrics: throughput,
	}
	for _, c := range ourVariants(s) {
		if c.variant == exactlyOnce {
			slow := c.does(taskGetSet, ", Get and Set")
			slow.share = 4
			x.contenders = append(x.contenders, c.does(taskCount, ", Update"), c.does(taskRow, ", EachRow"), slow)
			x.targets = append(x.targets, target{"cpu", slow, streamsEOS.does(taskGetSet, ", get and put"), 2})
		}
	}
	x.contenders = append(x.contenders, streamsEOS.does(taskGetSet, ", get and put"), gokaPlain.does(taskGetSet, ", Value and SetValue"))
	x.run = func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
		src := source{"uniform", b.records / c.share / 2, 100_000}
		j.Task = c.task
		return b.through(ctx, c, j, src, src.records, func() (int, error) {
			return b.cluster.checkCounts(ctx, c.changelog(j.Name), src.records, src.distinct(), c.decode)
		})
	}
	return x
}

func mapSuite(s settings) suite {
	return suite{
		name: "map", title: "Stateless map",
		text:       "Each record is written to another topic with another value. Checked: the topic holds each new value once.",
		metrics:    throughput,
		contenders: append(ourVariants(s), streamsALO, streamsEOS, gokaPlain),
		targets:    against(s, "cpu", 3),
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			src := source{"uniform", b.records / c.share / 2, 100_000}
			j.Task = taskMap
			return b.through(ctx, c, j, src, src.records, func() (int, error) { return 0, b.cluster.checkMapped(ctx, j.Name+"-out", src.records) })
		},
	}
}

// through runs a contender through a source and checks what it has made before its figures count.
func (b *bench) through(ctx context.Context, c contender, j job, src source, records int, check func() (int, error)) (sample, error) {
	if err := b.cluster.fill(ctx, src); err != nil {
		return nil, fmt.Errorf("fill %s: %w", src.topic(), err)
	}
	j.Source, j.Records = src.topic(), records
	if j.Task == taskMap || j.Task == taskWordcount && (c.kind == kindOurs || c.kind == kindBefore) {
		j.Out = j.Name + "-out"
		if err := b.cluster.topic(ctx, j.Out, nil); err != nil {
			return nil, err
		}
	}
	if c.kind == kindBare || c.kind == kindFaust {
		if err := b.cluster.topic(ctx, c.changelog(j.Name), map[string]string{"cleanup.policy": "compact"}); err != nil {
			return nil, err
		}
	}
	m, err := b.programs.run(ctx, c, j)
	if err != nil {
		return nil, err
	}
	n, err := check()
	if err != nil {
		return nil, fmt.Errorf("wrong result: %w", err)
	}
	return sample{"journal": float64(n) / float64(records), "cpu": m.perCPU() / 1e6, "clock": m.byClock() / 1e6, "startup": m.Startup, "memory": float64(m.Memory)}, os.RemoveAll(j.Dir)
}

// job makes a job that has everything to itself.
func (b *bench) job(s suite, c contender, round int) job {
	name := fmt.Sprintf("%s-%s-%d", s.name, c.slug(), round)
	client := ""
	if c.isOurs() {
		client = c.client
	}
	j := job{Variant: c.variant, Client: client, Brokers: b.cluster.brokers, Name: name, Dir: filepath.Join(b.dir, name)}
	if b.profile != "" && client != "" {
		j.Profile = filepath.Join(b.profile, name)
	}
	return j
}
