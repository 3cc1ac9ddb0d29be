package troupe

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

func TestConfigTellsEveryFault(t *testing.T) {
	t.Parallel()
	require.NoError(t, Config{}.Validate())
	err := Config{Guarantee: 7, CommitInterval: -time.Second, StopTimeout: -time.Second, Brokers: []string{"a:1", ""}}.Validate()
	for _, w := range []string{"guarantee is 7", "commit interval is -1s", "stop timeout is -1s", "broker 1 is empty"} {
		require.ErrorContains(t, err, w)
	}
}

func TestRunWantsATopology(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, Run(t.Context(), Config{DataDir: t.TempDir()}), "give at least one")
}

func TestRunThatIsStoppedWhileConnectingEndsInOrder(t *testing.T) {
	t.Parallel()
	topo := topology.New("t")
	topology.Each(topo, "a", topology.NewTopic(topo, "in", codec.String, codec.String), func(*topology.Context, topology.Event[string, string]) error { return nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, Run(ctx, Config{Brokers: []string{"127.0.0.1:1"}, DataDir: t.TempDir()}, topo))
}

func TestGuaranteeNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, "exactly-once", ExactlyOnce.String())
	require.Equal(t, "at-least-once", AtLeastOnce.String())
	require.Equal(t, "Guarantee(9)", Guarantee(9).String())
}
