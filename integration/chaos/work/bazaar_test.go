package work_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/chaos/work"
)

func TestBazaarHasNoFault(t *testing.T) {
	t.Parallel()
	b, _ := work.Bazaar(nil)
	_, err := b.Plan()
	require.NoError(t, err)
}
