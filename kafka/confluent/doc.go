// Package confluent implements kafka.Driver with librdkafka, through the public API of confluent-kafka-go, and with
// single requests of the protocol, through franz-go's kmsg, for what librdkafka does not offer: commits as a member of a
// given generation, fences, leaving a group as a static member.
//
// A group is one member, on the slots topic. A slot that it is granted is taken before anything is read for it: its mark
// says "me over them", earlier owners are fenced, the mark says "me", and only then are the offsets of its sources read.
// Who finds a mark fences all that it names, so that at any moment one process at most can commit for a slot:
//
//	granted by the group ── take ──► Taken ── Assign ──► Batch, Batch, …
//	     ▲                 │ failed: later again            │
//	     └── retake: the member id changed, or the committer says so
//	revoked ──► Release ──► marked released ──► unassigned
//	lost    ──► Lost ─────────────────────────► unassigned
//
// A producer commits bundles: in transactions, whose outcome is Committed, Aborted, or Unknown until Settle has found it
// out; or, at-least-once, outputs first and then offsets.
//
//	d, err := confluent.New(confluent.Config{Brokers: []string{"localhost:9092"}})
//	g, err := d.OpenGroup(kafka.GroupConfig{Group: "wordcount", Instance: "node-1", Nonce: rand.Text()})
//	p, err := d.OpenProducer(ctx, g, topics)
//	err = g.Run(ctx, handler)
package confluent
