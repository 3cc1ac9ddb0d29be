package tables_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/tables"
)

// inspect requires that a file either cannot be trusted, or gives the truth with the rest of the log. It says which.
func (h history) inspect(t *testing.T, file []byte) (usable bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	x, err := tables.InspectCheckpoint(path)
	if err != nil {
		require.ErrorAs(t, err, new(*tables.CorruptError))
		return false
	}
	if !x.Complete {
		return false
	}
	require.Equal(t, id, x.Identity)
	require.False(t, x.Written.IsZero())
	x.Image.ApplyFrom(h.log, x.Offset)
	require.Equal(t, len(h.truth), x.Image.Len())
	for k, v := range h.truth {
		got, ok := x.Image.Get([]byte(k))
		require.True(t, ok, k)
		require.Equal(t, strconv.FormatInt(v, 10), asText(t, got))
	}
	return true
}

func asText(t *testing.T, b []byte) string {
	t.Helper()
	v, err := ints.spec.Codec.Decode(b)
	require.NoError(t, err)
	return strconv.FormatInt(v, 10)
}

// TestInspectCheckpoint: whatever a file was cut to, or whichever bit of it flipped, inspecting it gives the truth or says
// that it cannot be trusted.
func TestInspectCheckpoint(t *testing.T) {
	t.Parallel()
	for _, keys := range []int{40, 9000} {
		h := write(t, keys)
		require.True(t, h.inspect(t, h.file), "a file as a node leaves it")
		cut, flipped, trusted := 0, 0, 0
		for n := 0; n < len(h.file); n += max(1, len(h.file)/60) {
			if h.inspect(t, h.file[:n]) {
				cut++
			}
			file := append([]byte(nil), h.file...)
			file[n] ^= 1 << (n % 8)
			if h.inspect(t, file) {
				trusted++
			} else {
				flipped++
			}
		}
		require.Positive(t, cut, "a file that ends early is as good as an older one")
		require.Positive(t, flipped, "damage is found")
		t.Logf("%d keys: %d cut files usable, %d damaged ones refused, %d not affected", keys, cut, flipped, trusted)
	}
}

func TestInspectMissingCheckpoint(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.db")
	_, err := tables.InspectCheckpoint(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = os.Stat(path)
	require.True(t, errors.Is(err, os.ErrNotExist), "inspecting makes no file")
}
