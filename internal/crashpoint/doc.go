// Package crashpoint names the steps at which tests let a process die:
//
//	crashpoint.Hit("commit.produced")
//
// Only builds with the tag `crashpoints` know them; in all others a step does nothing, and no environment variable is read.
// With the tag:
//
//   - TROUPE_CRASHPOINT=NAME@N ends the process, as kill -9 does, when it comes to the step NAME for the N-th time. Its exit
//     code is 77, so that a test can tell this from any other end.
//   - TROUPE_TRACE=1 writes "trace NAME COUNT" to standard error whenever the process comes to a step.
//   - TROUPE_PAUSE=DURATION bounds the pauses that are given to Pause, so that steps that come every few seconds come often.
//
// A name is a literal, AREA.STEP, and stands in one place only: tests find all steps by reading the code.
package crashpoint
