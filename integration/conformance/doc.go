// Package conformance checks the model of a Kafka cluster, with which the engine is simulated, against reality. It is one
// table of behaviours of brokers that the engine relies on or has to defend itself against, each written once as a script
// of protocol requests, and run against:
//
//   - the model (integration/simulate/broker),
//   - kfake, the broker that a node brings along, by requests in the versions that librdkafka 2.15 speaks,
//   - a real Kafka, in the same way, with the build tag integration.
//
// A script says what Kafka answers. The model must agree with it everywhere; where kfake differs, the table says so, and a
// difference that is gone fails the test too. A second, small table does the same for librdkafka and the model of it. What
// is checked is listed in docs/simulation.md, which a test compares with the tables:
//
//	go test ./integration/conformance                      # the model, and kfake
//	go test -tags integration ./integration/conformance    # a real Kafka too
//	go test ./integration/conformance -run Docs -update    # after a change of the tables
package conformance
