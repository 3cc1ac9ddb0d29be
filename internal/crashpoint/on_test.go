//go:build crashpoints

package crashpoint

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheNthHitIsTheOne(t *testing.T) {
	t.Parallel()
	s, err := parse("commit.produced@2")
	require.NoError(t, err)
	require.False(t, s.hit("commit.produced"))
	require.False(t, s.hit("commit.begun"))
	require.True(t, s.hit("commit.produced"))
	require.False(t, s.hit("commit.produced"))
}

func TestWrongEnvironment(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"commit.produced", "commit.produced@", "commit.produced@0", "commit.produced@x"} {
		_, err := parse(text)
		require.ErrorContains(t, err, "NAME@N", text)
	}
	s, err := parse("")
	require.NoError(t, err)
	require.False(t, s.hit("commit.produced"))
}
