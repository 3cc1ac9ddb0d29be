//go:build linux && cgo

package cmem

/*
#define _GNU_SOURCE
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__
static int few(int arenas) { return mallopt(M_ARENA_MAX, arenas); }

static int arenas(void) {
	char *text = NULL;
	size_t size = 0;
	int n = 0;
	FILE *f = open_memstream(&text, &size);
	if (!f) return 0;
	malloc_info(0, f);
	if (fclose(f) == 0)
		for (const char *p = text; (p = strstr(p, "<heap nr=")); p++) n++;
	free(text);
	return n;
}
#else
static int few(int arenas) { return 0; }
static int arenas(void) { return 0; }
#endif

#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 33)
#define TELLS
#endif
#endif
#ifdef TELLS
struct mallinfo2 mallinfo2(void) __attribute__((weak)); // the one that is there at run time may be older
static int figures(size_t *used, size_t *kept) {
	if (!mallinfo2) return 0;
	struct mallinfo2 m = mallinfo2();
	*used = m.uordblks + m.hblkhd;
	*kept = m.fordblks;
	return 1;
}
#else
static int figures(size_t *used, size_t *kept) { return 0; }
#endif
*/
import "C"

import (
	"os"
	"runtime"
	"strings"
)

func read() (f Figures, ok bool) {
	var used, kept C.size_t
	ok = C.figures(&used, &kept) != 0
	return Figures{Used: int64(used), Kept: int64(kept)}, ok
}

func arenas() int { return int(C.arenas()) }

func bound() {
	if os.Getenv("MALLOC_ARENA_MAX") == "" && !strings.Contains(os.Getenv("GLIBC_TUNABLES"), "arena_max") {
		C.few(C.int(most()))
	}
}

func most() int { return max(2, runtime.NumCPU()/4) }
