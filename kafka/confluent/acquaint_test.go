package confluent

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// questions is a log that counts how often consumers asked for their topics because we wanted it, and not because librdkafka looked for
// those that it does not know.
type questions struct {
	slog.Handler
	asked *atomic.Int32
}

func (q questions) Handle(_ context.Context, r slog.Record) error {
	said := map[string]string{}
	r.Attrs(func(a slog.Attr) bool {
		said[a.Key] = a.Value.String()
		return true
	})
	if strings.Contains(said["client"], "#consumer-") && strings.HasSuffix(said["text"], "topic(s): application requested") {
		q.asked.Add(1)
	}
	return nil
}

func (q questions) Enabled(context.Context, slog.Level) bool { return true }
func (q questions) WithAttrs([]slog.Attr) slog.Handler       { return q }

func driverThatTells(t *testing.T, c *kfake.Cluster) (*Driver, *atomic.Int32) {
	t.Helper()
	q := questions{slog.DiscardHandler, new(atomic.Int32)}
	d, err := New(Config{Brokers: c.ListenAddrs(), Client: underTest, Logger: slog.New(q), Settings: map[string]string{"debug": "metadata"}})
	require.NoError(t, err)
	return d, q.asked
}

func TestTopicsThatAreNewToAClientAreAskedForAtOnce(t *testing.T) {
	t.Parallel()
	t.Run("reader", func(t *testing.T) {
		t.Parallel()
		c := cluster(t, 2)
		fill(t, c, "b", 2, 0, 1)
		d, asked := driverThatTells(t, c)
		r := readerOf(t, d)
		for i := range int32(2) {
			require.NoError(t, r.Assign(kafka.TopicPartition{Topic: "b", Partition: i}, 0))
			pollUntil(t, r, func(b *kafka.Batch) bool { return b.Partition == i && b.Len() > 0 })
		}
		require.Eventually(t, func() bool { return asked.Load() >= 1 }, patience, time.Millisecond)
	})
	t.Run("group", func(t *testing.T) {
		t.Parallel()
		c := cluster(t, 2)
		fill(t, c, "a", 2, 0, 1)
		d, asked := driverThatTells(t, c)
		open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
		exactly(t, c, 2, 1)
		require.Eventually(t, func() bool { return asked.Load() >= 1 }, patience, time.Millisecond)
	})
}

// TestAnEarlierTransactionIsOverBeforeTheClientAsks: librdkafka would ask again half a second later.
func TestAnEarlierTransactionIsOverBeforeTheClientAsks(t *testing.T) {
	t.Parallel()
	c := cluster(t, 1)
	d := driver(t, c)
	var busy, asked atomic.Int32
	busy.Store(5)
	c.ControlKey(kmsg.InitProducerID.Int16(), func(rq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if rq.(*kmsg.InitProducerIDRequest).TransactionalID == nil {
			return nil, nil, false
		}
		asked.Add(1)
		if busy.Add(-1) < 0 {
			return nil, nil, false
		}
		answer := rq.ResponseKind().(*kmsg.InitProducerIDResponse)
		answer.ErrorCode = kerr.ConcurrentTransactions.Code
		return answer, nil, true
	})
	open(t, d, kafka.GroupConfig{Instance: "A", Nonce: "1"}, oneSource).start()
	require.EqualValues(t, 7, asked.Load(), "five times it was not over, then it was, then the client asked")
}
