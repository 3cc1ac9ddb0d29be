//go:build !planted

// Package plant puts known faults into the engine, to see whether the simulation finds them. Without the build tag `planted`
// there are none: Is is false at compile time.
package plant

// Is says whether the fault of a name is planted. name is a literal, unique in the module.
func Is(string) bool { return false }
