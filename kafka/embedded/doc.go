// Package embedded is the broker inside a node: franz-go's kfake, which speaks the Kafka protocol, with its data in a
// directory. It serves a machine without Kafka: to try things, to develop, to test.
//
// A broker that was killed comes back with what it had: Start mends what it left half done, so that transactions that
// were open are aborted for good and none of their records shows. Records are on disk once the operating system writes
// them, as with Kafka itself: they survive the death of the process, and with Config.SyncWrites that of the machine.
package embedded
