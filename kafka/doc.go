// Package kafka is what the engine knows of Kafka, without a client in it: batches of records as arenas of bytes, the
// bundles that a transaction commits, partitioners, slots and their marks, and the interfaces that a client implements.
//
// The clients live below it: kafka/confluent drives librdkafka, kafka/embedded is the broker inside a node. Nothing
// else in this module may import a Kafka client.
package kafka
