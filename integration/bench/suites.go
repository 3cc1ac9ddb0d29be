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

// target is a ratio that a suite is to reach, of medians in one run. Without a contender beside, it is the figure itself.
type target struct {
	Metric string
	Of     contender
	Beside contender
	Want   float64 // at least, or at most where less is better
}

// alone is the target of a figure itself.
func alone(metric string, of contender, want float64) target {
	return target{metric, of, contender{}, want}
}

// suite is one comparison.
type suite struct {
	name       string
	title      string
	text       string // what is done and checked
	metrics    []metric
	contenders []contender
	targets    []target
	often      bool // it is run three times before others are run a second time
	most       int  // rounds; 0: as many as there are
	named      bool // it runs only if it is asked for by name
	derived    func(*suiteResult) []ratio
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
		countSuite(s), latencySuite(s, 10_000), restoreSuite(s), partitionsSuite(s), keysSuite(s), largeSuite(s), wordcountSuite(s), jsonSuite(s), rowSuite(s), mapSuite(s),
		manySuite(s, "count-1m", uniform, million), manySuite(s, "count-zipf", zipf, million), manySuite(s, "count-zipf-100k", zipf, 100_000),
		manySuite(s, "count-10m", uniform, 10*million), manySuite(s, "count-zipf-10m", zipf, 10*million), processesSuite(s), latencySuite(s, 1000), latencySuite(s, 100_000), recoverySuite(s, false), recoverySuite(s, true), valuesSuite(s), enduranceSuite(s),
	}
}

// countSuite is a keyed count with its changelog, by everybody.
func countSuite(s settings) suite {
	x := countOf(s, source{kind: uniform, keys: 100_000}, variantsOn(s, confluent.Batched, confluent.Public))
	x.name, x.title, x.often = "count-100k", "Keyed count, 100000 keys", true
	x.contenders = append(append([]contender{barePublic, bareBatched}, x.contenders...), gokaPlain, faustPlain)
	x.targets = append(x.targets, target{"cpu", bareBatched, barePublic, 2})
	for _, c := range ourVariants(s) {
		if c.variant == atLeastOnce {
			x.targets = append(x.targets, target{"cpu", c, gokaPlain, 10}, target{"cpu", c, faustPlain, 100})
		}
	}
	return x
}

// manySuite is countSuite with other keys, by the default client, and twice at the most.
func manySuite(s settings, name, kind string, keys int) suite {
	x := countOf(s, source{kind: kind, keys: keys}, ourVariants(s))
	x.name, x.title, x.most = name, fmt.Sprintf("Keyed count, %d keys", keys), 2
	if kind == zipf {
		x.title += ", some of them often (Zipf)"
	}
	return x
}

// countOf counts a source, whose records are filled in: the limit, variants of the engine and Kafka Streams.
func countOf(s settings, of source, mine []contender) suite {
	how := "uniformly"
	if of.kind == zipf {
		how = fmt.Sprintf("by a Zipf distribution with the exponent %g", zipfExponent)
	}
	x := suite{
		text:       "Records of 28 bytes are counted by key, which come " + how + "; the counts are journaled in a changelog, and results committed. Checked: the changelog ends with every record counted once for its key.",
		metrics:    append(slices.Clip(throughput), journaled),
		contenders: append(append([]contender{bareLimit}, mine...), streamsPlain, streamsALO, streamsEOS),
	}
	variants := ourVariants(s)
	for _, c := range variants {
		peer := streamsALO
		if c.variant == exactlyOnce {
			peer = streamsEOS
		}
		x.targets = append(x.targets, target{"cpu", c, bareLimit, 0.75}, target{"cpu", c, peer, 5})
		if c.variant == atLeastOnce {
			x.targets = append(x.targets, target{"cpu", c, streamsPlain, 3})
		}
	}
	if len(variants) > 1 {
		x.targets = append(x.targets, target{"cpu", variants[1], variants[0], 0.9})
	}
	x.run = func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
		src := of
		src.records = max(b.records/c.share, 1000)
		return b.count(ctx, c, j, src)
	}
	return x
}

// count counts a source and checks the counts.
func (b *bench) count(ctx context.Context, c contender, j job, src source) (sample, error) {
	if j.Task = c.task; j.Task == "" {
		j.Task = taskCount
	}
	return b.through(ctx, c, j, src, src.records, func() (int, error) {
		return b.cluster.checkCounts(ctx, c.changelog(j.Name), src, c.decode)
	})
}

// against are the targets of suites that are compared with Kafka Streams alone, at the same guarantee.
func against(s settings, want float64) (out []target) {
	for _, c := range ourVariants(s) {
		peer := streamsALO
		if c.variant == exactlyOnce {
			peer = streamsEOS
		}
		out = append(out, target{"cpu", c, peer, want})
	}
	return out
}

func wordcountSuite(s settings) suite {
	return suite{
		name: "wordcount", title: "Word count, two stages",
		text:       "Lines of ten words are split, the words go through a topic by their hash and are counted. Records are words. Checked: the changelog ends with every word counted once.",
		metrics:    throughput,
		contenders: append(ourVariants(s), streamsALO, streamsEOS),
		targets:    against(s, 3),
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			src := source{kind: lines, records: b.records / 2 / wordsInLine / c.share, keys: vocabulary}
			j.Task = taskWordcount
			return b.through(ctx, c, j, src, src.records*wordsInLine, func() (int, error) {
				return b.cluster.checkCounts(ctx, c.changelog(j.Name), src, c.decode)
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
		targets:    against(s, 3),
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			src := source{kind: orders, records: b.records / 2 / c.share, keys: 100_000}
			j.Task = taskJSON
			return b.through(ctx, c, j, src, src.records, func() (int, error) {
				return b.cluster.checkCounts(ctx, c.changelog(j.Name), src, func(v []byte) (int64, error) {
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
		return b.count(ctx, c, j, source{kind: uniform, records: b.records / 2 / c.share, keys: 100_000})
	}
	return x
}

func mapSuite(s settings) suite {
	return suite{
		name: "map", title: "Stateless map",
		text:       "Each record is written to another topic with another value. Checked: the topic holds each new value once.",
		metrics:    throughput,
		contenders: append(ourVariants(s), streamsALO, streamsEOS, gokaPlain),
		targets:    against(s, 3),
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			return b.mapped(ctx, c, j, source{kind: uniform, records: b.records / 2 / c.share, keys: 100_000})
		},
	}
}

// mapped passes a source on and checks what came out.
func (b *bench) mapped(ctx context.Context, c contender, j job, src source) (sample, error) {
	j.Task = taskMap
	return b.through(ctx, c, j, src, src.records, func() (int, error) { return 0, b.cluster.checkMapped(ctx, j.Name+"-out", src) })
}

// through runs a contender through a source and checks what it has made before its figures count.
func (b *bench) through(ctx context.Context, c contender, j job, src source, records int, check func() (int, error)) (sample, error) {
	if err := b.cluster.fill(ctx, src); err != nil {
		return nil, fmt.Errorf("fill %s: %w", src.topic(), err)
	}
	j.Source, j.Records, j.Partitions = src.topic(), records, src.partitions
	if err := b.outputs(ctx, c, &j); err != nil {
		return nil, err
	}
	m, err := b.programs.run(ctx, c, j)
	if err != nil {
		return nil, err
	}
	n, err := check()
	if err != nil {
		return nil, fmt.Errorf("wrong result: %w", err)
	}
	return m.sample(n), os.RemoveAll(j.Dir)
}

// outputs makes the topics that a contender does not make itself.
func (b *bench) outputs(ctx context.Context, c contender, j *job) error {
	if j.Task == taskMap || j.Task == taskWordcount && (c.kind == kindOurs || c.kind == kindBefore) {
		j.Out = j.Name + "-out"
		if err := b.cluster.topic(ctx, j.Out, j.parts(), nil); err != nil {
			return err
		}
	}
	if c.kind == kindBare || c.kind == kindFaust {
		return b.cluster.topic(ctx, c.changelog(j.Name), j.parts(), map[string]string{"cleanup.policy": "compact"})
	}
	return nil
}

// sample makes figures of what was measured; the changelog had so many records.
func (m measure) sample(journaled int) sample {
	x := sample{
		"journal": float64(journaled) / float64(m.Records), "cpu": m.perCPU() / 1e6, "clock": m.byClock() / 1e6, "ns": 1e9 / m.perCPU(), "startup": m.Startup,
		"memory": float64(m.Memory) / 1e6, "peak": float64(m.Peak) / 1e6,
	}
	for _, name := range []string{"gc", "pause", "heap"} {
		if v, ok := m.Figures[name]; ok {
			x[name] = v
		}
	}
	return x
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
