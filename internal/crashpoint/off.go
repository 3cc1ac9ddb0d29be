//go:build !crashpoints

package crashpoint

import "time"

// Hit marks a step. name is a literal AREA.STEP, unique in the module: tests find all steps by reading the code.
func Hit(string) {}

// Pause returns d. It is for pauses that tests of steps may shorten.
func Pause(d time.Duration) time.Duration { return d }
