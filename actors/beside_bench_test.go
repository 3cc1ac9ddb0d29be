package actors_test

import (
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// besideTotal is how many records the partition has that is measured.
const besideTotal = 2_000_000

// BenchmarkBesideFailures measures what a partition does while another one of the same node fails at each of its records, as a ratio
// to what it does while the other one is busy with records that succeed, on a machine that does nothing else:
//
//	go test ./actors -run - -bench BesideFailures -benchtime 3x
//
// "idle" is the other control: the other partition has nothing to do.
func BenchmarkBesideFailures(b *testing.B) {
	var idle, good, bad float64
	n := 0.0
	for b.Loop() {
		n++
		idle += beside(b, 0, false)
		good += beside(b, besideTotal, false)
		bad += beside(b, 100_000, true)
	}
	b.ReportMetric(bad/good, "failing/succeeding")
	b.ReportMetric(good/idle, "succeeding/idle")
	b.ReportMetric(bad/idle, "failing/idle")
	b.ReportMetric(bad/n, "records/s")
}

// beside returns how many records a second partition 1 has done while partition 0 had others to do.
func beside(b *testing.B, others int, fail bool) float64 {
	b.Helper()
	w := newWorld(b, 2, "in")
	topo := topology.New("beside")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64, topology.Local())
	var first, last, done, failed atomic.Int64
	finished := make(chan struct{})
	topology.Each(topo, "count", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		if ev.Partition() == 0 {
			failed.Add(1)
			if fail {
				return topology.Permanent(errors.New("always"))
			}
		} else {
			switch done.Add(1) {
			case 1:
				first.Store(time.Now().UnixNano())
			case besideTotal:
				last.Store(time.Now().UnixNano())
				close(finished)
			}
		}
		counts.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(counts))
	c := w.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var rs []*kgo.Record
	for i := range others + besideTotal {
		r := &kgo.Record{Topic: "in", Key: []byte(strconv.Itoa(i % 1000)), Value: []byte("value"), Partition: 1}
		if i < others {
			r.Partition = 0
		}
		rs = append(rs, r)
	}
	require.NoError(b, c.ProduceSync(b.Context(), rs...).FirstErr())
	n := w.node(b.TempDir(), topo)
	<-finished
	if others > 0 && failed.Load() == 0 {
		b.Fatal("the other partition has done nothing meanwhile")
	}
	if fail && failed.Load() == int64(others) {
		b.Fatal("the other partition has had nothing left to fail at for a part of the time")
	}
	b.Logf("%d others, failing %v: %d of them meanwhile", others, fail, failed.Load())
	w.stop(n)
	return besideTotal / time.Duration(last.Load()-first.Load()).Seconds()
}
