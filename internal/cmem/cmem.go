// Package cmem is about the memory that C has in this process, which is librdkafka's, and which Go's runtime does not see.
package cmem

// Figures are of the heap of the C library, of all its arenas, in bytes.
type Figures struct {
	Used int64 // by librdkafka
	Kept int64 // free, and kept for later; some of it has been given back to the system
}

// Read tells them; ok is false where the C library does not tell. Any goroutine may call it. It takes some microseconds for each arena, and the threads of one wait for
// it meanwhile.
func Read() (f Figures, ok bool) { return read() }

// Bound has the threads of C share few arenas from now on, where glibc would make one for each of eight threads a core: memory that one thread has freed is not kept for it
// alone, while others take more from the system. It does nothing if the environment says how many there are to be (MALLOC_ARENA_MAX, or glibc.malloc.arena_max in
// GLIBC_TUNABLES), or where the C library knows no arenas.
func Bound() { bound() }
