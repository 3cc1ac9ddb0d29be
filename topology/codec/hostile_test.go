package codec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology/codec"
)

// Strict JSON has encoding/json's limit on depth: a stack that overflows ends the process.
func TestStrictJSONDepth(t *testing.T) {
	t.Parallel()
	type doc struct {
		A any
	}
	c := codec.JSONWith[doc](codec.JSONOptions{Strict: true})
	for _, open := range []string{"[", `{"A":`} {
		_, err := c.Decode([]byte(strings.Repeat(open, 3_000_000)))
		require.Error(t, err)
	}
	nested, err := c.Decode([]byte(`{"A":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`))
	require.NoError(t, err)
	require.NotNil(t, nested.A)
}

// What CBOR writes, it reads.
func TestCBORReadsWhatItWrites(t *testing.T) {
	t.Parallel()
	many, pairs := make([]int, 200_000), map[int]int{}
	for i := range 140_000 {
		pairs[i] = i
	}
	var deep any
	for range 40 {
		deep = []any{deep}
	}
	reads(t, many)
	reads(t, pairs)
	reads(t, deep)
	reads(t, "\xff")
}

func reads[T any](t *testing.T, v T) {
	t.Helper()
	c := codec.CBOR[T]()
	b, err := c.Append(nil, v)
	require.NoError(t, err)
	got, err := c.Decode(b)
	require.NoError(t, err)
	require.Equal(t, v, got)
}

// Errors of values that do not decode quote no secrets, of whatever kind.
func TestErrorsOfSecrets(t *testing.T) {
	t.Parallel()
	type hidden struct {
		At time.Time `troupe:"secret"`
	}
	_, err := codec.JSON[hidden]().Decode([]byte(`{"At":"SESAME"}`))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "SESAME")
	text, err := codec.CBOR[map[string]string]().Append(nil, map[string]string{"At": "SESAME"})
	require.NoError(t, err)
	_, err = codec.CBOR[hidden]().Decode(text)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "SESAME")
}
