// Package cmem is about the memory that C has in this process, which Go's runtime does not see. In a node all of it is librdkafka's.
package cmem

// Figures are of the heap of glibc, of all its arenas, in bytes.
type Figures struct {
	Used int64 // with what threads keep for themselves of what they have freed, some hundred bytes each
	Kept int64 // free, and kept for later
}

// Read tells them; ok is false where the C library does not tell: it is not glibc, or was older than 2.33 when this was built. With another allocator in its place
// (LD_PRELOAD) what is told is glibc's, which then has next to nothing. Any goroutine may call it. The threads that share an arena wait while what is free in it is counted.
func Read() (f Figures, ok bool) { return read() }

// Bound has the threads of C share Most arenas, where glibc would make up to eight for each core: memory that the threads of one arena have freed is kept for them, while
// others take more from the system. It is for the main function of a program, before C has threads: arenas that are there stay. It does nothing if the environment says how
// many there are to be (MALLOC_ARENA_MAX, or glibc.malloc.arena_max in GLIBC_TUNABLES), or where the C library is not glibc.
func Bound() { bound() }

// Most is how many arenas Bound allows: one for every four cores, and two at least; 0 where it does nothing.
func Most() int { return most() }

// Arenas is how many there are; 0 where the C library is not glibc.
func Arenas() int { return arenas() }
