package cmem

/*
#include <malloc.h>
#include <stddef.h>

#ifdef __GLIBC__
struct mallinfo2 mallinfo2(void) __attribute__((weak));
static int figures(size_t *used, size_t *kept) {
	if (!mallinfo2) return 0;
	struct mallinfo2 m = mallinfo2();
	*used = m.uordblks + m.hblkhd;
	*kept = m.fordblks;
	return 1;
}
static int few(int arenas) { return mallopt(M_ARENA_MAX, arenas); }
#else
static int figures(size_t *used, size_t *kept) { return 0; }
static int few(int arenas) { return 0; }
#endif
*/
import "C"

import (
	"os"
	"strings"
	"sync"
)

func read() (f Figures, ok bool) {
	var used, kept C.size_t
	ok = C.figures(&used, &kept) != 0
	return Figures{Used: int64(used), Kept: int64(kept)}, ok
}

// arenas is how many of them threads share.
const arenas = 2

var once sync.Once

func bound() {
	once.Do(func() {
		if os.Getenv("MALLOC_ARENA_MAX") == "" && !strings.Contains(os.Getenv("GLIBC_TUNABLES"), "arena_max") {
			C.few(arenas)
		}
	})
}
