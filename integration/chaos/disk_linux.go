package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limitFiles bounds the size of the files that a process of this user writes; a negative size takes the bound away.
func limitFiles(pid int, size int64) error {
	limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if size >= 0 {
		limit.Cur = uint64(size)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		return fmt.Errorf("limit the files of process %d: %w", pid, err)
	}
	return nil
}
