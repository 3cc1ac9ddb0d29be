//go:build !race

package allocs

// Raced says whether the race detector is on, which allocates.
const Raced = false
