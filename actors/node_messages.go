package actors

import (
	"context"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// What a node's root receives, beside partitionLeft, partitionBroken, announceSlot, askedTurn, endedTurn, retake and nodeFailed of its children:
//
//	message      | sent by            | reply
//	-------------|--------------------|--------------------------------------
//	takenSlots   | the group          | -
//	prepared     | itself             | -
//	releaseSlots | the group          | on its channel: the slots released
//	lostSlots    | the group          | -
//	rebuild      | itself, later      | -
//	joinedGroup  | the group          | -
//	inspectNode  | Node.Inspect       | status.Node
//	inspectTree  | Node.Tree          | status.Tree
//	resumeParts  | Node.Resume        | []status.Resumed
//	notHeld      | itself             | -
type (
	takenSlots struct{ grants []kafka.Grant }
	// prepared is a grant whose sources' ends are known.
	prepared struct {
		grant kafka.Grant
		begin []startAt
		err   error
	}
	releaseSlots struct {
		slots []int32
		by    time.Time
		reply func([]int32) // called once
	}
	lostSlots struct {
		slots []int32
		why   error
	}
	// rebuild tries again with a partition that could not be rebuilt.
	rebuild struct {
		slot        int32
		incarnation int64
	}
)

func deadlineOf(ctx context.Context, now time.Time) time.Time {
	if d, ok := ctx.Deadline(); ok {
		return d
	}
	return now.Add(10 * time.Second)
}
