//go:build integration

package conformance

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/realkafka"
)

func TestRealKafka(t *testing.T) {
	t.Parallel()
	k, err := realkafka.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	t.Logf("on Kafka %s", realkafka.Version)
	const of = "Kafka " + realkafka.Version
	runAll(t, func(t *testing.T) cluster {
		t.Helper()
		return newRequests(t, of, k.Brokers(), nil)
	})
	runClients(t, func(t *testing.T) library {
		t.Helper()
		return newLibrdkafka(t, of, k.Brokers()[0])
	})
}
