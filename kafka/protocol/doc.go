// Package protocol decides how a process takes part in the group of a topology: who writes for a slot, what may be committed
// for it, and what became of a commit. It holds no Kafka client and starts nothing by itself: clients come in through
// Consumer, Transactor, Plain and Wire, and time and goroutines through Runtime. So the very code that runs in a node runs
// in a deterministic simulation as well.
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
// A producer commits bundles in transactions, whose outcome is Committed, Aborted, or Unknown until Settle has found it
// out. At-least-once, what agents send goes beside them; changelogs and offsets are in them all the same.
//
// The steps between which a process may die are named by crash points.
//
//	g, err := protocol.NewGroup(cfg, log, protocol.Real{}, wire, openConsumer)
//	p, err := protocol.NewProducer(ctx, g, wire, openClients)
//	err = g.Run(ctx, handler)
package protocol
