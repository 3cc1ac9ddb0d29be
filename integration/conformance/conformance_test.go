package conformance

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// behaviours is the table.
func behaviours() []behaviour {
	return slices.Concat(endings(), producers(), offsets(), statics(), memberships(), logs())
}

// runAll runs the table against a cluster, which open opens for each script.
func runAll(t *testing.T, open func(t *testing.T) cluster) {
	t.Helper()
	for _, b := range behaviours() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.on(t, open(t))
		})
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	runAll(t, newModel)
}

func TestKfake(t *testing.T) {
	t.Parallel()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	require.NoError(t, err)
	t.Cleanup(k.Close)
	runAll(t, func(t *testing.T) cluster {
		t.Helper()
		return newRequests(t, "kfake", k.ListenAddrs(), k.Compact)
	})
	runClients(t, func(t *testing.T) library {
		t.Helper()
		return newLibrdkafka(t, "kfake", k.ListenAddrs()[0])
	})
}

func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, b := range behaviours() {
		require.False(t, seen[b.name], b.name)
		seen[b.name] = true
	}
}
