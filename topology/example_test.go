package topology_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// The smallest topology that has everything: words are counted in a table that survives crashes.
func Example() {
	t := topology.New("wordcount")
	lines := topology.NewTopic(t, "lines", codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	word := func(w string) string { return w }
	topology.Count(topology.GroupBy(topology.FlatMap(topology.From(lines), strings.Fields), word), counts)

	p, err := t.Plan()
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := topology.Describe(p, "text")
	fmt.Print(text, err)
	// Output:
	// topology wordcount
	//
	// stage 1: lines
	//   agent count-counts-group: reads lines, sends wordcount-count-counts-repartition, steps: from lines | flat-map | group to wordcount-count-counts-repartition
	//
	// stage 2: wordcount-count-counts-repartition
	//   agent count-counts: reads wordcount-count-counts-repartition, writes table counts, steps: from wordcount-count-counts-repartition | count into counts
	//   table counts (string → int64), changelog wordcount-counts-changelog
	//
	// topics
	//   lines: external (string → string)
	//   wordcount-count-counts-repartition: repartition (string → string)
	//   wordcount-counts-changelog: changelog (string → int64)
	//   wordcount-dead-letters: dead letters, partitions: 1
	//   wordcount-slots: slots
	//   wordcount-leader: leader, partitions: 1
	// <nil>
}

// A handler that reads and writes the row of its record's key runs inside the table's shard.
func ExampleEachRow() {
	t := topology.New("limits")
	payments := topology.NewTopic(t, "payments", codec.String, codec.Int64)
	alarms := topology.NewTopic(t, "alarms", codec.String, codec.Int64)
	spent := topology.NewTable(t, "spent", codec.String, codec.Int64)

	topology.EachRow(t, "watch", payments, spent, func(ctx *topology.Context, p topology.Event[string, int64], row *topology.Row[int64]) error {
		if p.Value < 0 {
			return errors.New("a payment is not negative")
		}
		sum, _ := row.Get()
		row.Set(sum + p.Value)
		if sum+p.Value > 1000 {
			alarms.Send(ctx, p.Key, sum+p.Value)
		}
		return nil
	}, topology.Sends(alarms))

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// A loop agent may gather records: each batch is one atomic effect.
func ExampleStream_Batches() {
	t := topology.New("bulk")
	rows := topology.NewTopic(t, "rows", codec.String, codec.String)
	files := topology.NewTopic(t, "files", codec.Bytes, codec.String)

	topology.Agent(t, "gather", rows, func(ctx *topology.Context, in topology.Stream[string, string]) error {
		for batch := range in.Batches(500, time.Second) {
			var file strings.Builder
			for _, row := range batch {
				file.WriteString(row.Value + "\n")
			}
			files.Send(ctx, nil, file.String(), topology.NullKey())
		}
		return nil
	}, topology.Sends(files))

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// Every fault of a topology is reported at once, with its mend.
func ExampleTopology_Plan() {
	t := topology.New("faulty")
	orders := topology.NewTopic(t, "orders and more", codec.String, codec.String)
	topology.NewTable(t, "totals", codec.String, codec.Int64)
	topology.Each(t, "echo", orders, func(*topology.Context, topology.Event[string, string]) error { return nil }, topology.Sends(orders))

	_, err := t.Plan()
	fmt.Println(err)
	// Output:
	// a topic is called "orders and more": Kafka takes letters, digits, dots, underscores and hyphens only
	// table totals is written by no agent: declare topology.Writes(totals) where it is, or remove it
	// records go round in a loop: orders and more → agent echo → orders and more; if that is meant, declare one of the topics with topology.Loop()
}

// What one agent sends to a channel, others of the same partition read: nothing is encoded, and a line is done only when its words are.
func ExampleNewChannel() {
	t := topology.New("wordcount")
	lines := topology.NewTopic(t, "lines", codec.String, codec.String)
	words := topology.NewChannel[string, []string](t, "words", topology.Capacity(1000))
	lengths := topology.NewTable(t, "lengths", codec.String, codec.Int64)

	topology.Each(t, "split", lines, func(ctx *topology.Context, line topology.Event[string, string]) error {
		words.Send(ctx, line.Key, strings.Fields(line.Value))
		return nil
	}, topology.Sends(words))
	topology.Each(t, "measure", words, func(ctx *topology.Context, all topology.Event[string, []string]) error {
		lengths.Set(ctx, all.Key, int64(len(all.Value)))
		return nil
	}, topology.Writes(lengths))

	p, err := t.Plan()
	fmt.Println(p.Channels[0].Name, p.Channels[0].Value.Type, err)
	// Output: words []string <nil>
}

// A channel that is given records from outside, too.
func ExamplePuts() {
	t := topology.New("shop")
	orders := topology.NewChannel[string, int64](t, "orders", topology.Puts(codec.String, codec.Int64))
	sums := topology.NewTable(t, "sums", codec.String, codec.Int64)
	topology.Each(t, "add", orders, func(ctx *topology.Context, o topology.Event[string, int64]) error {
		sums.Update(ctx, o.Key, func(sum int64, _ bool) (int64, error) { return sum + o.Value, nil })
		return nil
	}, topology.Writes(sums))

	d := topologytest.New(inExample{}, t)
	// In a program of its own: client, err := troupe.OpenClient(ctx, troupe.ClientConfig{Brokers: …})
	err := orders.Put(context.Background(), d, "ada", 7)
	fmt.Println(topologytest.Table(d, sums), err)
	// Output: map[ada:7] <nil>
}

// A copy of a topic on every node, which any agent may read.
func ExampleNewGlobalTable() {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.Float64)
	euros := topology.NewTopic(t, "euros", codec.String, codec.Float64)
	rates := topology.NewGlobalTable(t, "rates", topology.NewTopic(t, "rates", codec.String, codec.Float64))
	topology.Each(t, "convert", orders, func(ctx *topology.Context, o topology.Event[string, float64]) error {
		rate, ok, err := rates.Get(ctx, "USD")
		if ok {
			euros.Send(ctx, o.Key, o.Value/rate)
		}
		return err
	}, topology.Reads(rates), topology.Sends(euros))

	p, err := t.Plan()
	fmt.Println(p.Globals[0].Topic.Name, p.Globals[0].Topic.Config["cleanup.policy"], err)
	// Output: rates compact <nil>
}

// Each order with the name of its customer: those without one are left out.
func ExampleJoinGlobal() {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.String) // order to customer
	customers := topology.NewGlobalTable(t, "customers", topology.NewTopic(t, "customers", codec.String, codec.String))
	customer := func(o topology.Event[string, string]) (string, bool) { return o.Value, o.Value != "" }
	joined := topology.JoinGlobal(topology.From(orders), customers, customer, func(_, name string) string { return name })
	topology.To(joined, topology.NewTopic(t, "named", codec.String, codec.String))

	p, err := t.Plan()
	fmt.Println(p.Agents[0].Steps, err)
	// Output: [from orders join global customers to named] <nil>
}

// The same for all orders.
func ExampleLeftJoinGlobal() {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.String) // order to customer
	customers := topology.NewGlobalTable(t, "customers", topology.NewTopic(t, "customers", codec.String, codec.String))
	customer := func(o topology.Event[string, string]) (string, bool) { return o.Value, o.Value != "" }
	joined := topology.LeftJoinGlobal(topology.From(orders), customers, customer, func(_, name string, ok bool) string {
		if !ok {
			return "a stranger"
		}
		return name
	})
	topology.To(joined, topology.NewTopic(t, "named", codec.String, codec.String))

	p, err := t.Plan()
	fmt.Println(p.Agents[0].Steps, err)
	// Output: [from orders left-join global customers to named] <nil>
}

// A timer with a crontab line, once for the whole topology.
func ExampleCron() {
	t := topology.New("accounts")
	reports := topology.NewTopic(t, "reports", codec.String, codec.String)
	topology.Cron(t, "nightly", "CRON_TZ=Europe/Berlin 30 4 * * 1-5", func(ctx *topology.TaskContext) error {
		reports.Send(ctx, ctx.Due.Format(time.DateOnly), fmt.Sprintf("close the books; %d days were missed", ctx.Missed))
		return nil
	}, topology.Sends(reports), topology.OnLeader())

	p, err := t.Plan()
	if err != nil {
		fmt.Println(err)
		return
	}
	friday := time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)
	fmt.Println(p.Agents[0].Next(friday)) // clocks have gone forward by then
	// Output:
	// 2026-03-30 02:30:00 +0000 UTC
}

// A durable timer per key, which each record sets anew: it is due once none has come for ten minutes.
func ExampleOnTimer() {
	t := topology.New("sensors")
	readings := topology.NewTopic(t, "readings", codec.String, codec.Float64)
	alarms := topology.NewTopic(t, "alarms", codec.String, codec.String)
	silence := topology.NewTimers(t, "silence", codec.String, codec.Float64)

	topology.Each(t, "watch", readings, func(ctx *topology.Context, r topology.Event[string, float64]) error {
		silence.After(ctx, r.Key, 10*time.Minute, r.Value)
		return nil
	}, topology.Writes(silence))
	topology.OnTimer(t, "alarm", silence, func(ctx *topology.Context, s topology.Timer[string, float64]) error {
		alarms.Send(ctx, s.Key, fmt.Sprintf("silent for ten minutes; the last reading was %g", s.Payload))
		return nil
	}, topology.Sends(alarms))

	p, err := t.Plan()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range p.Stages[1].Agents {
		fmt.Println(a.Name)
	}
	// Output:
	// watch
	// alarm
}

// A handler that waits for something else may do so for several records of a partition at once: those of a key stay in order.
func ExampleConcurrency() {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.String)
	paid := topology.NewTopic(t, "paid", codec.String, codec.String)
	charge := func(ctx *topology.Context, order string) (string, error) { return "receipt of " + order, ctx.Err() }
	topology.Each(t, "charge", orders, func(ctx *topology.Context, o topology.Event[string, string]) error {
		receipt, err := charge(ctx, o.Value)
		paid.Send(ctx, o.Key, receipt)
		return err
	}, topology.Sends(paid), topology.Concurrency(8))

	p, err := t.Plan()
	fmt.Println(p.Agents[0].Concurrency, err)
	// Output: 8 <nil>
}
