package enrich

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// Each sale becomes one invoice, with the price and the rate of its moment, though everything in memory is lost after each record.
func TestInvoices(t *testing.T) {
	t.Parallel()
	topo := Topology()
	d := topologytest.New(t, topo)
	sales := topology.TopicOf[string, Sale](topo, "sales")
	items := topology.TopicOf[string, Item](topo, "item-updates")
	rates := topology.TopicOf[string, float64](topo, "rate-updates")
	sell := func(s Sale) {
		topologytest.Pipe(d, sales, "ink", s)
		d.Crash()
	}
	sell(Sale{"ada", 1, "EUR"})
	topologytest.Pipe(d, items, "ink", Item{"Blue ink", 300})
	sell(Sale{"ada", 2, "EUR"})
	sell(Sale{"grace", 2, "USD"})
	topologytest.Pipe(d, rates, "USD", 1.25)
	sell(Sale{"grace", 2, "USD"})
	topologytest.Pipe(d, items, "ink", Item{"Blue ink", 400})
	sell(Sale{"grace", 2, "USD"})

	var got []Invoice
	for _, inv := range topologytest.Read(d, topology.TopicOf[string, Invoice](topo, "invoices")) {
		require.Equal(t, "ink", inv.Key)
		got = append(got, inv.Value)
	}
	require.Equal(t, []Invoice{
		{Customer: "ada", Count: 1, Currency: "EUR", Missing: "nobody knows the goods"},
		{Customer: "ada", Item: "Blue ink", Count: 2, Currency: "EUR", Amount: 6},
		{Customer: "grace", Item: "Blue ink", Count: 2, Currency: "USD", Missing: "nobody knows the rate"},
		{Customer: "grace", Item: "Blue ink", Count: 2, Currency: "USD", Amount: 7.5},
		{Customer: "grace", Item: "Blue ink", Count: 2, Currency: "USD", Amount: 10},
	}, got)
	require.Empty(t, d.Failures())
}
