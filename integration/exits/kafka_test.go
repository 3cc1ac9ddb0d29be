//go:build integration

package exits

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/realkafka"
)

// TestARecordThatExitsOnKafka is the same on a real Kafka.
func TestARecordThatExitsOnKafka(t *testing.T) {
	k, err := realkafka.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	t.Logf("on Kafka %s", realkafka.Version)
	exitOnTwoNodes(t, strings.Join(k.Brokers(), ","), "6000")
}
