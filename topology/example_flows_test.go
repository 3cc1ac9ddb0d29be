package topology_test

import (
	"fmt"
	"strings"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func ExampleNew() {
	t := topology.New("shop")
	fmt.Println(t.Name())
	// Output: shop
}

func ExampleNewTopic() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64)
	fmt.Println(payments.Name())
	// Output: payments
}

// Tests find what a topology keeps to itself by its name and types.
func ExampleTopicOf() {
	t, payments := bank()
	fmt.Println(topology.TopicOf[string, int64](t, "payments") == payments)
	// Output: true
}

// How a topic is made, if the node makes it.
func ExamplePartitions() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64, topology.Partitions(12))
	topology.Each(t, "idle", payments, nobody)
	p, _ := t.Plan()
	fmt.Println(p.Topics[0].Partitions)
	// Output: 12
}

func ExampleWithConfig() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64, topology.WithConfig(map[string]string{"retention.ms": "86400000"}))
	topology.Each(t, "idle", payments, nobody)
	p, _ := t.Plan()
	fmt.Println(p.Topics[0].Config)
	// Output: map[retention.ms:86400000]
}

// A topic that others write with librdkafka's own default, CRC-32.
func ExampleWithPartitioner() {
	t := topology.New("shop")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64, topology.WithPartitioner(kafka.CRC32()))
	topology.Each(t, "idle", payments, nobody)
	p, _ := t.Plan()
	fmt.Println(p.Topics[0].Partitioner.Name)
	// Output: crc32
}

// Records may come back to the agent: a countdown.
func ExampleLoop() {
	t := topology.New("countdown")
	counts := topology.NewTopic(t, "counts", codec.String, codec.Int64, topology.Loop())
	topology.Each(t, "down", counts, func(ctx *topology.Context, c payment) error {
		if c.Value > 0 {
			counts.Send(ctx, c.Key, c.Value-1)
		}
		return nil
	}, topology.Sends(counts))

	d := drive(t)
	topologytest.Pipe(d, counts, "rocket", 2)
	fmt.Print(recordsOf(d, counts))
	// Output:
	// rocket 2
	// rocket 1
	// rocket 0
}

func ExampleCapacity() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	pipe := topology.NewChannel[string, int64](t, "pipe", topology.Capacity(100)) // while so many wait, those that send get no more records
	topology.Each(t, "into", payments, func(ctx *topology.Context, p payment) error {
		pipe.Send(ctx, p.Key, p.Value)
		return nil
	}, topology.Sends(pipe))
	topology.Each(t, "from", pipe, func(ctx *topology.Context, p payment) error {
		out.Send(ctx, p.Key, p.Value)
		return nil
	}, topology.Sends(out))

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 42)
	fmt.Print(recordsOf(d, out))
	// Output: ada 42
}

func ExampleFrom() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.To(topology.From(payments), out) // a copy
	fmt.Print(steps(t))
	// Output: to-out [from payments to out]
}

func ExampleTo() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.To(topology.Map(topology.From(payments), func(n int64) int64 { return n / 100 }), out)

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 4200)
	fmt.Print(recordsOf(d, out))
	// Output: ada 42
}

func ExampleFilter() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.To(topology.Filter(topology.From(payments), func(p payment) bool { return p.Value > 10 }), out)

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 42)
	topologytest.Pipe(d, payments, "ada", 1)
	fmt.Print(recordsOf(d, out))
	// Output: ada 42
}

func ExampleMap() {
	t, payments := bank()
	texts := topology.NewTopic(t, "texts", codec.String, codec.String)
	topology.To(topology.Map(topology.From(payments), func(n int64) string { return fmt.Sprintf("%d cents", n) }), texts)

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 42)
	fmt.Print(recordsOf(d, texts))
	// Output: ada 42 cents
}

func ExampleFlatMap() {
	t := topology.New("words")
	lines := topology.NewTopic(t, "lines", codec.String, codec.String)
	words := topology.NewTopic(t, "words", codec.String, codec.String)
	topology.To(topology.FlatMap(topology.From(lines), strings.Fields), words)

	d := drive(t)
	topologytest.Pipe(d, lines, "1", "to be")
	fmt.Print(recordsOf(d, words))
	// Output:
	// 1 to
	// 1 be
}

func ExamplePeek() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.To(topology.Peek(topology.From(payments), func(p payment) { fmt.Println("seen:", p.Value) }), out)
	topologytest.Pipe(drive(t), payments, "ada", 42)
	// Output: seen: 42
}

// An agent's progress is kept under its name: a name of its own lets the topic be called something else later.
func ExampleNamed() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.To(topology.From(payments), out, topology.Named("copy"))
	fmt.Print(steps(t))
	// Output: copy [from payments to out]
}

func ExampleGroupBy() {
	t := topology.New("words")
	words := topology.NewTopic(t, "words", codec.String, codec.String)
	lengths := topology.NewTable(t, "lengths", codec.Int64, codec.Int64)
	topology.Count(topology.GroupBy(topology.From(words), func(w string) int64 { return int64(len(w)) }), lengths)

	d := drive(t)
	for _, w := range []string{"to", "be", "or", "not"} {
		topologytest.Pipe(d, words, "", w)
	}
	fmt.Println(topologytest.Table(d, lengths))
	// Output: map[2:3 3:1]
}

// Behind a Map, the topic between must be told how values are written.
func ExampleWithValues() {
	t, payments := bank()
	texts := topology.Map(topology.From(payments), func(n int64) string { return strings.Repeat("|", int(n)) })
	joined := topology.NewTable(t, "joined", codec.String, codec.String)
	byLength := topology.GroupBy(texts, func(s string) string { return fmt.Sprint(len(s)) }, topology.WithValues(codec.String))
	topology.Aggregate(byLength, joined, func() string { return "" }, func(all string, e topology.Event[string, string]) string { return all + e.Value })

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 2)
	topologytest.Pipe(d, payments, "grace", 2)
	fmt.Println(topologytest.Table(d, joined))
	// Output: map[2:||||]
}

func ExampleGroupByKey() {
	t, payments := bank()
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Count(topology.GroupByKey(topology.From(payments)), counts)
	fmt.Print(steps(t))
	// Output:
	// count-counts [from payments count into counts]
}

func ExampleCount() {
	t, payments := bank()
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Count(topology.GroupByKey(topology.From(payments)), counts)

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 7)
	topologytest.Pipe(d, payments, "ada", 35)
	fmt.Println(topologytest.Table(d, counts))
	// Output: map[ada:2]
}

func ExampleReduce() {
	t, payments := bank()
	sums := topology.NewTable(t, "sums", codec.String, codec.Int64)
	topology.Reduce(topology.GroupByKey(topology.From(payments)), sums, func(sum, n int64) int64 { return sum + n })

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 7)
	topologytest.Pipe(d, payments, "ada", 35)
	fmt.Println(topologytest.Table(d, sums))
	// Output: map[ada:42]
}

// A result of another type than the values: how many they were, and their sum.
func ExampleAggregate() {
	type stats struct{ N, Sum int64 }
	t, payments := bank()
	table := topology.NewTable(t, "stats", codec.String, codec.JSON[stats]())
	topology.Aggregate(topology.GroupByKey(topology.From(payments)), table, func() stats { return stats{} },
		func(acc stats, p payment) stats { return stats{acc.N + 1, acc.Sum + p.Value} })

	d := drive(t)
	topologytest.Pipe(d, payments, "ada", 7)
	topologytest.Pipe(d, payments, "ada", 35)
	fmt.Println(topologytest.Table(d, table))
	// Output: map[ada:{2 42}]
}

func ExampleDescribe() {
	t, payments := bank()
	out := topology.NewTopic(t, "out", codec.String, codec.Int64)
	topology.To(topology.From(payments), out)
	p, err := t.Plan()
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := topology.Describe(p, "mermaid")
	fmt.Println(strings.Contains(text, "payments"), err)
	// Output: true <nil>
}

func ExampleFormats() {
	fmt.Println(topology.Formats())
	// Output: [text mermaid dot json]
}

// How a tool copies a table: the topic that it reads.
func ExampleCopyOf() {
	t, payments := bank()
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Count(topology.GroupByKey(topology.From(payments)), counts)
	how, err := topology.CopyOf(counts)
	fmt.Println(how.Topic, err)
	// Output: bank-counts-changelog <nil>
}
