// Package actors is the runtime: it runs a plan as a tree of actors on a cluster that a kafka.Driver connects to.
//
//	n, err := actors.NewNode(p, driver, actors.Config{DataDir: dir, Instance: "a", Nonce: "1"})
//	err = n.Start(ctx)
//	…
//	err = n.Stop(ctx)
//
// What it promises: what a record does is committed together with its offset, once, or not at all; a handler that fails
// undoes its record alone; everything that has state has one owner. How: see ARCHITECTURE.md.
//
// The states of a partition:
//
//	restoring ──all shards ready──▶ running ──a shard fails, or the broker refuses──▶ undoing
//	    │                             ▲  │                                               │
//	    │                             │  └──Leave──▶ stopping ──all committed──▶ finishing
//	    │                             └────────────all shards undone, then carefully─────┘
//	    └──Leave──▶ finishing ──last checkpoints──▶ left
package actors
