package actors

import "github.com/troupe-stream/troupe/internal/plant"

// At-least-once, what agents send is there to be read before it is committed. A partition that has done all it had seals that at once, and has what
// little of it goes elsewhere than to changelogs sent (early.go), whatever the committer does meanwhile; what is much, or was not sent, is sent by the
// producer beside the transaction of its bundle (kafka/protocol). One write of a partition is under way at a time, and until it has ended the
// partition offers nothing: so no offset is committed before what its records sent is there, and what is sent of a key stays in order.

// What is little: one write of it takes no longer than a commit.
const (
	maxSent      = 250     // records
	maxSentBytes = 1 << 20 // with the epoch's other outputs
)

// sendEarly asks for outputs to be sent, and for Delivered.
type sendEarly struct{ outs []outputs }

// sending is a write that is under way.
type sending struct {
	outs    []outputs
	records int
	of      *parts // what they belong to
}

// maybeSend seals what is done, to send it.
func (s *partitionState) maybeSend() {
	if !s.sends || s.phase != running || s.fill.sends == 0 || s.fill.sends > maxSent || s.fill.bytes > maxSentBytes {
		return
	}
	if s.seal != nil || s.sending != nil || s.asked != 0 || s.careful != nil || s.probe != nil {
		return
	}
	if s.whole.sends > 0 || s.offer != nil && s.offer.sends > 0 { // that comes before
		return
	}
	if s.uncommitted() > maxEpoch { // commits do not come along: what comes now fills its epoch, and then nothing more is given out
		return
	}
	if !s.isIdle() || s.flows() || !s.hasApplied() {
		return
	}
	s.seal = &sealing{early: true}
	s.sealShards()
}

// uncommitted is how many bytes of output no commit has covered.
func (s *partitionState) uncommitted() int {
	n := s.fill.bytes + s.whole.bytes
	if s.offer != nil {
		n += s.offer.bytes
	}
	return n
}

// handOver has those outputs of an epoch sent that go elsewhere than to changelogs; the others stay in it.
func (s *partitionState) handOver(epoch *parts) {
	x := &sending{records: epoch.sends, of: s.whole}
	var rest []outputs
	for _, o := range epoch.outs {
		if o.Journal {
			rest = append(rest, o)
		} else {
			x.outs = append(x.outs, o)
		}
	}
	epoch.outs, epoch.sends = rest, 0
	if !plant.Is("what is sent early is not waited for") {
		s.sending = x
	}
	s.emit(sendEarly{x.outs})
}

// awaitEarlier has nothing offered before all is written that a partition before this one, of the same slot and process, has had sent.
func (s *partitionState) awaitEarlier() {
	if s.sends {
		s.sending = &sending{of: s.whole}
		s.emit(sendEarly{})
	}
}

// onDelivered ends a write. What has failed is sent with its bundle, which shows whether the broker will take it at all.
func (s *partitionState) onDelivered(m Delivered) {
	x := s.sending
	if x == nil || s.phase == gone {
		return
	}
	if s.sending = nil; m.Err != nil { // what belongs to a bundle that was rejected meanwhile is done again
		x.of.outs, x.of.sends = append(x.outs, x.of.outs...), x.of.sends+x.records
	}
	if s.asked != 0 || s.careful != nil || s.phase == stopping {
		s.maybeOffer()
	}
	if s.phase == stopping {
		s.maybeFinish()
	}
}
