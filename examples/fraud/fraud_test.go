package fraud

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// Each payment has one verdict, though everything in memory is lost after each step; declined ones are in the cases.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	topo := Topology()
	d := topologytest.New(t, topo)
	payments := topology.TopicOf[string, Payment](topo, "payments")
	confirmations := topology.TopicOf[string, string](topo, "confirmations")
	pay := func(card, id string, amount int64) {
		topologytest.Pipe(d, payments, card, Payment{id, amount, "DE"})
		d.Crash()
	}
	pay("ada", "p-1", 35)
	pay("ada", "p-2", 2500) // held
	pay("ada", "p-3", 1)
	pay("grace", "p-4", 4000) // held
	topologytest.Pipe(d, confirmations, "ada", "p-4")
	topologytest.Pipe(d, confirmations, "ada", "p-2")
	d.Crash()
	pay("ada", "p-5", 2)
	d.Advance(Hold)
	d.Crash()
	topologytest.Pipe(d, confirmations, "grace", "p-4") // too late
	pay("grace", "p-6", 3)
	d.Advance(2 * time.Second)

	require.Equal(t, map[string]Card{"ada": {Spent: 2537}, "grace": {Blocked: true}}, topologytest.Table(d, topology.TableOf[string, Card](topo, "cards")))
	got := map[string]string{}
	for _, v := range topologytest.Read(d, topology.TopicOf[string, Verdict](topo, "verdicts")) {
		require.NotContains(t, got, v.Value.ID)
		got[v.Value.ID] = v.Value.Why
		require.Equal(t, v.Value.Why == "" || v.Value.Why == "confirmed", v.Value.OK)
	}
	require.Equal(t, map[string]string{
		"p-1": "", "p-2": "confirmed", "p-3": "another payment waits to be confirmed", "p-4": "nobody confirmed it", "p-5": "", "p-6": "the card is blocked",
	}, got)
	filed := map[string]bool{}
	for _, c := range topologytest.Read(d, topology.TopicOf[string, []Verdict](topo, "cases")) {
		for _, v := range c.Value {
			require.False(t, filed[v.ID])
			filed[v.ID] = true
		}
	}
	require.Equal(t, map[string]bool{"p-3": true, "p-4": true, "p-6": true}, filed)
	require.Empty(t, d.Failures())
}
