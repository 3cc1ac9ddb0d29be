package protocol_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// orphaned is a group of four slots, of which A has 1 and 2, and nobody has 3.
func orphaned(others ...int32) protocol.GroupState {
	return protocol.GroupState{Stable: true, Slots: 4, Members: []protocol.MemberState{
		{ID: "A-1", Instance: "A", Slots: []int32{1, 2}}, {ID: "B-1", Instance: "B", Slots: append([]int32{0}, others...)},
	}}
}

func (w *world) describe(s protocol.GroupState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = s
}

// handedOver is what a member does to let go of slots 1 and 2 and to leave.
var handedOver = []string{"release [1 2]", "marks [1 2]", "mark-released A-1 1=released, 2=released", "unassign 2", "leave A-1"}

// Who leaves for slots that are nobody's lets go of its own in order: nothing of them is lost, nothing suspect when they come back.
func TestAMemberThatMovesLetsGoFirst(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		old := w.take(1, 2)
		w.asked()
		began := time.Now()
		w.describe(orphaned(4, 5, 6)) // B has more to lose
		w.until("it has left", func() bool { return len(w.calls) == len(handedOver) })
		require.Equal(w.t, handedOver, w.asked())
		require.GreaterOrEqual(w.t, time.Since(began), 5*time.Second, "at two looks, nobody had it")
		w.describe(protocol.GroupState{})
		out := w.prod.Commit(w.t.Context(), []*kafka.Bundle{bundle(old[0], 1)})
		require.ErrorContains(w.t, out.Err, "slots 1 were given up")
		w.con.do <- func() { w.con.lost = true }
		w.con.revoke(1, 2) // the client has noticed
		w.until("it is unassigned", func() bool { return len(w.calls) == 1 })
		require.Equal(w.t, []string{"unassign 0"}, w.asked())
		require.Empty(w.t, w.lost)
		w.con.do <- func() { w.con.lost = false }
		w.con.joins("A-2")
		for _, g := range w.take(1, 2, 3) {
			require.False(w.t, g.Careful, "slot %d", g.Slot)
			require.Equal(w.t, "A-2", g.MemberID)
		}
		require.NoError(w.t, w.fatal)
	})
}

// A rebalance is under way when a member leaves: its client joins again before it has noticed, as the member that it was and then as another, keeps what it has, and is
// told of nothing that is new. What it was not asked for it takes again, as who it is in the end.
func TestAMemberThatMovesAndKeepsItsSlotsTakesThemAgain(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.take(1, 2)
		w.asked()
		w.describe(orphaned(4, 5, 6))
		w.until("it has left", func() bool { return len(w.calls) == len(handedOver) })
		w.describe(protocol.GroupState{})
		w.asked()
		w.con.revoke(2)
		w.con.assign()
		w.until("it has the one again", func() bool { return len(w.grants) == 3 })
		require.EqualValues(w.t, 1, w.grants[2].Slot)
		w.con.joins("A-2")
		w.con.assign()
		w.until("it has it as another", func() bool { return len(w.grants) == 4 })
		require.EqualValues(w.t, 1, w.grants[3].Slot)
		require.Equal(w.t, "A-2", w.grants[3].MemberID)
		w.con.assign()
		<-time.After(time.Minute) // of the bubble's clock
		require.Len(w.t, w.grants, 4, "and once")
		require.NoError(w.t, w.fatal)
	})
}

// A member that the group does not let go takes its slots again, and tries once more.
func TestAMemberThatCannotMoveTakesItsSlotsAgain(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.take(1, 2)
		w.asked()
		w.next("leave", fault{err: errBroker})
		w.describe(orphaned(4, 5, 6))
		w.until("it has its slots again", func() bool { return len(w.grants) == 4 })
		require.Equal(w.t, append(slices.Clip(handedOver), "marks [1 2]", "mark A-1 1=A/1, 2=A/1", "offsets"), w.asked())
		for _, g := range w.grants[2:] {
			require.False(w.t, g.Careful, "slot %d", g.Slot)
		}
		w.until("it has left", func() bool { return len(w.calls) == len(handedOver) })
		require.Equal(w.t, handedOver, w.asked())
		require.Empty(w.t, w.lost)
	})
}

// Only the member with the fewest slots moves, and only for slots that stay nobody's in a group that is at rest.
func TestWhoDoesNotMove(t *testing.T) {
	t.Parallel()
	unstable, same := orphaned(4, 5, 6), orphaned(4, 5, 6)
	unstable.Stable = false
	same.Slots = 3
	for name, s := range map[string]protocol.GroupState{"another has fewer": orphaned(), "it is not at rest": unstable, "every slot is somebody's": same} {
		t.Run(name, func(t *testing.T) {
			in(t, kafka.GroupConfig{}, func(w *world) {
				w.take(1, 2)
				w.asked()
				w.describe(s)
				<-time.After(time.Minute) // of the bubble's clock: a dozen looks
				require.Empty(w.t, w.asked())
			})
		})
	}
}
