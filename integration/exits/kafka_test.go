//go:build integration

package exits

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/realkafka"
)

// TestARecordThatExitsOnKafka is the same on a real Kafka, wherever user code has the record in hand.
func TestARecordThatExitsOnKafka(t *testing.T) {
	k, err := realkafka.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	t.Logf("on Kafka %s", realkafka.Version)
	t.Run("places", func(t *testing.T) { // Kafka stops behind them all
		for place := range places {
			t.Run(place, func(t *testing.T) {
				t.Parallel()
				exitOnTwoNodes(t, place, strings.Join(k.Brokers(), ","), "6000")
			})
		}
	})
}
