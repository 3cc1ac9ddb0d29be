package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is measured is read from the logs of nodes, whose words may change: `docs/logs.md` has them.
func TestWatchReadsTheLogOfANode(t *testing.T) {
	t.Parallel()
	kept := &bytes.Buffer{}
	w := &watch{log: kept, started: time.Now(), owned: map[string]time.Time{}, held: map[string]int{}}
	log := slog.New(slog.NewTextHandler(prefixed{w}, nil)).With("topology", "wordcount", "node", "a1")
	log.Info("slots assigned", "slots", []int32{11, 7}, "generation", 5, "member", "a1-x")
	log.Info("slots assigned", "slots", []int32{}, "generation", 6, "member", "a1-x")
	log.Info("partition running", "stage", "words", "partition", 4)
	require.Zero(t, allRun(w.grants(time.Time{}), "wordcount"))
	log.Info("partition running", "stage", "lines", "partition", 0)
	require.NotZero(t, allRun(w.grants(time.Time{}), "wordcount"))
	require.Zero(t, allRun(w.grants(time.Time{}), "ledger"))
	require.Len(t, w.running(time.Time{}), 2)
	require.Contains(t, w.running(time.Time{}), "wordcount/words/4")
	log.Warn("slots lost", "slots", []int32{7})
	require.Equal(t, 1, w.lost)
	log.Info("slots assigned", "slots", []int32{3}, "generation", 7, "member", "a1-x")
	require.Zero(t, allRun(w.grants(time.Time{}), "wordcount"))
	log.Info("slots revoked", "slots", []int32{3}, "generation", 8, "member", "a1-x", "lost", false)
	require.NotZero(t, allRun(w.grants(time.Time{}), "wordcount"), "what is away again is not waited for")
	require.Equal(t, []string{"wordcount"}, w.holds())
	log.Info("slots revoked", "slots", []int32{11}, "generation", 9, "member", "a1-x", "lost", false)
	require.Empty(t, w.holds())
	_, _ = fmt.Fprintln(prefixed{w}, "trace commit.committed 1")
	n, first, last := w.committed()
	require.Equal(t, int64(1), n)
	require.NotZero(t, first)
	require.Equal(t, first, last)
	require.False(t, w.hasStarted())
	_, _ = fmt.Fprintln(prefixed{w}, "started")
	require.True(t, w.hasStarted())
	require.NotContains(t, kept.String(), "trace")
}

// prefixed puts the name of the node before each line, as proc.Process does.
type prefixed struct{ w *watch }

func (p prefixed) Write(b []byte) (int, error) {
	_, err := p.w.Write(append([]byte("node-1: "), b...))
	return len(b), err
}
