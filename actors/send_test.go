package actors_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/topology"
)

// At-least-once, what an agent sends is there to be read while no commit succeeds, and is not sent again with the commit.
func TestNodeSendsBeforeItsCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, "in", "out")
	w.again = true
	topo := echo("soon", fine, fine)
	topo.OnFailure(topology.Policy{Attempts: 2})
	var held, asked atomic.Bool
	w.fake.ControlKey(kmsg.EndTxn.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		if !held.Load() {
			return nil, nil, false
		}
		asked.Store(true)
		no := r.ResponseKind().(*kmsg.EndTxnResponse) //nolint:forcetypeassert // it is of that request
		no.ErrorCode = kerr.CoordinatorLoadInProgress.Code
		return no, nil, true
	})
	n := w.node(t.TempDir(), topo)
	w.send("in", "a")
	w.read("out", 1)
	held.Store(true)
	w.send("in", "b", "c", "d")
	w.read("out", 4)
	require.Eventually(t, asked.Load, patience, tick)
	w.send("in", "e")
	w.read("out", 5)
	held.Store(false)
	w.stop(n)
	require.ElementsMatch(t, []string{"a", "b", "c", "d", "e"}, valuesOf(w.read("out", 5)))
	w.send("in", "f")
	w.node(t.TempDir(), topo)
	require.ElementsMatch(t, []string{"a", "b", "c", "d", "e", "f"}, valuesOf(w.read("out", 6)))
}
