// Package registry writes and reads keys and values in the wire format of Confluent's Schema Registry: a zero byte, the id of the schema
// in four, and the value in JSON, Avro or Protobuf. Registries of others that speak its API (Apicurio, Karapace, Redpanda) do too.
//
//	reg, err := registry.New(registry.Config{URLs: []string{"https://registry:8081"}, Register: true})
//	…
//	orders := topology.NewTopic(t, "orders", codec.String, registry.Avro[Order](reg, registry.Value("orders"), schema))
//	…
//	err = reg.Resolve(ctx) // before the node starts
//
// A schema is asked for once: ids are kept for the life of the process, and no record waits for the registry but the first of its
// schema. While the registry is not to be had, an error is Unavailable: the agent is held back, the record is tried again, and no
// dead letter is written. What the registry refuses for good, such as a schema that is not compatible with the one before, is permanent;
// Resolve finds it before a record does.
//
// The id of the schema is part of the bytes, so a key changes with its schema: Plan refuses these codecs for keys that are sent or
// written to tables, unless codec.ForKeys vouches that their schema does not change.
//
// It is a package of its own so that who does not use it does not link it.
package registry
