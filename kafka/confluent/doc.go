// Package confluent implements kafka.Driver with librdkafka, through the public API of confluent-kafka-go, and with
// single requests of the protocol, through franz-go's kmsg, for what librdkafka does not offer: commits as a member of a
// given generation, fences, leaving a group as a static member.
//
// What it decides is in package protocol, which knows no client; here are the clients that protocol drives: a consumer that
// gathers records in batches, producers, and the requests beside them.
//
// Records pass in one of two ways: Public, one by one through the client's API, or Batched, in runs beside it, on the same handles of
// librdkafka (batched.go; in C, for Linux: batched_linux.go, .c and .h). Everything else is the same code.
//
//	d, err := confluent.New(confluent.Config{Brokers: []string{"localhost:9092"}})
//	g, err := d.OpenGroup(kafka.GroupConfig{Group: "wordcount", Instance: "node-1", Nonce: rand.Text()})
//	p, err := d.OpenProducer(ctx, g, topics)
//	err = g.Run(ctx, handler)
package confluent
