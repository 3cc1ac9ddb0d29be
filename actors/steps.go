package actors

import "github.com/troupe-stream/troupe/internal/crashpoint"

// The steps of a seal, of a decision and of an undo at which tests let a process die: before the message is acted on.

func shardStep(m shardMessage) {
	switch m.(type) {
	case Seal:
		crashpoint.Hit("seal.shard-asked")
	case Settle:
		crashpoint.Hit("decide.shard-told")
	case Undo:
		crashpoint.Hit("undo.shard-asked")
	case Answer, Apply, Collect, Replay, Restored:
	}
}

func partitionStep(m partitionMessage) {
	switch m.(type) {
	case SealRound:
		crashpoint.Hit("seal.asked")
	case Sealed:
		crashpoint.Hit("seal.shard-sealed")
	case Decided:
		crashpoint.Hit("decide.told")
	case Delivered:
		crashpoint.Hit("send.told")
	case ShardReady:
		crashpoint.Hit("restore.ready")
	case Undone:
		crashpoint.Hit("undo.done")
	case Leave:
		crashpoint.Hit("own.leave-told")
	case Announced:
		crashpoint.Hit("probe.told")
	case AgentFailed, Applied, Arrived, Ask, Collected, Resume, ShardFailed, ShardLate, Turn, Waits, Wake, Worked:
	}
}

func committerStep(m committerMessage) {
	switch m.(type) {
	case Join:
		crashpoint.Hit("own.joined")
	case Part:
		crashpoint.Hit("own.parted")
	case Offer:
		crashpoint.Hit("seal.offered")
	case Done:
		crashpoint.Hit("decide.outcome-known")
	case Found:
		crashpoint.Hit("decide.outcome-found")
	case Dry, Nothing, Tick:
	}
}
