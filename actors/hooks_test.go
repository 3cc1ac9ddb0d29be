package actors

import (
	"bytes"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A hook that panics, or ends its goroutine, is called again; it takes nothing with it.
func TestHooksThatFail(t *testing.T) {
	t.Parallel()
	var log lines
	told := make(chan int, 3)
	x := newHooks(Hooks{OnCommit: func(c Commit) {
		switch c.Partitions {
		case 1:
			panic("no")
		case 2:
			runtime.Goexit()
		}
		told <- c.Partitions
	}}, slog.New(slog.NewTextHandler(&log, nil)))
	for i := range 3 {
		x.tell(Commit{Partitions: i + 1})
	}
	x.tell(Restart{}) // nobody wants it
	require.Equal(t, 3, <-told)
	x.end(10 * time.Second)
	require.Contains(t, log.String(), "a hook panicked")
	require.Zero(t, x.lost())
}

// While a hook blocks, nobody else does: events wait, then are dropped, counted and said. What waits is told in the end.
func TestHooksThatBlock(t *testing.T) {
	t.Parallel()
	var log lines
	var got []int
	began, release := make(chan struct{}), make(chan struct{})
	x := newHooks(Hooks{OnCommit: func(c Commit) {
		if c.Partitions == 0 {
			close(began)
			<-release
		}
		got = append(got, c.Partitions)
	}}, slog.New(slog.NewTextHandler(&log, nil)))
	x.tell(Commit{})
	<-began
	for i := range hookQueue + 5 {
		x.tell(Commit{Partitions: i + 1})
	}
	require.Equal(t, int64(5), x.lost())
	require.Contains(t, log.String(), "events dropped")
	x.end(time.Millisecond)
	require.Contains(t, log.String(), "left behind")
	close(release)
	x.end(10 * time.Second)
	require.Len(t, got, hookQueue+1)
	for i, n := range got {
		require.Equal(t, i, n, "in the order of what happened")
	}
}

// Without hooks nothing is started, and telling costs nothing.
func TestNoHooks(t *testing.T) {
	t.Parallel()
	x := newHooks(Hooks{}, nil)
	require.Nil(t, x)
	require.Zero(t, x.lost())
	x.tell(Commit{})
	x.end(0)
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	h := newHistogram([]float64{0.1, 1})
	for _, d := range []time.Duration{time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 3 * time.Second} {
		h.observe(d)
	}
	got := h.read()
	require.Equal(t, []uint64{2, 3}, got.Counts)
	require.Equal(t, uint64(4), got.Count)
	require.InDelta(t, 3.601, got.Sum, 1e-9)
}

func TestRate(t *testing.T) {
	t.Parallel()
	var r rate
	now := time.Unix(0, 0)
	require.Zero(t, r.per(now))
	for range 1000 { // 100 in a second, for 100 s
		now = now.Add(100 * time.Millisecond)
		r.add(10, now)
	}
	require.InDelta(t, 100, r.per(now), 1)
	require.Less(t, r.per(now.Add(time.Minute)), 1.0, "nothing happens any more")
}
