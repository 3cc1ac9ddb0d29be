//go:build !unix

package builder

import (
	"context"
	"errors"
	"os"
)

// lockFile refuses: nodes do not run here at all.
func lockFile(context.Context, string) (*os.File, error) { return nil, errors.ErrUnsupported }
