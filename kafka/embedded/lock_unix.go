//go:build unix

package embedded

import (
	"errors"
	"os"
	"syscall"
)

// errLocked says that another process, or another broker of this one, holds the lock.
var errLocked = errors.New("locked by another broker")

// flock takes the lock without waiting. It ends when the file is closed, or the process dies.
func flock(f *os.File) error { return flockAs(f, syscall.LOCK_EX) }

func flockAs(f *os.File, how int) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		default:
			return err
		}
	}
}

// locked says whether a broker holds the lock.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // opened for reading; this lets go of the lock
	return errors.Is(flockAs(f, syscall.LOCK_SH), errLocked)
}
