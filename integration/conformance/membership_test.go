package conformance

import (
	"maps"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

func session(s *script) time.Duration {
	d, _ := s.timeouts()
	return d
}

func rebalance(s *script) time.Duration {
	_, d := s.timeouts()
	return d
}

// joinsAlone sends a JoinGroup and waits for its answer.
func (s *script) joinsAlone(as kafka.Member, owned []int32) joined {
	s.Helper()
	return s.answered(s.join(s.group, as, owned))
}

// answered waits for the answer to a JoinGroup.
func (s *script) answered(ask func() (joined, bool)) (j joined) {
	s.Helper()
	s.until("the answer to JoinGroup", func() (ok bool) { j, ok = ask(); return ok })
	return j
}

// syncs sends a SyncGroup and waits for its answer.
func (s *script) syncs(as kafka.Member, assignment map[string][]int32) synced {
	s.Helper()
	return s.given(s.sync(s.group, as, assignment))
}

// given waits for the answer to a SyncGroup.
func (s *script) given(ask func() (synced, bool)) (y synced) {
	s.Helper()
	s.until("the answer to SyncGroup", func() (ok bool) { y, ok = ask(); return ok })
	return y
}

// alone makes the group's first member, static and named a, with all four slots.
func (s *script) alone() kafka.Member {
	s.Helper()
	j := s.joinsAlone(kafka.Member{Instance: "a"}, nil)
	s.ok(j.err, "JoinGroup")
	s.ok(s.syncs(j.member, map[string][]int32{j.member.ID: {0, 1, 2, 3}}).err, "SyncGroup")
	return j.member
}

// second adds a member to that of alone, and says what the leader, which is the first, assigns to both.
func (s *script) second(first, newcomer kafka.Member, toFirst, toNewcomer []int32) (a, b kafka.Member) {
	s.Helper()
	asked := s.joinsLater(first, newcomer)
	ja := s.joinsAlone(first, []int32{0, 1, 2, 3})
	s.ok(ja.err, "JoinGroup of the first")
	jb := s.answered(asked)
	s.ok(jb.err, "JoinGroup of the newcomer")
	pending := s.sync(s.group, jb.member, nil)
	s.ok(s.syncs(ja.member, map[string][]int32{ja.member.ID: toFirst, jb.member.ID: toNewcomer}).err, "SyncGroup of the first")
	s.ok(s.given(pending).err, "SyncGroup of the newcomer")
	return ja.member, jb.member
}

// joinsLater sends the JoinGroup of a newcomer and waits until the first member knows of the rebalance.
func (s *script) joinsLater(first, newcomer kafka.Member) (answered func() (joined, bool)) {
	s.Helper()
	answered = s.join(s.group, newcomer, nil)
	s.until("the rebalance", func() bool { return s.heartbeat(s.group, first) == broker.RebalanceInProgress }) //nolint:errorlint // the very value
	return answered
}

// pair makes a group of two static members, a and b, with two slots each.
func (s *script) pair() (a, b kafka.Member) {
	s.Helper()
	return s.second(s.alone(), kafka.Member{Instance: "b"}, []int32{0, 1}, []int32{2, 3})
}

// statics are about static members.
func statics() []behaviour {
	return []behaviour{
		{
			name: "static-rejoin",
			does: "A static member that restarts has a new member id, the same generation and its old assignment, without a rebalance; its old member id is fenced.",
			run: func(s *script) {
				a, b := s.pair()
				j := s.joinsAlone(kafka.Member{Instance: "b"}, nil)
				s.is("JoinGroup", nil, j.err)
				s.is("another member id", true, j.member.ID != b.ID)
				s.is("the generation", b.Generation, j.member.Generation)
				s.is("it leads", false, j.leader)
				s.is("its assignment", "[2 3]", text(s.syncs(j.member, nil).slots))
				s.is("heartbeat of the other", nil, s.heartbeat(s.group, a))
				s.is("heartbeat of the old", broker.FencedInstanceID, s.heartbeat(s.group, b))
				s.is("JoinGroup of the old", broker.FencedInstanceID, s.joinsAlone(b, nil).err)
				s.is("SyncGroup of the old", broker.FencedInstanceID, s.syncs(b, nil).err)
				s.is("members", 2, s.members(s.group))
			},
		},
		{
			name: "static-leader-rejoin",
			does: "So does the leader: it is not asked to assign anew.",
			run: func(s *script) {
				a, b := s.pair()
				j := s.joinsAlone(kafka.Member{Instance: "a"}, nil)
				s.is("JoinGroup", nil, j.err)
				if !s.is("the generation", a.Generation, j.member.Generation) {
					return
				}
				s.is("it leads", false, j.leader)
				s.is("its assignment", "[0 1]", text(s.syncs(j.member, nil).slots))
				s.is("heartbeat of the other", nil, s.heartbeat(s.group, b))
			},
			kfake: map[string]string{"the generation": "3"},
		},
		{
			name: "static-restart-in-cooperative-rebalance",
			does: "A static member that restarts between the SyncGroup that took partitions from it and the JoinGroup that is to follow gets what was left to it, without a rebalance: what it had given up stays with nobody.",
			run: func(s *script) {
				a, b := s.second(s.alone(), kafka.Member{Instance: "b"}, []int32{0, 1}, nil) // 2 and 3 are to go to b in the next round
				j := s.joinsAlone(kafka.Member{Instance: "a"}, nil)
				s.is("JoinGroup after the restart", nil, j.err)
				if !s.is("the generation", a.Generation, j.member.Generation) {
					return
				}
				s.is("its assignment", "[0 1]", text(s.syncs(j.member, nil).slots))
				s.is("heartbeat of the other: no rebalance", nil, s.heartbeat(s.group, b))
				asked := s.joinsLater(j.member, kafka.Member{Instance: "c"})
				s.is("JoinGroup with the new member id, in the rebalance that another brings", nil, s.joinsAloneWith(j.member, []int32{0, 1}, b))
				s.ok(s.answered(asked).err)
			},
			kfake: map[string]string{"the generation": "3"},
		},
		{
			name: "static-restart-while-preparing",
			does: "A static member that restarts while a rebalance is under way takes part in it as its new self.",
			run: func(s *script) {
				a := s.alone()
				asked := s.joinsLater(a, kafka.Member{Instance: "b"})
				j := s.joinsAlone(kafka.Member{Instance: "a"}, nil)
				s.is("JoinGroup", nil, j.err)
				s.is("the next generation", a.Generation+1, j.member.Generation)
				s.is("another member id", true, j.member.ID != a.ID)
				s.is("heartbeat of the old", broker.FencedInstanceID, s.heartbeat(s.group, a))
				s.ok(s.answered(asked).err)
				s.is("members", 2, s.members(s.group))
			},
		},
		{
			name: "static-restart-while-completing",
			does: "A static member that restarts when the rebalance is answered and the leader has not assigned yet causes another one.",
			run: func(s *script) {
				a := s.alone()
				asked := s.joinsLater(a, kafka.Member{Instance: "b"})
				ja := s.joinsAlone(a, []int32{0, 1, 2, 3})
				s.ok(ja.err)
				s.ok(s.answered(asked).err)
				again := s.join(s.group, kafka.Member{Instance: "b"}, nil)
				s.until("the other knows", func() bool {
					return s.heartbeat(s.group, ja.member) == broker.RebalanceInProgress //nolint:errorlint // the very value
				})
				s.is("SyncGroup of the other", broker.RebalanceInProgress, s.syncs(ja.member, map[string][]int32{ja.member.ID: {0, 1}}).err)
				j := s.joinsAlone(ja.member, []int32{0, 1, 2, 3})
				s.is("its next JoinGroup", nil, j.err)
				s.is("the next generation", ja.member.Generation+1, j.member.Generation)
				s.ok(s.answered(again).err)
			},
		},
		{
			name: "leave-by-instance",
			does: "LeaveGroup names a static member by instance and member id: with an old member id it is fenced and its successor stays; else it is out at once and the others rebalance.",
			run: func(s *script) {
				a, b := s.pair()
				j := s.joinsAlone(kafka.Member{Instance: "b"}, nil)
				s.ok(j.err)
				if !s.is("with the old member id", broker.FencedInstanceID, s.leave(s.group, b)) {
					return
				}
				s.is("members then", 2, s.members(s.group))
				s.is("heartbeat of the other then", nil, s.heartbeat(s.group, a))
				s.is("with the new member id", nil, s.leave(s.group, j.member))
				s.is("heartbeat of the other", broker.RebalanceInProgress, s.heartbeat(s.group, a))
				s.is("again", broker.UnknownMemberID, s.leave(s.group, j.member))
				ja := s.joinsAlone(a, []int32{0, 1})
				s.is("the other joins, alone", nil, ja.err)
				s.is("members in the end", 1, len(ja.members))
			},
			kfake: map[string]string{"with the old member id": "ok"},
		},
		{
			name: "static-not-rejoined",
			does: "A static member that lives and does not join a rebalance stays in the group when the rebalance timeout is over: others are assigned beside it, and it has a stale generation.",
			run: func(s *script) {
				a, b := s.pair()
				asked := s.join(s.group, a, []int32{0})
				var ja joined
				if !s.is("JoinGroup of the other is answered", true, s.within(2*rebalance(s), func() (ok bool) {
					_ = s.heartbeat(s.group, b)
					ja, ok = asked()
					return ok
				})) {
					return
				}
				s.is("JoinGroup of the other", nil, ja.err)
				s.is("the next generation", a.Generation+1, ja.member.Generation)
				s.is("members of it", "[a b]", text(sorted(ja.members)))
				s.ok(s.syncs(ja.member, map[string][]int32{a.ID: {0, 1}, b.ID: {2, 3}}).err)
				s.is("its heartbeat", broker.IllegalGeneration, s.heartbeat(s.group, b))
				s.is("it is out in the end", true, s.within(2*session(s), func() bool {
					_ = s.heartbeat(s.group, ja.member)
					return s.heartbeat(s.group, b) == broker.UnknownMemberID //nolint:errorlint // the very value
				}))
			},
			kfake: map[string]string{"members of it": "[a]", "its heartbeat": "UNKNOWN_MEMBER_ID"},
		},
	}
}

// joinsAloneWith sends the JoinGroup of a member, and of another, and returns how the first was answered.
func (s *script) joinsAloneWith(as kafka.Member, owned []int32, other kafka.Member) error {
	s.Helper()
	one, two := s.join(s.group, as, owned), s.join(s.group, other, nil)
	s.ok(s.answered(two).err, "JoinGroup of the other")
	return s.answered(one).err
}

// members are about the membership of groups in general.
func memberships() []behaviour {
	return []behaviour{
		{
			name: "rebalance",
			does: "A new member starts a rebalance, which is answered when all have joined; meanwhile heartbeats and SyncGroup say so; a commit counts as long as the generation has not changed, and is refused between JoinGroup and SyncGroup.",
			run: func(s *script) {
				s.newTopic(1)
				a := s.alone()
				asked := s.joinsLater(a, kafka.Member{Instance: "b"})
				_, ok := asked()
				s.is("the new member is answered", false, ok)
				s.is("SyncGroup of the first", broker.RebalanceInProgress, s.syncs(a, nil).err)
				s.is("plain commit of the first", nil, s.commit(s.group, a, s.at(0, 1, "")))
				s.is("commit in a transaction of the first", nil, s.txnOffset(a, s.at(0, 2, "")))
				ja := s.joinsAlone(a, []int32{0, 1, 2, 3})
				jb := s.answered(asked)
				s.is("the first leads", "true [a b]", text(ja.leader)+" "+text(sorted(ja.members)))
				s.is("the second does not", "false []", text(jb.leader)+" "+text(sorted(jb.members)))
				s.is("the generations", "2 2", text(ja.member.Generation-a.Generation+1)+" "+text(jb.member.Generation-a.Generation+1))
				s.is("its member id", a.ID, ja.member.ID)
				s.is("plain commit before SyncGroup", broker.RebalanceInProgress, s.commit(s.group, ja.member, s.at(0, 3, "")))
				s.is("commit in a transaction before SyncGroup", nil, s.txnOffset(ja.member, s.at(0, 4, "")))
				s.is("commit of the generation before", broker.IllegalGeneration, s.txnOffset(a, s.at(0, 5, "")))
				s.is("heartbeat before SyncGroup", nil, s.heartbeat(s.group, ja.member))
				s.is("heartbeat of the generation before", broker.IllegalGeneration, s.heartbeat(s.group, a))
				s.is("SyncGroup of the generation before", broker.IllegalGeneration, s.syncs(a, nil).err)
				all := map[string][]int32{ja.member.ID: {0, 1}, jb.member.ID: {2, 3}}
				pending := s.sync(s.group, jb.member, nil)
				s.is("SyncGroup of the leader", "[0 1]", text(s.syncs(ja.member, all).slots))
				s.is("SyncGroup of the other", "[2 3]", text(s.given(pending).slots))
				s.is("SyncGroup again", "[0 1]", text(s.syncs(ja.member, nil).slots))
				s.is("the members by id", true, maps.Equal(ja.members, map[string]string{"a": ja.member.ID, "b": jb.member.ID}))
			},
		},
		{
			name: "rejoin-unchanged",
			does: "A member that is not the leader and joins a stable group again with the same claims is answered at once, without a rebalance; with other claims, or by the leader, it is one.",
			run: func(s *script) {
				a, b := s.pair()
				j := s.joinsAlone(b, nil) // it joined with none
				s.is("the same claims", nil, j.err)
				s.is("the generation", b.Generation, j.member.Generation)
				s.is("heartbeat of the leader", nil, s.heartbeat(s.group, a))
				asked := s.join(s.group, b, []int32{2, 3})
				s.until("the leader knows", func() bool { return s.heartbeat(s.group, a) == broker.RebalanceInProgress }) //nolint:errorlint // the very value
				ja := s.joinsAlone(a, []int32{0, 1, 2, 3})
				s.is("other claims: the next generation", a.Generation+1, ja.member.Generation)
				s.ok(s.answered(asked).err)
				both := map[string][]int32{a.ID: {0, 1}, b.ID: {2, 3}}
				s.ok(s.syncs(ja.member, both).err)
				b.Generation = ja.member.Generation
				s.ok(s.syncs(b, nil).err)
				_ = s.join(s.group, ja.member, []int32{0, 1, 2, 3})
				s.until("the other knows", func() bool { return s.heartbeat(s.group, b) == broker.RebalanceInProgress }) //nolint:errorlint // the very value
				s.is("the leader, with the same claims: heartbeat of the other", broker.RebalanceInProgress, s.heartbeat(s.group, b))
			},
		},
		{
			name: "strangers",
			does: "Requests of a member that the group does not know are refused; so are those of an empty group.",
			run: func(s *script) {
				stranger := kafka.Member{ID: "stranger", Generation: 1}
				s.is("heartbeat, empty group", broker.UnknownMemberID, s.heartbeat(s.group, stranger))
				s.alone()
				s.is("heartbeat", broker.UnknownMemberID, s.heartbeat(s.group, stranger))
				s.is("JoinGroup", broker.UnknownMemberID, s.joinsAlone(stranger, nil).err)
				s.is("SyncGroup", broker.UnknownMemberID, s.syncs(stranger, nil).err)
				s.is("LeaveGroup", broker.UnknownMemberID, s.leave(s.group, stranger))
			},
			kfake: map[string]string{"heartbeat, empty group": "GROUP_ID_NOT_FOUND"},
		},
		{
			name: "session-timeout",
			does: "A static member that is silent for the session timeout is out: the others rebalance, and whatever it asks then is refused.",
			run: func(s *script) {
				s.newTopic(1)
				a, b := s.pair()
				s.until("the rebalance", func() bool { return s.heartbeat(s.group, a) == broker.RebalanceInProgress }) //nolint:errorlint // the very value
				s.is("its heartbeat", broker.UnknownMemberID, s.heartbeat(s.group, b))
				s.is("its plain commit", broker.UnknownMemberID, s.commit(s.group, b, s.at(0, 1, "")))
				s.is("its commit in a transaction", broker.UnknownMemberID, s.txnOffset(b, s.at(0, 1, "")))
				s.is("its LeaveGroup", broker.UnknownMemberID, s.leave(s.group, b))
				s.is("its JoinGroup with the old member id", broker.UnknownMemberID, s.joinsAlone(b, nil).err)
				s.is("members", 1, s.members(s.group))
			},
		},
		{
			name: "commits-keep-a-session",
			does: "A plain OffsetCommit is a sign of life of its member; one in a transaction is none.",
			run: func(s *script) {
				s.newTopic(1)
				a, b := s.pair()
				p := s.producer()
				s.ok(s.addOffsets(p, s.group))
				passes := 0
				out := func(commit func() error) func() bool {
					return func() bool {
						passes++
						return passes%20 == 0 && commit() != nil
					}
				}
				s.is("the member that commits in a transaction is out", true, s.within(3*session(s)/2, out(func() error {
					s.ok(s.commit(s.group, a, s.at(0, 1, "")))
					return s.txnCommit(p, s.group, b, s.at(0, 2, ""))
				})))
				s.is("the one that commits plainly", nil, s.commit(s.group, a, s.at(0, 1, "")))
			},
		},
		{
			name: "sync-missing",
			does: "A member, static or not, that does not ask for its assignment within the rebalance timeout is out, though it sends heartbeats.",
			run: func(s *script) {
				a := s.alone()
				asked := s.joinsLater(a, kafka.Member{Instance: "b"})
				ja := s.joinsAlone(a, []int32{0, 1, 2, 3})
				jb := s.answered(asked)
				s.ok(s.syncs(ja.member, map[string][]int32{ja.member.ID: {0, 1}, jb.member.ID: {2, 3}}).err)
				if !s.is("the other rebalances", true, s.within(2*rebalance(s), func() bool {
					_ = s.heartbeat(s.group, jb.member)
					return s.heartbeat(s.group, ja.member) == broker.RebalanceInProgress //nolint:errorlint // the very value
				})) {
					return
				}
				s.is("its heartbeat", broker.UnknownMemberID, s.heartbeat(s.group, jb.member))
			},
			kfake: map[string]string{"the other rebalances": "false"},
		},
		{
			name: "last-member-out",
			does: "A group whose last member is out keeps its offsets, and takes commits of nobody again.",
			run: func(s *script) {
				s.newTopic(1)
				a := s.alone()
				s.ok(s.commit(s.group, a, s.at(0, 7, "kept")))
				s.is("LeaveGroup", nil, s.leave(s.group, a))
				s.is("members", 0, s.members(s.group))
				s.is("the offset", "7", s.offsetOf(true))
				s.is("a commit of the one that left", broker.UnknownMemberID, s.commit(s.group, a, s.at(0, 8, "")))
				s.is("a commit of nobody", nil, s.commit(s.group, anonymous(), s.at(0, 9, "")))
				s.is("a later member has a later generation", true, s.alone().Generation > a.Generation)
			},
		},
		{
			name: "not-rejoined",
			does: "A member that is not static, lives and does not join a rebalance is out when the rebalance timeout is over.",
			run: func(s *script) {
				a, b := s.second(s.alone(), kafka.Member{}, []int32{0, 1}, []int32{2, 3})
				asked := s.join(s.group, a, []int32{0})
				var ja joined
				if !s.is("JoinGroup of the other is answered", true, s.within(2*rebalance(s), func() (ok bool) {
					_ = s.heartbeat(s.group, b)
					ja, ok = asked()
					return ok
				})) {
					return
				}
				s.is("members of the next generation", "[a]", text(sorted(ja.members)))
				s.is("its heartbeat", broker.UnknownMemberID, s.heartbeat(s.group, b))
			},
		},
	}
}
