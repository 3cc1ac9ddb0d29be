package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

func TestSlotsAreTakenStepByStep(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.marks = map[int32]string{1: "Z/9 over Y/8", 2: "released", 3: "Z/9"}
		w.asked()
		grants := w.take(1, 2, 3, foreign)
		require.Equal(w.t, []string{
			"marks [1 2 3 9]",
			"mark-over A-1 1=A/1 over Z/9 over Y/8, 3=A/1 over Z/9",
			"fence Z", "fence Y",
			"mark A-1 1=A/1, 2=A/1, 3=A/1, 9=A/1",
			"offsets",
		}, w.asked())
		for i, g := range grants {
			require.EqualValues(w.t, i+1, g.Slot)
			require.Equal(w.t, g.Slot != 2, g.Careful)
			require.Equal(w.t, "A-1", g.MemberID)
		}
		w.end()
		<-w.ran
		require.Equal(w.t, []string{
			"release [1 2 3]", "marks [9 1 2 3]", "mark-released A-1 1=released, 2=released, 3=released, 9=released", "close-consumer", "leave A-1",
		}, w.asked())
	})
}

// TestATakeThatIsCancelledAtAnyStep: a slot that goes while it is being taken is neither granted nor marked any more, and
// nothing is asked for it after that; it can be taken again.
func TestATakeThatIsCancelledAtAnyStep(t *testing.T) {
	t.Parallel()
	steps := []string{"marks [1]", "mark-over A-1 1=A/1 over Z/9", "fence Z", "mark A-1 1=A/1", "offsets"}
	for i, at := range []string{"marks", "mark-over", "fence", "mark", "offsets"} {
		t.Run(at, func(t *testing.T) {
			in(t, kafka.GroupConfig{}, func(w *world) {
				w.marks[1] = "Z/9"
				w.next(at, fault{takes: -1})
				w.asked()
				w.con.assign(1)
				w.until("it gets there", func() bool { return len(w.calls) == i+1 })
				w.con.revoke(1)
				w.until("it is unassigned", func() bool { return len(w.calls) == i+2 })
				require.Equal(w.t, append(steps[:i+1:i+1], "unassign 0"), w.asked())
				require.Empty(w.t, w.grants)
				require.Empty(w.t, w.lost)
				require.Len(w.t, w.take(1), 1)
				require.NoError(w.t, w.fatal)
			})
		})
	}
}

// TestATakeIsAwaitedBeforeItsSlotGoes: a request that is under way, for longer than its context, may still mark the slot.
func TestATakeIsAwaitedBeforeItsSlotGoes(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"revoked": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			in(t, kafka.GroupConfig{}, func(w *world) {
				w.con.lost = lost
				w.next("mark", fault{takes: 3 * time.Second})
				w.asked()
				w.con.assign(1)
				w.until("it is being marked", func() bool { return len(w.calls) == 2 })
				began := time.Now()
				w.con.revoke(1)
				w.until("it is unassigned", func() bool { return len(w.calls) == 3 })
				require.Equal(w.t, 3*time.Second, time.Since(began).Round(time.Second))
				require.Equal(w.t, []string{"marks [1]", "mark A-1 1=A/1", "unassign 0"}, w.asked())
				require.Empty(w.t, w.grants)
			})
		})
	}
}

// TestATakeThatEndedBeforeItsSlotWentGrantsNothing: its result waits for the end of the poll in which the slot goes and
// comes back.
func TestATakeThatEndedBeforeItsSlotWentGrantsNothing(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.next("offsets", fault{}, fault{takes: 5 * time.Second})
		began := time.Now()
		w.con.do <- func() {
			w.con.onAssign([]int32{1})
			<-time.After(time.Second) // the take is through
			w.con.onGoing([]int32{1})
			w.con.onAssign([]int32{1})
		}
		w.until("it is taken", func() bool { return len(w.grants) > 0 })
		require.Equal(w.t, 6*time.Second, time.Since(began).Round(time.Second), "by the second take")
		require.Len(w.t, w.grants, 1)
		require.Equal(w.t, []string{
			"marks [1]", "mark A-1 1=A/1", "offsets", "unassign 0", "marks [1]", "mark A-1 1=A/1", "offsets",
		}, w.asked()[1:])
	})
}

func TestATakeWaitsForThisProcessesOwnCommit(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		b := bundle(w.take(1)[0], 1)
		w.next("commit", fault{err: errBroker})
		require.Equal(w.t, kafka.Unknown, w.prod.Commit(w.t.Context(), []*kafka.Bundle{b}).Verdict)
		w.asked()
		w.group.Retake([]int32{1}, errBroker)
		w.until("it is marked", func() bool { return len(w.calls) == 3 })
		<-time.After(5 * time.Second)
		require.Equal(w.t, []string{"unassign 1", "marks [1]", "mark A-1 1=A/1"}, w.asked(), "offsets are not read yet")
		state, err := w.prod.Settle(w.t.Context(), []*kafka.Bundle{b})
		require.NoError(w.t, err)
		require.Equal(w.t, map[int32]kafka.Settled{1: kafka.SlotCommitted}, state)
		w.until("it is taken", func() bool { return len(w.grants) == 2 })
		require.EqualValues(w.t, 1, kafka.SeqOf(w.grants[1].Sources[0].Metadata))
		require.NotEqual(w.t, w.grants[0].Incarnation, w.grants[1].Incarnation)
	})
}

// A take that waits for an own commit that is never settled gives up after its time, and may be revoked while it waits.
func TestATakeThatWaitsForACommitIsCancelled(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		b := bundle(w.take(1)[0], 1)
		w.next("commit", fault{err: errBroker})
		w.prod.Commit(w.t.Context(), []*kafka.Bundle{b})
		w.asked()
		w.con.assign(2)
		w.until("it is marked", func() bool { return len(w.calls) == 2 })
		w.con.revoke(2)
		w.until("it is unassigned", func() bool { return len(w.calls) == 3 })
		require.Equal(w.t, []string{"marks [2]", "mark A-1 2=A/1", "unassign 0"}, w.asked())
		require.Len(w.t, w.grants, 1)
	})
}

func TestATakeThatFailsIsTriedAgain(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		for range 10 {
			w.next("marks", fault{err: errBroker})
		}
		began := time.Now()
		w.take(1)
		took := time.Since(began)
		require.Greater(w.t, took, 11*time.Second, "50 ms, doubled up to 2 s")
		require.Less(w.t, took, 13*time.Second)
		require.Len(w.t, w.failed, 1)
		require.ErrorContains(w.t, w.failed[0], "slots 1 of group g cannot be taken, after 10 tries")
		require.NoError(w.t, w.fatal)
	})
}

// TestATakeThatIsDeniedIsFatal: to try again does not give the right that is missing.
func TestATakeThatIsDeniedIsFatal(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.marks[1] = "Z/9"
		w.next("fence", fault{err: fmt.Errorf("end the transactions of g-Z: %w", kafka.ErrDenied)})
		w.con.assign(1)
		<-w.ran
		require.ErrorIs(w.t, w.fatal, kafka.ErrDenied)
		require.Empty(w.t, w.grants)
	})
}

func TestAMarkOfAnotherProgramNamesNobody(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.marks[1] = "hello world"
		w.asked()
		g := w.take(1)[0]
		require.Equal(w.t, []string{"marks [1]", "mark A-1 1=A/1", "offsets"}, w.asked())
		require.True(w.t, g.Careful)
		w.mu.Lock()
		w.marks[1] = "hello world"
		w.mu.Unlock()
		state, err := w.prod.Settle(w.t.Context(), []*kafka.Bundle{bundle(g, 1)})
		require.NoError(w.t, err)
		require.Equal(w.t, map[int32]kafka.Settled{1: kafka.SlotLost}, state)
	})
}

// Our own instance with another nonce is our past if we never held the slot, and a twin if we did.
func TestATwinOnASlotThatWasHeldIsFatal(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.marks[1] = "A/0"
		w.asked()
		w.take(1)
		require.Equal(w.t, []string{"marks [1]", "mark A-1 1=A/1", "offsets"}, w.asked(), "its own producer has ended what it had open")
		w.mu.Lock()
		w.marks[1] = "A/2"
		w.mu.Unlock()
		w.group.Retake([]int32{1}, errBroker)
		<-w.ran
		require.ErrorIs(w.t, w.fatal, kafka.ErrDuplicateIdentity)
		require.NotContains(w.t, w.asked(), "leave A-1", "the twin would be thrown out")
	})
}

func TestAnotherMemberIdLosesAllSlots(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		old := w.take(1, 2)
		w.con.joins("A-2")
		w.asked()
		w.con.assign()
		w.until("both are taken anew", func() bool { return len(w.grants) == 4 })
		require.Equal(w.t, []int32{1, 2}, w.lost)
		require.Equal(w.t, []string{"unassign 2", "marks [1 2]", "mark A-2 1=A/1, 2=A/1", "offsets"}, w.asked())
		require.Equal(w.t, "A-2", w.grants[2].MemberID)
		out := w.prod.Commit(w.t.Context(), []*kafka.Bundle{bundle(old[0], 1)})
		require.Equal(w.t, kafka.Aborted, out.Verdict)
		require.ErrorContains(w.t, out.Err, "slots 1 were given up")
		require.Empty(w.t, out.Lost)
		require.Empty(w.t, w.asked(), "nothing has begun")
	})
}

func TestSlotsThatAreLostAreNotReleased(t *testing.T) {
	for name, lose := range map[string]func(*world){
		"the client says so":    func(w *world) { w.con.do <- func() { w.con.lost = true } },
		"thrown out":            func(w *world) { w.con.joins("") },
		"another member by now": func(w *world) { w.con.joins("A-2") },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, kafka.GroupConfig{}, func(w *world) {
				w.take(1, 2)
				lose(w)
				w.asked()
				w.con.revoke(1)
				w.until("it is lost", func() bool { return len(w.lost) == 1 && len(w.calls) == 1 })
				require.Equal(w.t, []string{"unassign 1"}, w.asked())
				require.ErrorContains(w.t, w.why, "its session has ended")
			})
		})
	}
}

func TestWhatIsNotReleasedIsLost(t *testing.T) {
	in(t, kafka.GroupConfig{ReleaseTimeout: 3 * time.Second}, func(w *world) {
		w.take(1, 2, 3)
		w.keep = []int32{2}
		w.asked()
		w.con.revoke(1, 2)
		w.until("it is unassigned", func() bool { return len(w.calls) == 4 })
		require.Equal(w.t, []string{"release [1 2]", "marks [1]", "mark-released A-1 1=released", "unassign 2"}, w.asked())
		require.Equal(w.t, []int32{2}, w.lost)
		require.Equal(w.t, "A/1", w.marks[2], "who takes it fences us")
		// A handler that does not answer, even after its time.
		w.next("release", fault{takes: 20 * time.Second})
		began := time.Now()
		w.con.revoke(3)
		w.until("it is lost", func() bool { return len(w.lost) == 2 && len(w.calls) == 2 })
		require.Equal(w.t, 4*time.Second, time.Since(began).Round(time.Second))
		require.Equal(w.t, []string{"release [3]", "unassign 1"}, w.asked())
		<-time.After(20 * time.Second) // it answers in the end
	})
}

func TestRecordsComeBeforeTheRebalance(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.take(1)
		w.asked()
		w.con.do <- func() { w.con.gathered = true }
		w.con.revoke(1)
		w.until("it is unassigned", func() bool { return len(w.calls) == 5 })
		require.Equal(w.t, []string{"batch a 1", "release [1]", "marks [1]", "mark-released A-1 1=released", "unassign 1"}, w.asked())
	})
}

func TestOnlyWhatIsAssignedIsPaused(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		g := w.take(1)[0]
		w.asked()
		w.group.Pause(source(2), source(1))
		w.group.Pause(source(2))
		w.next("resume", fault{err: errBroker})
		w.group.Resume(source(1))
		w.group.Assign(g, g.Sources) // again: refused, and logged
		g.Incarnation--
		w.group.Assign(g, g.Sources)
		w.until("both are asked", func() bool { return len(w.calls) == 2 })
		require.Equal(w.t, []string{"pause [{a 1}]", "resume [{a 1}]"}, w.asked())
		require.Len(w.t, w.failed, 1)
		require.ErrorIs(w.t, w.failed[0], errBroker)
		require.NoError(w.t, w.fatal)
	})
}

func TestAGrantThatIsGoneIsNotAssigned(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.idle = true
		old := w.take(1)[0]
		w.group.Retake([]int32{1}, errBroker)
		w.until("it is taken anew", func() bool { return len(w.grants) == 2 })
		w.asked()
		w.group.Assign(old, old.Sources)
		w.group.Pause(source(1))
		w.group.Assign(w.grants[1], w.grants[1].Sources)
		w.group.Resume(source(1))
		w.until("it is assigned", func() bool { return len(w.calls) == 1 })
		require.Equal(w.t, []string{"resume [{a 1}]"}, w.asked())
	})
}

func TestAFatalErrorReleasesNothing(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.take(1)
		w.asked()
		w.con.do <- func() {
			w.con.events.Failed(errBroker, true)
			w.con.onGoing([]int32{1})
		}
		<-w.ran
		require.Equal(w.t, []string{"unassign 1", "close-consumer", "leave A-1"}, w.asked())
		require.Equal(w.t, []int32{1}, w.lost)
	})
}

func TestAFatalErrorLosesAllSlots(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.take(1, 2)
		w.asked()
		w.con.do <- func() {
			w.con.events.Failed(errors.New("a trifle"), false)
			w.con.events.Failed(errBroker, true)
			w.con.events.Failed(errors.New("another"), true)
		}
		<-w.ran
		require.Equal(w.t, errBroker, w.fatal)
		require.Len(w.t, w.failed, 2, "one end, told once")
		require.Equal(w.t, []int32{1, 2}, w.lost)
		require.Equal(w.t, []string{"close-consumer", "leave A-1"}, w.asked())
		require.Equal(w.t, map[int32]string{1: "A/1", 2: "A/1"}, w.marks, "whatever is open must be fenced")
	})
}

func TestKeptSlotsAreReleasedButNotLeft(t *testing.T) {
	in(t, kafka.GroupConfig{KeepSlots: true}, func(w *world) {
		w.take(1)
		w.asked()
		w.end()
		<-w.ran
		require.Equal(w.t, []string{"release [1]", "marks [1]", "mark-released A-1 1=released", "close-consumer"}, w.asked())
	})
}

// A process that has lost its session and joined again, before any callback told it so, writes over nobody's mark.
func TestANewMemberReleasesNothingOfTheOld(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.take(1)
		w.asked()
		w.con.mu.Lock()
		w.con.member = kafka.Member{ID: "A-2", Instance: "A", Generation: 7}
		w.con.mu.Unlock()
		w.mu.Lock()
		w.marks[1] = "B/1"
		w.mu.Unlock()
		w.end()
		<-w.ran
		require.Equal(w.t, []string{"release [1]", "close-consumer", "leave A-2"}, w.asked())
		require.Equal(w.t, map[int32]string{1: "B/1"}, w.marks)
	})
}

// A static member that came back with claims of its past may have taken a slot while we were asked for it.
func TestAMarkThatIsNotOursIsNotReleased(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.take(1, 2)
		w.asked()
		w.mu.Lock()
		w.marks[1] = "B/1 over A/1"
		w.mu.Unlock()
		w.con.revoke(1, 2)
		w.until("it is unassigned", func() bool { return len(w.calls) == 4 })
		require.Equal(w.t, []string{"release [1 2]", "marks [1 2]", "mark-released A-1 2=released", "unassign 2"}, w.asked())
		require.Equal(w.t, map[int32]string{1: "B/1 over A/1", 2: "released"}, w.marks)
	})
}

// A node that is stopped while it joins leaves nobody behind who would be given slots.
func TestAMemberThatNeverKnewItsIDIsTakenOut(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.con.member = kafka.Member{Generation: -1}
		w.state = protocol.GroupState{Members: []protocol.MemberState{{ID: "B-1", Instance: "B"}, {ID: "A-7", Instance: "A"}}}
		w.end()
		<-w.ran
		require.Equal(w.t, []string{"open", "close-consumer", "leave A-7"}, w.asked())
	})
}

func TestANodeThatNeverJoinedLeavesNothing(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.con.member = kafka.Member{Generation: -1}
		w.state = protocol.GroupState{Members: []protocol.MemberState{{ID: "B-1", Instance: "B"}}}
		w.end()
		<-w.ran
		require.Equal(w.t, []string{"open", "close-consumer"}, w.asked())
	})
}

func TestGroupsAreCheckedBeforeTheyOpen(t *testing.T) {
	t.Parallel()
	opened := false
	open := func(protocol.Events) (protocol.Consumer, error) { opened = true; return nil, errBroker }
	for text, cfg := range map[string]kafka.GroupConfig{
		`instance id "A B"`: {Group: "g", Instance: "A B", Nonce: "1"},
		"it has no name":    {Instance: "A", Nonce: "1"},
	} {
		_, err := protocol.NewGroup(cfg, slog.New(slog.DiscardHandler), protocol.Real{}, &world{}, open)
		require.ErrorContains(t, err, text)
	}
	require.False(t, opened)
	_, err := protocol.NewGroup(kafka.GroupConfig{Group: "g", Instance: "A", Nonce: "1"}, slog.New(slog.DiscardHandler), protocol.Real{}, &world{}, open)
	require.ErrorIs(t, err, errBroker)
}

func TestRealAwaits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan struct{})
	why := errors.New("why")
	cancel(why)
	require.ErrorIs(t, protocol.Real{}.Await(ctx, done), why)
	require.False(t, protocol.Real{}.Sleep(ctx, time.Hour))
	close(done)
	require.NoError(t, protocol.Real{}.Await(ctx, done), "what is done is done")
}

// A member that was replaced gives up its slots, joins once more as soon as a broker lets it, and takes them anew; replaced again within a
// minute, it ends.
func TestAMemberThatIsReplaced(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.take(1)
		w.mu.Lock()
		w.unopened = 4
		w.mu.Unlock()
		replaced := func() { w.con.events.Failed(fmt.Errorf("fenced: %w", kafka.ErrDuplicateIdentity), true) }
		w.con.do <- replaced
		w.until("it has joined once more", func() bool { return w.opens == 5 })
		require.Equal(w.t, []int32{1}, w.lost)
		require.NoError(w.t, w.fatal)
		require.Len(w.t, w.failed, 3, "each attempt in vain is told of")
		w.con.joins("A-2")
		w.take(1)
		w.con.do <- replaced
		<-w.ran
		require.ErrorIs(w.t, w.fatal, kafka.ErrDuplicateIdentity)
	})
}

// One that is told to stop before it could join once more has nothing to close or to leave.
func TestAMemberThatIsReplacedAndStopped(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.take(1)
		w.mu.Lock()
		w.unopened = 1 << 30
		w.mu.Unlock()
		w.con.do <- func() { w.con.events.Failed(kafka.ErrDuplicateIdentity, true) }
		w.until("it tries to join once more", func() bool { return w.opens > 3 })
		w.asked()
		w.end()
		<-w.ran
		require.NoError(w.t, w.fatal)
		require.Empty(w.t, w.asked(), "who has its identity now would be thrown out")
	})
}
