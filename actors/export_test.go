package actors

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/topology/plan"
)

// Registered is how many actors of a node the library knows, and how many mailboxes are kept to be looked at.
func Registered(n *Node) (living, boxes int) {
	g := n.ground.(*realGround) //nolint:forcetypeassert // of a node of these tests
	for _, bucket := range g.system.ProcessRegistry.LocalPIDs.LocalPIDs {
		living += bucket.Count()
	}
	g.boxes.mu.Lock()
	defer g.boxes.mu.Unlock()
	return living, len(g.boxes.boxes)
}

// MeetAll checks random histories until each of these things has been met by one: a hundred may miss what is rare. Where tests are to be short, it
// checks some and asks no more.
func MeetAll(t *testing.T, seen map[string]int, all []string, history func(*rapid.T)) {
	t.Helper()
	missing := all
	for range 10 {
		rapid.Check(t, history)
		missing = slices.DeleteFunc(slices.Clone(all), func(what string) bool { return seen[what] > 0 })
		if testing.Short() || len(missing) == 0 {
			return
		}
	}
	require.Empty(t, missing, "never happened: %v", seen)
}

// NewSimBegun is NewSim, but that nothing has happened yet.
func NewSimBegun(p *plan.Plan, partitions func(*plan.Topic) int32, now time.Time) (*Sim, error) {
	s := newSim(p, partitions, now)
	return s, s.reboot()
}

// GoroutineID and StackOf are what stacks of handlers that hang are found by.
var (
	GoroutineID = goroutineID
	StackOf     = stackOf
)
