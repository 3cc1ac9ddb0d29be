package command

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSignals(t *testing.T) {
	t.Parallel()
	var errs buffer
	app := &App{Name: "node", Err: &errs}
	signals, codes := make(chan os.Signal), make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		app.watch(signals, cancel, func(code int) { codes <- code })
	}()
	signals <- syscall.SIGTERM
	receive(t, ctx.Done())
	require.Contains(t, errs.String(), "stopping in order")
	require.Empty(t, codes)
	signals <- os.Interrupt
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
