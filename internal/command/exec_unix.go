//go:build unix

package command

import "syscall"

// becomeProgram makes this process another program: the same id, streams and parent, so signals and the exit code need no passing on.
func becomeProgram(path string, args, env []string) error { return syscall.Exec(path, args, env) }
