package confluent

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A call into the client that never returns costs its deadline and a little more; the client is then left alone.
func TestACallThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &client{id: "x", log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began, hang := time.Now(), make(chan struct{})
		err := c.bounded(ctx, "commit transaction", func() error { <-hang; return nil })
		require.ErrorContains(t, err, "commit transaction: librdkafka has not returned")
		require.Equal(t, time.Second+stuckAfter, time.Since(began))
		require.ErrorContains(t, c.close(), "left behind") // and the producer, which is nil here, is not touched
		close(hang)
	})
}

// One that returns is as it was.
func TestACallThatReturns(t *testing.T) {
	c := &client{id: "x", log: slog.New(slog.DiscardHandler)}
	require.NoError(t, c.bounded(t.Context(), "", func() error { return nil }))
	require.ErrorIs(t, c.bounded(t.Context(), "", func() error { return context.Canceled }), context.Canceled)
	require.False(t, c.stuck)
}
