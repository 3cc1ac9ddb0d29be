package plant

// Blind lists the faults that were chosen from the code alone, by someone who had not seen the simulation: what each does
// wrong, by name.
var Blind = map[string]string{
	"blind-1": "actors/partition_seal.go, becomeWhole: a whole epoch covers what the agents have done by then, not what they had done when it was sealed",
	"blind-2": "actors/partition_fail.go, rollBack: the number of batches sent to a shard is not reset, that of the applied ones is",
	"blind-3": "actors/partition_seal.go, snapshot: an epoch's done-sets share their ranges with the agents', which go on changing them",
	"blind-4": "actors/committer_state.go, onFound: what became of a commit's first bundle is taken for what became of all",
	"blind-5": "tables/undo.go, committedOf: the value before the newest uncommitted epoch is taken for the committed one",
	"blind-6": "kafka/protocol/group_rebalance.go, drop: the source partitions of a slot that is given up stay in the book of assigned ones",
	"blind-7": "actors/partition_fail.go, dueAgain: a timer's firing in the bundle that the committer has is forgotten in a roll-back",
	"blind-8": "kafka/protocol/producer_settle.go, reopen: a client whose transaction's outcome is unknown is kept, if no request of it may have been sent twice",
}
