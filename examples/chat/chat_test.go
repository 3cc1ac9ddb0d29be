package chat

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// Everybody in the room hears a line once, though everything in memory is lost after each move; who is not there hears and says nothing.
func TestChat(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	topo := Topology()
	d := topologytest.New(t, topo)
	moves := topology.TopicOf[string, Move](topo, "moves")
	for _, m := range []Move{
		{"ada", "join", ""},
		{"grace", "join", ""},
		{"grace", "join", ""},
		{"grace", "say", "Is there tea?"},
		{"alan", "say", "Let me in!"},
		{"alan", "join", ""},
		{"ada", "say", "Milk?"},
		{"grace", "dance", ""},
		{"grace", "leave", ""},
	} {
		topologytest.Pipe(d, moves, "kitchen", m)
		d.Crash()
	}
	require.Equal(t, map[string][]string{"kitchen": {"ada", "alan"}}, topologytest.Set(d, topology.SetTableOf[string, string](topo, "members")))
	unread := topology.TableOf[string, []Letter](topo, "unread")
	require.Equal(t, map[string][]Letter{
		"ada":   {{"kitchen", "grace", "Is there tea?"}},
		"alan":  {{"kitchen", "ada", "Milk?"}},
		"grace": {{"kitchen", "ada", "Milk?"}},
	}, topologytest.Table(d, unread))

	room := topology.AgentOf[string, Move, Room](topo, "room")
	answer, err := room.Ask(ctx, d, "kitchen", Move{"barbara", "say", "Hello"})
	require.NoError(t, err)
	require.Equal(t, Room{[]string{"ada", "alan"}, "barbara is not in the room: join it first"}, answer)
	inbox := topology.AgentOf[string, string, []Letter](topo, "inbox")
	mail, err := inbox.Ask(ctx, d, "ada", "")
	require.NoError(t, err)
	require.Equal(t, []Letter{{"kitchen", "grace", "Is there tea?"}}, mail)
	mail, err = inbox.Ask(ctx, d, "ada", "")
	require.NoError(t, err)
	require.Empty(t, mail, "read once")
	require.Empty(t, d.Failures())
}
