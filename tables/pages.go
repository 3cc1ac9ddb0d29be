package tables

// pager gives checkpoints access to the pages of a shard.
type pager interface{}
