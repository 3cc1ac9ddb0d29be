//go:build !unix

package command

import "errors"

// becomeProgram refuses: nodes do not run here at all.
func becomeProgram(string, []string, []string) error { return errors.ErrUnsupported }
