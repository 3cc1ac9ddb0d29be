package command

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSignals(t *testing.T) {
	t.Parallel()
	var errs buffer
	app := &App{Name: "node", Err: &errs}
	signals, codes := make(chan os.Signal), make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done, clock := make(chan struct{}), make(chan time.Time, 1)
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	go func() {
		defer close(done)
		app.watch(signals, func() time.Time { return <-clock }, cancel, func(code int) { codes <- code })
	}()
	signals <- syscall.SIGTERM
	clock <- begin
	receive(t, ctx.Done())
	require.Contains(t, errs.String(), "stopping in order")
	for _, after := range []time.Duration{0, sameSignal - 1} { // to the process, and to its group
		signals <- syscall.SIGTERM
		clock <- begin.Add(after)
	}
	signals <- os.Interrupt // is taken when the ones before are dealt with
	require.Empty(t, codes)
	clock <- begin.Add(sameSignal)
	require.Equal(t, exitFailed, receive(t, codes))
	receive(t, done)
}

func TestNearest(t *testing.T) {
	t.Parallel()
	all := []string{"topology", "brokers", "data-dir", "feed", "feed-keyed"}
	for name, want := range map[string]string{
		"tpology": "topology", "topolgoy": "topology", "broker": "brokers", "datadir": "data-dir", "fede": "feed", "zzzzzzzz": "", "TOPOLOGY": "topology",
	} {
		require.Equal(t, want, nearest(name, all), name)
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	t.Parallel()
	r := run(t, nil, "--help")
	require.Zero(t, r.code)
	for _, w := range []string{"topologies", "describe", "send", "tail", "get", "scan", "lag", "broker", "version", "completion", "--feed-keyed", "--drain", "--keep-slots", "Exit codes"} {
		require.Contains(t, r.out, w)
	}
	r = run(t, nil, "version")
	require.Zero(t, r.code)
	require.True(t, strings.HasPrefix(r.out, "node "), r.out)
}
