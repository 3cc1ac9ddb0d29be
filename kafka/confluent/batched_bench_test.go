//go:build unix

package confluent

import (
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/troupe-stream/troupe/kafka"
)

// The benchmarks compare the two clients in one process: cpu-ns/record is the processor time of the whole of it, librdkafka's threads and
// the broker's goroutines with it. Only the ratio of the two says something, and only of one run.

const benched = 200_000 // records of 28 bytes

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perClient(b *testing.B, f func(b *testing.B, d *Driver)) {
	b.Helper()
	for _, client := range []string{Batched, Public} {
		b.Run(client, func(b *testing.B) {
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "a"))
			require.NoError(b, err)
			defer c.Close()
			d, err := New(Config{Brokers: c.ListenAddrs(), Client: client, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(b, err)
			used, err := d.batched()
			require.NoError(b, err)
			require.Equal(b, client == Batched, used)
			f(b, d)
		})
	}
}

func benchmarkRecords() *kafka.Outputs {
	out := new(kafka.Outputs)
	for i := range benched {
		out.Append(0, int32(i%4), 0, fmt.Appendf(nil, "key-%016d", i), []byte("12345678"), nil)
	}
	return out
}

// measure reports what f costs, which passes so many records at each call.
func measure(b *testing.B, f func()) {
	b.Helper()
	b.ReportAllocs()
	f() // connections and metadata
	began, n := processorTime(), 0
	for b.Loop() {
		f()
		n += benched
	}
	b.ReportMetric(float64(processorTime()-began)/float64(n), "cpu-ns/record")
}

func BenchmarkRead(b *testing.B) {
	out := benchmarkRecords()
	perClient(b, func(b *testing.B, d *Driver) {
		b.Helper()
		a, err := d.OpenAdmin()
		require.NoError(b, err)
		defer func() { require.NoError(b, a.Close()) }()
		_, err = a.Produce(b.Context(), []string{"a"}, out)
		require.NoError(b, err)
		r, err := d.OpenReader()
		require.NoError(b, err)
		defer func() { require.NoError(b, r.Close()) }()
		measure(b, func() {
			for p := range int32(4) {
				require.NoError(b, r.Assign(tpOf("a", p), 0))
			}
			for n := 0; n < benched; {
				batch, err := r.Poll(time.Second)
				require.NoError(b, err)
				if batch != nil {
					n += batch.Len()
				}
			}
		})
	})
}

func BenchmarkProduce(b *testing.B) {
	outs := []*kafka.Outputs{benchmarkRecords()}
	perClient(b, func(b *testing.B, d *Driver) {
		b.Helper()
		p, err := openPlainSender(d, d.log, []string{"a"})
		require.NoError(b, err)
		defer func() { require.NoError(b, p.Close()) }()
		measure(b, func() { require.NoError(b, send(p, b.Context(), outs)) })
	})
}
