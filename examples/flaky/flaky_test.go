package flaky

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// Every payment is charged exactly once, those that are declined are dead letters, and each account's receipts are in the order of its
// payments; through an outage and a crash. A handler that hangs needs a real clock: see cmd/node.
func TestPayments(t *testing.T) {
	t.Parallel()
	var d *topologytest.Driver
	g := NewGateway(func() time.Time {
		if d == nil {
			return time.Time{}
		}
		return d.Now()
	})
	topo := New(g)
	d = topologytest.New(t, topo, topologytest.Partitions(1), topologytest.WithBackoff())
	payments := topology.TopicOf[string, Payment](topo, "payments")
	receipts := topology.TopicOf[string, Receipt](topo, "receipts")
	want := map[string][]string{}
	notes := []string{"", "fails", "", "panics", "", "declined", "down"}
	accounts := []string{"ada", "grace", "alan"}
	sums := map[string]int64{}
	for i := range 42 {
		p := Payment{ID: string(rune('A' + i)), Amount: int64(100 + i), Note: notes[i%len(notes)]}
		account := accounts[i%len(accounts)]
		topologytest.Pipe(d, payments, account, p)
		if p.Note != "declined" {
			want[account] = append(want[account], p.ID)
			sums[account] += p.Amount
		}
		if i == 20 {
			d.Crash()
		}
	}
	for range 100 {
		d.Advance(time.Second)
	}
	got := map[string][]string{}
	for _, r := range topologytest.Read(d, receipts) {
		got[r.Key] = append(got[r.Key], r.Value.ID)
	}
	require.Equal(t, want, got)
	require.Equal(t, 36, g.Charges())
	require.Equal(t, sums, topologytest.Table(d, topology.TableOf[string, int64](topo, "paid")))
	letters := 0
	for _, b := range d.Records("flaky-dead-letters") {
		letters += b.Len()
	}
	require.Equal(t, 6, letters, "the declined ones, and no other")
}
