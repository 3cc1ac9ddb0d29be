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
	runAll(t, func(t *testing.T) cluster {
		t.Helper()
		return newRequests(t, "Kafka "+realkafka.Version, k.Brokers(), nil)
	})
}
