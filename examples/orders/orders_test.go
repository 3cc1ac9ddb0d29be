package orders

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// Each order is counted and confirmed once, though everything in memory is lost after each.
func TestOrders(t *testing.T) {
	t.Parallel()
	topo := Topology()
	d := topologytest.New(t, topo)
	orders := topology.TopicOf[string, Order](topo, "orders")
	for _, o := range []struct {
		number string
		order  Order
	}{
		{"o-1", Order{"ada", "ink", 3}},
		{"o-2", Order{"grace", "paper", 500}},
		{"o-3", Order{"ada", "pens", 12}},
		{"o-4", Order{"", "a horse", 1}},
		{"o-5", Order{"ada", "paper", -1}},
		{"o-6", Order{"ada", "paper", 100}},
	} {
		topologytest.Pipe(d, orders, o.number, o.order)
		d.Crash()
	}
	require.Equal(t, map[string]Account{"ada": {3, 115}, "grace": {1, 500}}, topologytest.Table(d, topology.TableOf[string, Account](topo, "accounts")))
	confirmed := map[string][]Confirmation{}
	for _, c := range topologytest.Read(d, topology.TopicOf[string, Confirmation](topo, "confirmations")) {
		confirmed[c.Key] = append(confirmed[c.Key], c.Value)
	}
	require.Equal(t, map[string][]Confirmation{
		"ada":   {{"o-1", "ink", 1}, {"o-3", "pens", 2}, {"o-6", "paper", 3}},
		"grace": {{"o-2", "paper", 1}},
	}, confirmed)
	letters := 0
	for _, b := range d.Records("orders-dead-letters") {
		letters += b.Len()
	}
	require.Equal(t, 2, letters, "those without an account or an amount")
}
