package actors

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
)

// wire is a cluster that takes what it is sent when it may.
type wire struct {
	kafka.Admin
	mu      sync.Mutex
	waves   [][]string
	began   chan struct{}
	may     chan []int64 // the offsets of the next; short, or with negative ones: an error, too
	refuses error
}

func (w *wire) Produce(ctx context.Context, _ []string, o *kafka.Outputs) ([]int64, error) {
	var all []string
	for i := range o.Len() {
		all = append(all, string(o.Value(i)))
	}
	w.mu.Lock()
	w.waves = append(w.waves, all)
	w.mu.Unlock()
	w.began <- struct{}{}
	select {
	case offsets := <-w.may:
		if offsets == nil {
			return nil, nil
		}
		return offsets, w.refuses
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func valueOf(v string) outputs {
	o := new(kafka.Outputs)
	o.Append(0, 0, 0, nil, []byte(v), nil)
	return o
}

func newEarly(t *testing.T, timeout time.Duration) (*early, *wire, *strings.Builder, context.CancelFunc) {
	t.Helper()
	w := &wire{began: make(chan struct{}), may: make(chan []int64), refuses: errors.New("refused")}
	ctx, cancel := context.WithCancel(t.Context())
	log := new(strings.Builder)
	g := &realGround{}
	e := &early{ground: g, admin: w, timeout: timeout, ctx: ctx, log: slog.New(slog.NewTextHandler(log, nil))}
	t.Cleanup(func() {
		cancel()
		e.wait()
		g.idle.close()
	})
	return e, w, log, cancel
}

// One write after the other; each asker is told of its own records, and who sends nothing of all before it.
func TestEarlyTellsEachAsker(t *testing.T) {
	t.Parallel()
	e, w, log, _ := newEarly(t, 0)
	told := make(chan string, 10)
	tell := func(who string) func(error) {
		return func(err error) {
			if err != nil {
				who += ": " + err.Error()
			}
			told <- who
		}
	}
	e.send(tell("a"), valueOf("1"), valueOf("2"))
	<-w.began
	e.send(tell("b"), valueOf("3"))
	e.send(nil, valueOf("4"))
	e.send(tell("c"), valueOf("5"), valueOf("6"))
	e.send(tell("d"))
	e.send(tell("e"), valueOf("7"))
	require.Empty(t, told)
	w.may <- nil
	require.Equal(t, "a", <-told)
	<-w.began
	require.Empty(t, told, "d sends nothing, and waits for the others")
	w.may <- []int64{7, -1, 8, -1} // the last is not even tried
	for _, want := range []string{"b", "c: refused", "d", "e: refused"} {
		require.Equal(t, want, <-told)
	}
	e.wait()
	require.Equal(t, [][]string{{"1", "2"}, {"3", "4", "5", "6", "7"}}, w.waves)
	e.send(tell("f"))
	require.Equal(t, "f", <-told)
	for range 2 {
		e.send(tell("g"), valueOf("8"))
		<-w.began
		w.may <- []int64{-1}
		require.Equal(t, "g: refused", <-told)
	}
	e.wait()
	require.Equal(t, 1, strings.Count(log.String(), "records were not sent before their commit"), "once a minute: %s", log)
}

func TestEarlyKeepsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	e, w, _, cancel := newEarly(t, 0)
	var told error
	e.send(nil, valueOf("1"))
	<-w.began
	e.send(nil, valueOf(strings.Repeat("x", maxEarly)))
	e.send(func(err error) { told = err }, valueOf("2"))
	require.ErrorIs(t, told, errEarlyFull)
	e.send(nil, valueOf("3"))
	require.Equal(t, 1, e.queue.outs.Len())
	told = nil
	cancel()
	e.wait()
	require.NoError(t, told, "nobody is there any more")
}

// Answers have a limit.
func TestEarlyAnswersDoNotWaitForEver(t *testing.T) {
	t.Parallel()
	e, w, log, _ := newEarly(t, time.Millisecond)
	told := make(chan error, 1)
	e.send(func(err error) { told <- err }, valueOf("1"))
	<-w.began
	require.ErrorIs(t, <-told, context.DeadlineExceeded)
	e.wait()
	require.Contains(t, log.String(), "they are sent with it")
}
