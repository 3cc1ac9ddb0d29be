//go:build linux

// Package cmem says how much memory C has, for tests that look whether it stays.
package cmem

/*
#include <malloc.h>
#include <stdint.h>

#ifdef __GLIBC__
struct mallinfo2 mallinfo2(void) __attribute__((weak));
static int64_t in_use(void) {
	if (!mallinfo2) return -1;
	struct mallinfo2 m = mallinfo2();
	return (int64_t)(m.uordblks + m.hblkhd);
}
#else
static int64_t in_use(void) { return -1; }
#endif
*/
import "C"

// InUse is how many bytes of C's heap are in use, of all threads; -1 where the C library does not tell.
func InUse() int64 { return int64(C.in_use()) }
