//go:build !unix

package host

import (
	"errors"
	"os"
)

// errLocked says that another process holds a lock.
var errLocked = errors.New("locked by another process")

// flock refuses: CheckPlatform has said so in better words before.
func flock(*os.File) error { return errors.ErrUnsupported }
