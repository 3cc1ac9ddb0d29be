package bank

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// After any number of transfers and crashes the balances are 0 in sum, and each is what a plain loop makes of the same transfers.
func TestNoCentIsMadeOrLost(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	topo := Topology()
	d := topologytest.New(t, topo, topologytest.Partitions(5))
	transfers := topology.TopicOf[string, Transfer](topo, "transfers")
	accounts := topology.TableOf[string, int64](topo, "accounts")
	names := []string{Cash, "ada", "grace", "alan", "edsger", "barbara", "tony"}
	want, refusals := map[string]int64{}, 0
	for i := range 300 {
		from, tr := names[random.IntN(len(names))], Transfer{fmt.Sprint("t-", i), names[random.IntN(len(names))], random.Int64N(60_000) - 1000}
		if refused(from, want[from], tr) == "" {
			want[from] -= tr.Amount
			want[tr.To] += tr.Amount
		} else {
			refusals++
		}
		topologytest.Pipe(d, transfers, from, tr)
		if random.IntN(4) == 0 {
			d.Crash()
		}
		balances, sum := topologytest.Table(d, accounts), int64(0)
		for b := range maps.Values(balances) {
			sum += b
		}
		require.Zero(t, sum, "after transfer %d", i)
	}
	require.Equal(t, want, topologytest.Table(d, accounts))
	require.Len(t, topologytest.Read(d, topology.TopicOf[string, Refusal](topo, "refusals")), refusals)
	require.Empty(t, d.Failures())

	places := map[int32]bool{}
	for _, c := range topologytest.Read(d, topology.TopicOf[string, Credit](topo, "credits")) {
		places[c.Partition()] = true
	}
	require.Greater(t, len(places), 1, "the accounts are in several partitions")
}
