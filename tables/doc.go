// Package tables keeps the state of tables: one [Shard] for each partition of a table.
//
// A shard is a pure state machine. Operations ([OpsOf]) are applied to it as part of numbered epochs; a seal turns what an
// epoch changed into records of the table's changelog; an epoch that did not become whole is undone, exactly. The
// changelog is the truth. A [Checkpoint] is a file that holds a shard's committed state as of some offset of the
// changelog, so that a restart replays little; it is checked whole when it is opened and dropped when anything about it is
// wrong. An [Image] reads a changelog without a shard.
//
// Keys are known by their encoded bytes: they are the identity, the order and what the partitioner hashes. Values whose
// type holds no references are kept as they are; all others are kept encoded, so that no value that a user's code has
// touched, before or after it was stored, shares memory with the table.
//
//	spec := &tables.Spec[int64]{Name: "counts", Codec: codec.Int64()}
//	shard := tables.New(spec, tables.Config{Table: "counts"})
//	ops := tables.NewOps(spec)
//	ops.Update([]byte("a"), func(old int64, _ bool) (int64, error) { return old + 1, nil })
//	err := shard.Apply(1, ops, out)
//	err = shard.Seal(1, out) // out now holds the changelog record of "a"
package tables
