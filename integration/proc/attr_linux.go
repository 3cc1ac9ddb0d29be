package proc

import "syscall"

// attributes make the kernel end a child whose parent dies, and keep a terminal's Ctrl-C from it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
