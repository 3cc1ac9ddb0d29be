package allocs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var kept []byte

func TestPerRun(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	if Raced {
		t.Skip("the race detector allocates")
	}
	count, bytes := PerRun(100, func() { kept = make([]byte, 1024) })
	require.InDelta(t, 1, count, 0.5)
	require.InDelta(t, 1024, bytes, 512)
	count, bytes = PerRun(100, func() {})
	require.Less(t, count, 1.0)
	require.Less(t, bytes, 100.0)
}
