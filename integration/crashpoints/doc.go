// Package crashpoints ends nodes at every one of their crash points, on a real Kafka, and compares what comes of it with a
// plain count: once with the same node coming back, and once with another taking over. It finds the points in the code, and
// what brings a process to each by running every scenario once and reading its trace.
//
//	go test -tags integration -v ./integration/crashpoints
//
// TROUPE_SEED repeats a run's choices; TROUPE_POINTS, a regular expression, walks only the points that match.
package crashpoints
