package troupe

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

func TestGuaranteeNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, "exactly-once", ExactlyOnce.String())
	require.Equal(t, "at-least-once", AtLeastOnce.String())
	require.Equal(t, "Guarantee(9)", Guarantee(9).String())
}
