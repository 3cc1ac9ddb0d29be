// Package tables keeps the state of tables: shards (pure state machines), the operations and queries on them, their
// checkpoint files, and images of changelogs for commands.
//
// The changelog is the truth. A shard is what has been applied; a checkpoint is a shard's committed state as of some
// changelog offset, and is dropped whenever it cannot be trusted.
package tables
