//go:build !race

package actors

// raced says whether the race detector is on.
const raced = false
