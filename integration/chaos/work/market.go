package work

import (
	"context"
	"strconv"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// CallAfter is how much later, by the times of records, the timer of a sale is due; Customers how many customers there are.
const (
	CallAfter = 500 * time.Millisecond
	Customers = 150
)

// Market has operators on flows and tables that are joined. Each sale, whose key no other has, comes twice: once only it goes on. A function that waits makes of it
// what Priced says; sales are counted by customer, through an internal topic, and each change of a count is told; what a customer owes is the join of
// that count with the price that was last written for them. A timer by the times of records calls after each sale.
func Market() *topology.Topology {
	t := topology.New("market")
	sales := topology.NewTopic(t, "sales", codec.String, codec.Int64)
	prices := topology.TableFrom(t, "price", topology.NewTopic(t, "prices", codec.String, codec.Int64))
	fresh := topology.NewTopic(t, "fresh", codec.String, codec.Int64)
	priced := topology.NewTopic(t, "priced", codec.String, codec.Int64)
	counted := topology.NewTopic(t, "counted", codec.String, codec.Int64)
	called := topology.NewTopic(t, "called", codec.String, codec.Int64)
	seen := topology.NewSetTable(t, "seen", codec.String, codec.Int64)
	sold := topology.NewTable(t, "sold", codec.String, codec.Int64)
	owed := topology.NewTable(t, "owed", codec.String, codec.Int64)
	calls := topology.NewTimers(t, "calls", codec.String, codec.Int64, topology.EventTime)

	once := topology.Through(topology.Distinct(topology.From(sales), seen, func(ev topology.Event[string, int64]) int64 { return ev.Value }), fresh)
	topology.To(topology.MapAsync(once, 4, func(ctx context.Context, ev topology.Event[string, int64]) (int64, error) {
		timer := time.NewTimer(time.Duration(ev.Value%4) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			return Priced(ev.Value), nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}), priced)
	topology.Count(topology.GroupBy(once, Customer), sold)
	topology.To(topology.ToStream(sold), counted)
	topology.JoinTables(sold, prices, owed, func(n, price int64) int64 { return n * price })
	topology.Each(t, "note", sales, func(ctx *topology.Context, ev topology.Event[string, int64]) error {
		calls.After(ctx, ev.Key, CallAfter, ev.Value)
		return nil
	}, topology.Writes(calls))
	topology.OnTimer(t, "call", calls, func(ctx *topology.Context, x topology.Timer[string, int64]) error {
		called.Send(ctx, x.Key, x.Payload)
		return nil
	}, topology.Sends(called))
	return t
}

// Priced is what becomes of a sale.
func Priced(id int64) int64 { return 3*id + 1 }

// Customer is whose a sale is.
func Customer(id int64) string { return "buyer-" + strconv.FormatInt(id%Customers, 10) }
