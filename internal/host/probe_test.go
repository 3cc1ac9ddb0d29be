package host

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	killed := 0
	p, err := newProbe("produced@2", "1", &out, func() { killed++ })
	require.NoError(t, err)
	for _, m := range []string{"begun", "produced", "committed", "begun", "produced"} {
		p(m)
	}
	require.Equal(t, 1, killed)
	require.Equal(t, "trace begun 1\ntrace produced 1\ntrace committed 1\ntrace begun 2\ntrace produced 2\n", out.String())
	p, err = newProbe("", "", &out, nil)
	require.NoError(t, err)
	require.Nil(t, p)
	for _, bad := range []string{"produced", "produced@", "produced@0", "produced@x"} {
		_, err = newProbe(bad, "", &out, nil)
		require.ErrorContains(t, err, "MOMENT@N")
	}
}
