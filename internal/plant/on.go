//go:build planted

// Package plant puts known faults into the engine, to see whether the simulation finds them. Without the build tag `planted`
// there are none: Is is false at compile time.
package plant

import "sync/atomic"

var planted atomic.Pointer[string]

// Is says whether the fault of a name is planted.
func Is(name string) bool {
	p := planted.Load()
	return p != nil && *p == name
}

// Set plants the fault of a name; empty: none.
func Set(name string) { planted.Store(&name) }
