//go:build unix && !linux

package proc

import "syscall"

// attributes keep a terminal's Ctrl-C from a child.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
