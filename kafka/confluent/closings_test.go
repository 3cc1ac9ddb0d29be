package confluent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// committer is a transactor of librdkafka's with a broker whose answers to EndTxn a test decides on.
type committer struct {
	*transactor
	t *testing.T
	// next is what becomes of the next EndTxn: nil, carried out at once.
	next atomic.Pointer[func() error]
}

func newCommitter(t *testing.T, timed bool) *committer {
	t.Helper()
	c := cluster(t, 2)
	d := driver(t, c)
	d.timed = timed
	x := &committer{t: t}
	endTxn(c, func(int32, *kmsg.EndTxnRequest) (kmsg.Response, error, bool) {
		if f := x.next.Swap(nil); f != nil {
			if err := (*f)(); err != nil {
				return nil, err, true
			}
		}
		return nil, nil, false
	})
	cl, err := openTransactional(t.Context(), d, slog.New(slog.DiscardHandler), "x", nil, func(context.Context) error { return nil })
	require.NoError(t, err)
	s, err := openSender(cl, []string{"a"})
	require.NoError(t, err)
	x.transactor = &transactor{sender: s, group: "g"}
	t.Cleanup(func() { require.NoError(t, x.Close()) })
	return x
}

// commit commits a transaction with one record and returns how long its EndTxn took, and what Watch says of it.
func (x *committer) commit() (took time.Duration, twice error) {
	x.t.Helper()
	require.NoError(x.t, x.Begin())
	o := new(kafka.Outputs)
	o.Append(0, 0, 0, []byte("k"), []byte("v"), nil)
	require.NoError(x.t, errors.Join(x.Produce(x.t.Context(), []*kafka.Outputs{o}), x.Flush(x.t.Context())))
	doubt, began := x.Watch(), time.Now()
	require.NoError(x.t, x.Commit(x.t.Context()))
	return time.Since(began), doubt()
}

func (x *committer) then(f func() error) { x.next.Store(&f) }

// grow commits until the connections are older than any pause before a new one.
func (x *committer) grow() {
	x.t.Helper()
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
		_, _ = x.commit()
	}
}

var errBroken = errors.New("the connection breaks")

// A request whose connection broke is sent again within a few milliseconds, if the connection was not a new one: its time tells nothing.
func TestWhatWasSentTwiceIsKnown(t *testing.T) {
	t.Parallel()
	x := newCommitter(t, false)
	for range 5 {
		x.grow()
		x.then(func() error { return errBroken })
		took, twice := x.commit()
		require.ErrorContains(t, twice, "connections were lost", "it took %v", took)
	}
	_, twice := x.commit()
	require.NoError(t, twice, "what was lost before is no matter")
}

// A broker that is slow is no reason for doubt.
func TestWhatIsSlowWasSentOnce(t *testing.T) {
	t.Parallel()
	x := newCommitter(t, false)
	for range 3 {
		x.grow()
		x.then(func() error { <-time.After(150 * time.Millisecond); return nil })
		took, twice := x.commit()
		require.NoError(t, twice)
		require.Greater(t, took, 150*time.Millisecond)
	}
}

// Nor is one that is down: what is refused has sent nothing.
func TestConnectionsThatAreRefusedAreNotCounted(t *testing.T) {
	t.Parallel()
	refused := make(chan string, 100)
	d, err := New(Config{Brokers: []string{"127.0.0.1:1"}, Client: underTest, Logger: slog.New(tell{refused})})
	require.NoError(t, err)
	c, err := openClient(d, d.log, "x", map[string]rdk.ConfigValue{"transactional.id": "x", "debug": "broker"})
	require.NoError(t, err)
	for tries := 0; tries < 3; {
		select {
		case text := <-refused:
			if strings.Contains(text, "Connection refused") {
				tries++
			}
		case <-time.After(patience):
			t.Fatal("nothing was refused")
		}
	}
	require.Zero(t, c.closings.closed())
	require.NoError(t, c.close())
}

// tell is a handler of logs that passes the texts of librdkafka's on, as long as somebody takes them.
type tell struct{ texts chan string }

func (tell) Enabled(context.Context, slog.Level) bool { return true }

func (x tell) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		select {
		case x.texts <- a.Value.String():
		default:
		}
		return true
	})
	return nil
}

func (x tell) WithAttrs([]slog.Attr) slog.Handler { return x }

func (x tell) WithGroup(string) slog.Handler { return x }

// Where connections are not counted, a request is sent again after a pause, which its time shows.
func TestWhatWasSentTwiceTakesTime(t *testing.T) {
	t.Parallel()
	x := newCommitter(t, true)
	for range 3 {
		x.grow()
		x.then(func() error { return errBroken })
		took, twice := x.commit()
		require.ErrorContains(t, twice, "this client does not tell", "it took %v", took)
	}
}
