package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDirHasOneOwner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "dir")
	d, err := OpenDir(path, "")
	require.NoError(t, err)
	_, err = OpenDir(path, "")
	require.ErrorContains(t, err, "is in use by another node (process ")
	require.NoError(t, d.Close())
	require.NoError(t, d.Close(), "twice-safe")

	again, err := OpenDir(path, "")
	require.NoError(t, err)
	require.Equal(t, d.Instance, again.Instance, "the identity outlives the process")
	require.NotEqual(t, d.Nonce, again.Nonce)
	require.NoError(t, again.Close())

	other, err := OpenDir(path, "mine.1")
	require.NoError(t, err)
	require.Equal(t, "mine.1", other.Instance)
	require.NoError(t, other.Close())
}

func TestDirErrors(t *testing.T) {
	t.Parallel()
	_, err := OpenDir(t.TempDir(), "not allowed/")
	require.ErrorContains(t, err, `instance id "not allowed/"`)

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, instanceFile), []byte("\x00\x01"), 0o600))
	_, err = OpenDir(dir, "")
	require.ErrorContains(t, err, "delete it to have a new one made")
	// The refusal has let go of the lock.
	require.NoError(t, os.Remove(filepath.Join(dir, instanceFile)))
	d, err := OpenDir(dir, "")
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

func TestDefaultDir(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	dir, err := DefaultDir("wordcount")
	require.NoError(t, err)
	require.Equal(t, filepath.FromSlash("/state/troupe/wordcount"), dir)

	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/me")
	dir, err = DefaultDir("wordcount")
	require.NoError(t, err)
	require.Equal(t, filepath.FromSlash("/home/me/.local/state/troupe/wordcount"), dir)

	t.Setenv("HOME", "")
	_, err = DefaultDir("wordcount")
	require.ErrorContains(t, err, "--data-dir")
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkPlatform("linux"))
	require.NoError(t, checkPlatform("darwin"))
	require.ErrorContains(t, checkPlatform("windows"), "does not run on Windows: run it on Linux or macOS")
	require.ErrorContains(t, checkPlatform("plan9"), "does not run on plan9")
}

// A lock that another holder lets go of is waited for, but not for ever.
func TestWaitLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	held, err := takeLock(path)
	require.NoError(t, err)
	_, err = waitLock(t.Context(), path, 30*time.Millisecond)
	require.ErrorIs(t, err, errLocked)

	got := make(chan error, 1)
	go func() {
		f, err := waitLock(t.Context(), path, time.Minute)
		if err == nil {
			err = f.Close()
		}
		got <- err
	}()
	require.NoError(t, held.Close())
	select {
	case err := <-got:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		require.FailNow(t, "the lock was not taken within 10 s")
	}
}
