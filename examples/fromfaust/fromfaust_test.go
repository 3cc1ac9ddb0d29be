package fromfaust

// What stands between "// doc: NAME" and "// end" is in docs/from-faust.md too, letter by letter: docs_test.go compares them.

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// doc: model

type Order struct {
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
}

// end

// doc: app

func Topology() *topology.Topology {
	t := topology.New("orders")
	orders := topology.NewTopic(t, "orders", codec.String, codec.JSON[Order]())

	topology.Agent(t, "process", orders, func(_ *topology.Context, in topology.Stream[string, Order]) error {
		for order := range in.All() {
			fmt.Println("order of", order.Value.Account, "for", order.Value.Amount)
		}
		return nil
	})
	return t
}

// end

func TestApp(t *testing.T) {
	t.Parallel()
	topo := Topology()
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, topology.TopicOf[string, Order](topo, "orders"), "o-1", Order{"ada", 3})
	require.Empty(t, d.Failures())
}

var _ = func() {
	// doc: main
	troupe.Main(Topology())
	// end
}

func TestTable(t *testing.T) {
	t.Parallel()
	topo := topology.New("orders")
	// doc: table
	orders := topology.NewTopic(topo, "orders", codec.String, codec.JSON[Order]())
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.Each(topo, "count", orders, func(ctx *topology.Context, order topology.Event[string, Order]) error {
		counts.Update(ctx, order.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(counts))
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, orders, "ada", Order{"ada", 3})
	topologytest.Pipe(d, orders, "ada", Order{"ada", 4})
	require.Equal(t, map[string]int64{"ada": 2}, topologytest.Table(d, counts))
}

func TestGroupBy(t *testing.T) {
	t.Parallel()
	topo := topology.New("orders")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.JSON[Order]())
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	// doc: group_by
	byAccount := topology.GroupBy(topology.From(orders), func(o Order) string { return o.Account })
	topology.Count(byAccount, counts)
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, orders, "o-1", Order{"ada", 3})
	topologytest.Pipe(d, orders, "o-2", Order{"ada", 4})
	require.Equal(t, map[string]int64{"ada": 2}, topologytest.Table(d, counts))
}

func TestThrough(t *testing.T) {
	t.Parallel()
	topo := topology.New("orders")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.JSON[Order]())
	// doc: through
	byAccount := topology.NewTopic(topo, "orders-by-account", codec.String, codec.JSON[Order]())
	topology.Each(topo, "spread", orders, func(ctx *topology.Context, order topology.Event[string, Order]) error {
		byAccount.Send(ctx, order.Value.Account, order.Value)
		return nil
	}, topology.Sends(byAccount))
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, orders, "o-1", Order{"ada", 3})
	got := topologytest.Read(d, byAccount)
	require.Len(t, got, 1)
	require.Equal(t, "ada", got[0].Key)
}

func TestAsk(t *testing.T) {
	t.Parallel()
	topo := topology.New("orders")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.JSON[Order]())
	totals := topology.NewTable(topo, "totals", codec.String, codec.Int64)
	// doc: ask
	total := topology.Answer(topo, "total", orders, func(ctx *topology.Context, order topology.Event[string, Order]) (int64, error) {
		n, _, err := totals.Get(ctx, order.Key)
		n += order.Value.Amount
		totals.Set(ctx, order.Key, n)
		return n, err
	}, codec.Int64, topology.Writes(totals))
	// end

	ctx, client := t.Context(), topologytest.New(t, topo)
	topologytest.Pipe(client, orders, "ann", Order{"ann", 2})
	// doc: asked
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := total.Ask(ctx, client, "ann", Order{"ann", 5})
	// end
	require.NoError(t, err)
	require.Equal(t, int64(7), answer)
}

func TestTake(t *testing.T) {
	t.Parallel()
	topo := topology.New("orders")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.JSON[Order]())
	var taken int
	insert := func(ctx context.Context, batch []topology.Event[string, Order]) error {
		taken += len(batch)
		return ctx.Err()
	}
	// doc: take
	topology.Agent(topo, "store", orders, func(ctx *topology.Context, in topology.Stream[string, Order]) error {
		for batch := range in.Batches(100, 5*time.Second) {
			if err := insert(ctx, batch); err != nil {
				return err // the whole batch is tried again
			}
		}
		return nil
	})
	// end
	d := topologytest.New(t, topo, topologytest.Partitions(1))
	topologytest.Pipe(d, orders, "o-1", Order{"ada", 3})
	topologytest.Pipe(d, orders, "o-2", Order{"ada", 4})
	d.Advance(5 * time.Second)
	require.Equal(t, 2, taken)
}

func TestTimer(t *testing.T) {
	t.Parallel()
	topo := topology.New("orders")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.JSON[Order]())
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.Count(topology.GroupByKey(topology.From(orders)), counts)
	reports := topology.NewTopic(topo, "reports", codec.String, codec.Int64)
	// doc: timer
	topology.Every(topo, "report", 10*time.Second, func(ctx *topology.TaskContext) error {
		for account, n := range counts.All(ctx) {
			reports.Send(ctx, account, n)
		}
		return nil
	}, topology.Reads(counts), topology.Sends(reports))
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, orders, "ada", Order{"ada", 3})
	d.Advance(10 * time.Second)
	require.Len(t, topologytest.Read(d, reports), 1)
}

func TestCron(t *testing.T) {
	t.Parallel()
	topo := topology.New("orders")
	reports := topology.NewTopic(topo, "reports", codec.String, codec.Int64)
	// doc: cron
	topology.Cron(topo, "nightly", "CRON_TZ=Europe/Berlin 30 4 * * 1-5", func(ctx *topology.TaskContext) error {
		reports.Send(ctx, ctx.Due.Format(time.DateOnly), 0)
		return nil
	}, topology.Sends(reports), topology.OnLeader())
	// end
	d := topologytest.New(t, topo)
	d.Advance(7 * 24 * time.Hour)
	require.Len(t, topologytest.Read(d, reports), 1, "what was missed is one call")
}

func TestOperators(t *testing.T) {
	t.Parallel()
	topo := topology.New("wordcount")
	// doc: operators
	lines := topology.NewTopic(topo, "lines", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	words := topology.FlatMap(topology.From(lines), strings.Fields)
	topology.Count(topology.GroupBy(words, func(w string) string { return w }), counts)
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, lines, "", "to be or not to be")
	require.Equal(t, map[string]int64{"to": 2, "be": 2, "or": 1, "not": 1}, topologytest.Table(d, counts))
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	topo := topology.New("orders")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.JSON[Order]())
	tries := 0
	charge := func(*topology.Context, topology.Event[string, Order]) error {
		tries++
		return context.DeadlineExceeded
	}
	// doc: policy
	topology.Each(topo, "charge", orders, charge, topology.OnFailure(topology.Policy{
		Attempts: 10,
		Backoff:  topology.Backoff{Min: time.Second, Max: time.Minute},
		Then:     topology.StopPartition,
	}))
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, orders, "o-1", Order{"ada", 3})
	require.Equal(t, 10, tries)
	require.Len(t, d.Stopped(), 1)
}

// doc: test

func TestCounts(t *testing.T) {
	topo := Counting()
	d := topologytest.New(t, topo)
	orders := topology.TopicOf[string, Order](topo, "orders")
	topologytest.Pipe(d, orders, "ada", Order{"ada", 3})
	d.Crash() // what is in memory is lost, as when a node is killed
	topologytest.Pipe(d, orders, "ada", Order{"ada", 4})

	counts := topology.TableOf[string, int64](topo, "counts")
	require.Equal(t, map[string]int64{"ada": 2}, topologytest.Table(d, counts))
}

// end

func Counting() *topology.Topology {
	t := topology.New("orders")
	orders := topology.NewTopic(t, "orders", codec.String, codec.JSON[Order]())
	topology.Count(topology.GroupByKey(topology.From(orders)), topology.NewTable(t, "counts", codec.String, codec.Int64))
	return t
}

func TestGoka(t *testing.T) {
	t.Parallel()
	topo := topology.New("orders")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.JSON[Order]())
	totals := topology.NewTable(topo, "totals", codec.String, codec.Int64)
	// doc: goka
	topology.EachRow(topo, "sum", orders, totals, func(_ *topology.Context, order topology.Event[string, Order], row *topology.Row[int64]) error {
		total, _ := row.Get()               // ctx.Value()
		row.Set(total + order.Value.Amount) // ctx.SetValue(…)
		return nil
	})
	// end
	d := topologytest.New(t, topo)
	topologytest.Pipe(d, orders, "ada", Order{"ada", 3})
	topologytest.Pipe(d, orders, "ada", Order{"ada", 4})
	require.Equal(t, map[string]int64{"ada": 7}, topologytest.Table(d, totals))
}
