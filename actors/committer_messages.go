package actors

import (
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

// What the committer receives:
//
//	message  | sent by   | reply                        | legal in state
//	---------|-----------|------------------------------|--------------------
//	Join     | partition | -                            | any
//	Part     | node      | -                            | any: the slot is lost, or has left
//	Offer    | partition | Decided, when it is          | any
//	Nothing  | partition | -                            | a round is under way
//	Dry      | partition | -                            | any
//	Tick     | its timer | -                            | any
//	Done     | producer  | -                            | committing
//	Found    | producer  | -                            | settling
//
//sumtype:decl
type committerMessage interface{ isCommitterMessage() }

// Join makes a partition take part in rounds.
type Join struct {
	Slot        int32
	Incarnation int64
}

// Part ends that. A bundle of it that is being committed is forgotten.
type Part struct {
	Slot        int32
	Incarnation int64
}

// Offer brings the bundle of a partition.
type Offer struct {
	Bundle *kafka.Bundle
	Round  int64
	// Alone asks that it is committed by itself: it holds a record that may have made an earlier bundle sick.
	Alone bool
}

// Nothing says that a partition has no bundle for a round.
type Nothing struct {
	Slot        int32
	Incarnation int64
	Round       int64
}

// Dry says that a partition has done all it had and waits: an early round makes its results visible at once.
type Dry struct {
	Slot        int32
	Incarnation int64
}

// Tick is the time that the committer asked to be woken at.
type Tick struct{ Now time.Time }

// Done is how a commit ended.
type Done struct {
	Now     time.Time
	Bundles []*kafka.Bundle
	Outcome kafka.Outcome
}

// Found is what became of bundles whose commit had an unknown outcome.
type Found struct {
	Now     time.Time
	Bundles []*kafka.Bundle
	State   map[int32]kafka.Settled
	Err     error
}

func (Join) isCommitterMessage()    {}
func (Part) isCommitterMessage()    {}
func (Offer) isCommitterMessage()   {}
func (Nothing) isCommitterMessage() {}
func (Dry) isCommitterMessage()     {}
func (Tick) isCommitterMessage()    {}
func (Done) isCommitterMessage()    {}
func (Found) isCommitterMessage()   {}
