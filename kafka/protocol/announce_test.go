package protocol_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
)

func open(to int64) kafka.Trying {
	return kafka.Trying{Level: 1, Open: true, To: []kafka.AgentOffset{{Agent: "x", Offset: to}}}
}

// TestSuspicionsGoFromOwnerToOwner: what marks say goes into grants, and into the marks that are written.
func TestSuspicionsGoFromOwnerToOwner(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		w.marks = map[int32]string{1: "Z/9 trying 2 3 x@7", 2: "released suspects 1 0 x@9"}
		w.asked()
		grants := w.take(1, 2)
		require.Equal(w.t, []string{
			"marks [1 2]", "mark-over A-1 1=A/1 over Z/9 suspects 2 4 x@7", "fence Z", "mark A-1 1=A/1 suspects 2 4 x@7, 2=A/1 suspects 1 0 x@9", "offsets",
		}, w.asked())
		require.Equal(w.t, kafka.Trying{Level: 2, Deaths: 4, To: []kafka.AgentOffset{{Agent: "x", Offset: 7}}}, grants[0].Suspects)
		require.True(w.t, grants[0].Careful)
		require.Equal(w.t, 1, grants[1].Suspects.Level)
		require.False(w.t, grants[1].Careful, "it was released in order")

		require.NoError(w.t, w.group.Announce(w.t.Context(), 1, grants[0].Incarnation, open(8)))
		require.NoError(w.t, w.group.Announce(w.t.Context(), 2, grants[1].Incarnation, kafka.Trying{}))
		holds, err := w.group.Holds(w.t.Context(), 1, grants[0].Incarnation)
		require.NoError(w.t, err)
		require.True(w.t, holds, "a mark with an announcement is ours all the same")
		require.Equal(w.t, []string{"mark A-1 1=A/1 trying 1 0 x@8", "mark A-1 2=A/1", "marks [1]"}, w.asked())
		w.end()
		<-w.ran
		require.Contains(w.t, w.asked(), "mark-released A-1 1=released suspects 1 0 x@8, 2=released")
	})
}

func TestNothingIsAnnouncedForWhatIsNotHeld(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		g := w.take(1)[0]
		w.asked()
		require.ErrorIs(w.t, w.group.Announce(w.t.Context(), 2, 1, open(1)), kafka.ErrNotHeld)
		require.ErrorIs(w.t, w.group.Announce(w.t.Context(), 1, g.Incarnation+1, open(1)), kafka.ErrNotHeld)
		w.con.joins("A-2")
		require.ErrorIs(w.t, w.group.Announce(w.t.Context(), 1, g.Incarnation, open(1)), kafka.ErrNotHeld, "before any callback has told of it")
		w.con.joins("")
		require.ErrorIs(w.t, w.group.Announce(w.t.Context(), 1, g.Incarnation, open(1)), kafka.ErrNotHeld)
		require.Empty(w.t, w.asked())
	})
}

// TestAReleaseWaitsForAnAnnouncement: what is on its way would come after the release, and have a live process fenced by the next owner.
func TestAReleaseWaitsForAnAnnouncement(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		g := w.take(1)[0]
		w.next("mark", fault{takes: 3 * time.Second})
		w.asked()
		began, announced := time.Now(), make(chan error, 1)
		go func() { announced <- w.group.Announce(w.t.Context(), 1, g.Incarnation, open(8)) }()
		w.until("it is on its way", func() bool { return len(w.calls) == 1 })
		w.con.revoke(1)
		w.until("it is released", func() bool { return w.marks[1] == "released suspects 1 0 x@8" })
		require.GreaterOrEqual(w.t, time.Since(began), 3*time.Second)
		require.NoError(w.t, <-announced)
		require.ErrorIs(w.t, w.group.Announce(w.t.Context(), 1, g.Incarnation, open(9)), kafka.ErrNotHeld)
	})
}

// TestATakeWaitsForAnAnnouncement of the same process: it would write over the mark of the take.
func TestATakeWaitsForAnAnnouncement(t *testing.T) {
	in(t, kafka.GroupConfig{}, func(w *world) {
		g := w.take(1)[0]
		w.next("mark", fault{takes: 3 * time.Second})
		announced := make(chan error, 1)
		go func() { announced <- w.group.Announce(w.t.Context(), 1, g.Incarnation, open(8)) }()
		w.asked()
		w.until("it is on its way", func() bool { return len(w.calls) == 1 })
		w.group.Retake([]int32{1}, kafka.ErrNotHeld)
		w.until("it is taken anew", func() bool { return len(w.grants) == 2 })
		require.NoError(w.t, <-announced)
		require.Equal(w.t, "A/1 suspects 1 0 x@8", w.marks[1], "the window was open, but nobody has died")
		require.Equal(w.t, w.grants[1].Suspects.To, open(8).To)
	})
}
