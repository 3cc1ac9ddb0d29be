// Package integration tests whole nodes as processes, on a real Kafka and on the broker that a node brings along: crashes,
// rebalances, damaged files. The tests are behind the build tag integration:
//
//	go test -tags integration ./integration/
//
// They need a JDK (17 or newer) and Maven, and fail if those are missing; they never skip.
package integration
