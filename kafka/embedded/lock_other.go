//go:build !unix

package embedded

import (
	"errors"
	"os"
)

// errLocked says that another broker holds the lock.
var errLocked = errors.New("locked by another broker")

func flock(*os.File) error { return errors.ErrUnsupported }

func locked(string) bool { return false }
