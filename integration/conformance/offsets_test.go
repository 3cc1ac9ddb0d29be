package conformance

import (
	"strings"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

// offsets are about the offsets of groups.
func offsets() []behaviour {
	return []behaviour{
		{
			name: "anonymous-commit",
			does: "A TxnOffsetCommit without member id and with generation -1 is taken by a group with members; a plain OffsetCommit so is taken only by a group without.",
			run: func(s *script) {
				s.newTopic(1)
				s.is("plain, no members", nil, s.commit(s.group, anonymous(), s.at(0, 1, "")))
				s.alone()
				s.is("plain, with members", broker.UnknownMemberID, s.commit(s.group, anonymous(), s.at(0, 2, "")))
				s.is("in a transaction, with members", nil, s.txnOffset(anonymous(), s.at(0, 3, "")))
				s.is("the offset", 3, s.stablePosition(0).Offset)
			},
		},
		{
			name: "stale-generation",
			does: "A commit with a member id is checked for the generation: plain or in a transaction.",
			run: func(s *script) {
				s.newTopic(1)
				a := s.alone()
				a.Generation--
				s.is("plain, the generation before", broker.IllegalGeneration, s.commit(s.group, a, s.at(0, 1, "")))
				s.is("in a transaction, the generation before", broker.IllegalGeneration, s.txnOffset(a, s.at(0, 1, "")))
				a.Generation += 2
				s.is("in a transaction, one that is not yet", broker.IllegalGeneration, s.txnOffset(a, s.at(0, 1, "")))
				a.Generation--
				s.is("in a transaction, the group's", nil, s.txnOffset(a, s.at(0, 1, "")))
				s.is("plain, the group's", nil, s.commit(s.group, a, s.at(0, 1, "")))
				s.is("plain, the group's generation without a member id", broker.UnknownMemberID, s.commit(s.group, kafka.Member{Generation: a.Generation}, s.at(0, 1, "")))
				s.is("in a transaction, the group's generation without a member id", broker.UnknownMemberID, s.txnOffset(kafka.Member{Generation: a.Generation}, s.at(0, 1, "")))
				s.is("in a transaction, a member id without a generation", broker.IllegalGeneration, s.txnOffset(kafka.Member{ID: a.ID, Instance: a.Instance, Generation: -1}, s.at(0, 1, "")))
			},
			kfake: map[string]string{
				"in a transaction, the group's generation without a member id": "ok",
				"in a transaction, a member id without a generation":           "ok",
			},
		},
		{
			name: "commit-by-old-member",
			does: "A commit by the old member of a static id is fenced; one by a member that the group does not know is refused.",
			run: func(s *script) {
				s.newTopic(1)
				old := s.alone()
				s.joinsAlone(kafka.Member{Instance: "a"}, nil)
				s.is("plain, by the old member", broker.FencedInstanceID, s.commit(s.group, old, s.at(0, 1, "")))
				s.is("in a transaction, by the old member", broker.FencedInstanceID, s.txnOffset(old, s.at(0, 1, "")))
				stranger := kafka.Member{ID: "stranger", Generation: old.Generation}
				s.is("plain, by a stranger", broker.UnknownMemberID, s.commit(s.group, stranger, s.at(0, 1, "")))
				s.is("in a transaction, by a stranger", broker.UnknownMemberID, s.txnOffset(stranger, s.at(0, 1, "")))
				old.Instance = ""
				s.is("in a transaction, by the old member that does not say its instance", broker.UnknownMemberID, s.txnOffset(old, s.at(0, 1, "")))
			},
		},
		{
			name: "ownership-unchecked",
			does: "Nobody checks that a member that commits an offset owns the partition, or that it is subscribed at all.",
			run: func(s *script) {
				s.newTopic(1)
				a, _ := s.pair()
				s.is("plain", nil, s.commit(s.group, a, s.at(0, 1, "")))
				s.is("in a transaction", nil, s.txnOffset(a, s.at(0, 2, "")))
				s.is("the offset", 2, s.stablePosition(0).Offset)
			},
		},
		{
			name: "later-record-wins",
			does: "Of several commits to one key the later record wins, in a transaction or not, in whichever order their transactions end.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				q, err := s.initProducer(s.id+"-other", longTimeout)
				s.ok(err)
				pending := func(p broker.Producer, offset int64) {
					s.again("AddOffsetsToTxn", func() error { return s.addOffsets(p, s.group) })
					s.ok(s.txnCommit(p, s.group, anonymous(), s.at(0, offset, "")))
				}
				end := func(p broker.Producer) { s.ok(s.endTxn(p, true)); s.settle(p, true) }
				pending(p, 10)
				pending(q, 20)
				end(q)
				s.is("the later one is committed first", "20", s.offsetOf(false))
				end(p)
				s.is("then the earlier one", 20, s.stablePosition(0).Offset)
				pending(p, 30)
				s.ok(s.commit(s.group, anonymous(), s.at(0, 5, "")))
				end(p)
				s.is("a plain one behind one in a transaction", 5, s.stablePosition(0).Offset)
			},
			kfake: map[string]string{"then the earlier one": "10", "a plain one behind one in a transaction": "30"},
		},
		{
			name: "stable-offsets",
			does: "OffsetFetch that requires stable offsets is refused while a transaction is open on the key, and not for other keys; without, it returns what was committed before.",
			run: func(s *script) {
				s.newTopic(2)
				s.ok(s.commit(s.group, anonymous(), s.at(0, 1, "one"), s.at(1, 1, "one")))
				p := s.producer()
				s.ok(s.addOffsets(p, s.group))
				s.ok(s.txnCommit(p, s.group, anonymous(), s.at(0, 2, "two")))
				s.is("stable", string(broker.UnstableOffsetCommit), s.offsetOf(true))
				s.is("not stable", "1", s.offsetOf(false))
				got, err := s.committed(s.group, true, s.tp(1))
				if s.is("stable, another key", nil, err) {
					s.is("its offset", 1, got[s.tp(1)].Offset)
				}
				s.ok(s.endTxn(p, true))
				s.is("stable, in the end", "2 two", text(s.stablePosition(0).Offset)+" "+s.stablePosition(0).Metadata)
			},
			kfake: map[string]string{"stable, another key": "UNSTABLE_OFFSET_COMMIT"},
		},
		{
			name: "added-offsets-are-not-unstable",
			does: "A transaction that has added offsets of the group, and has committed none, makes nothing unstable.",
			run: func(s *script) {
				s.newTopic(1)
				s.ok(s.commit(s.group, anonymous(), s.at(0, 1, "")))
				p := s.producer()
				s.ok(s.addOffsets(p, s.group))
				s.is("stable", "1", s.offsetOf(true))
			},
		},
		{
			name: "aborted-offsets",
			does: "Offsets of a transaction that is aborted are as if they had not been sent.",
			run: func(s *script) {
				s.newTopic(1)
				s.ok(s.commit(s.group, anonymous(), s.at(0, 1, "kept")))
				p := s.producer()
				s.ok(s.addOffsets(p, s.group))
				s.ok(s.txnCommit(p, s.group, anonymous(), s.at(0, 2, "")))
				s.ok(s.endTxn(p, false))
				s.is("the offset", 1, s.stablePosition(0).Offset)
				s.is("its metadata", "kept", s.stablePosition(0).Metadata)
			},
		},
		{
			name: "group-not-added",
			does: "A TxnOffsetCommit without an AddOffsetsToTxn before is refused.",
			run: func(s *script) {
				s.newTopic(1)
				p := s.producer()
				s.ok(s.commit(s.group, anonymous(), s.at(0, 1, "")))
				s.is("without a transaction", broker.InvalidTxnState, s.txnCommit(p, s.group, anonymous(), s.at(0, 2, "")))
				s.begin(p)
				s.is("in a transaction", broker.InvalidTxnState, s.txnCommit(p, s.group, anonymous(), s.at(0, 2, "")))
			},
		},
		{
			name: "no-offset",
			does: "The offset of a key without a commit is -1, and a commit takes any offset, also one that lies back.",
			run: func(s *script) {
				s.newTopic(1)
				s.is("none", "-1", s.offsetOf(true))
				s.ok(s.commit(s.group, anonymous(), s.at(0, 1_000_000, "")))
				s.is("beyond the end", "1000000", s.offsetOf(true))
				s.ok(s.commit(s.group, anonymous(), s.at(0, 0, "")))
				s.is("back", "0", s.offsetOf(true))
			},
			kfake: map[string]string{"none": "GROUP_ID_NOT_FOUND"},
		},
		{
			name: "large-metadata",
			does: "Metadata of more than 4096 bytes is refused, plain and in a transaction; the other keys of the request are committed.",
			run: func(s *script) {
				s.newTopic(2)
				fits, large := strings.Repeat("m", kafka.MaxMetadata), strings.Repeat("m", kafka.MaxMetadata+1)
				s.is("4096, plain", nil, s.commit(s.group, anonymous(), s.at(0, 1, fits)))
				s.is("4096, in a transaction", nil, s.txnOffset(anonymous(), s.at(0, 2, fits)))
				s.is("4097, plain", broker.OffsetMetadataTooLarge, s.commit(s.group, anonymous(), s.at(0, 3, large), s.at(1, 3, "")))
				s.is("the offset of the other key", 3, s.stablePosition(1).Offset)
				s.is("4097, in a transaction", broker.OffsetMetadataTooLarge, s.txnOffset(anonymous(), s.at(0, 4, large), s.at(1, 4, "")))
				s.is("the offset", 2, s.stablePosition(0).Offset)
				s.is("the offset of the other key then", 4, s.stablePosition(1).Offset)
			},
			kfake: map[string]string{"4097, plain": "ok", "4097, in a transaction": "ok", "the offset": "4"},
		},
	}
}

// txnOffset commits offsets in a transaction of a producer of its own, commits it, and returns how TxnOffsetCommit was answered.
func (s *script) txnOffset(as kafka.Member, positions ...kafka.Position) error {
	s.Helper()
	p := s.producer()
	s.again("AddOffsetsToTxn", func() error { return s.addOffsets(p, s.group) })
	answer := s.txnCommit(p, s.group, as, positions...)
	s.ok(s.endTxn(p, true), "EndTxn")
	s.settle(p, true)
	return answer
}
