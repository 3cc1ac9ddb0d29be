package inventory

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// Counts and orders come in any order; each turn to short and back is told once, though everything in memory is lost after each record.
func TestLevels(t *testing.T) {
	t.Parallel()
	topo := Topology()
	d := topologytest.New(t, topo)
	stock := topology.TopicOf[string, Stock](topo, "stock")
	orders := topology.TopicOf[string, Order](topo, "orders")
	order := func(number, goods string, count int64) {
		topologytest.Pipe(d, orders, number, Order{goods, count})
		d.Crash()
	}
	count := func(goods string, onHand, least int64) {
		topologytest.Pipe(d, stock, goods, Stock{onHand, least})
		d.Crash()
	}
	order("o-1", "ink", 3)
	levels := topology.TableOf[string, Level](topo, "levels")
	require.Empty(t, topologytest.Table(d, levels), "nobody has counted the ink")
	count("ink", 10, 5)
	order("o-2", "ink", 1)
	order("o-3", "ink", 2)
	order("o-4", "ink", 3)
	count("ink", 30, 5)
	count("pen", 0, 1)

	require.Equal(t, map[string]Level{"ink": {Stock{30, 5}, 9}, "pen": {Stock{0, 1}, 0}}, topologytest.Table(d, levels))
	kept := func(number, goods string, count int64) { // by the last count of the shelves
		promises := topologytest.Table(d, topology.TableOf[string, Promise](topo, "promises"))
		require.Equal(t, Promise{Order{goods, count}, true}, promises[number])
	}
	kept("o-1", "ink", 3)
	kept("o-4", "ink", 3)
	told := map[string][]Shortage{}
	for _, s := range topologytest.Read(d, topology.TopicOf[string, Shortage](topo, "shortages")) {
		told[s.Key] = append(told[s.Key], s.Value)
	}
	require.Equal(t, map[string][]Shortage{"ink": {{4, true}, {21, false}}, "pen": {{0, true}}}, told)
	order("o-5", "pen", 1)
	promises := topologytest.Table(d, topology.TableOf[string, Promise](topo, "promises"))
	require.Equal(t, Promise{Order{"pen", 1}, false}, promises["o-5"], "there are no pens")
	count("pen", 1, 0)
	kept("o-5", "pen", 1)
	require.Len(t, topologytest.Table(d, topology.TableOf[string, Promise](topo, "promises")), 5)
	require.Empty(t, d.Failures())
}
