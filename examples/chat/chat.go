// Package chat is rooms in which people talk: who is where is a set table, and the agents answer whoever asks them.
package chat

import (
	"fmt"
	"slices"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Move is what somebody does in the room that is its key.
type Move struct {
	User string `json:"user"`
	Do   string `json:"do"` // join, say or leave
	Text string `json:"text,omitempty"`
}

// Room is the answer to a Move.
type Room struct {
	Here    []string `json:"here"`              // who is in the room now
	Refused string   `json:"refused,omitempty"` // why nothing was done
}

// Letter is a line on its way to the user that is its key.
type Letter struct {
	Room string `json:"room"`
	From string `json:"from"`
	Text string `json:"text"`
}

// Topology has two agents that can be asked: room, by the name of a room, and inbox, by the name of a user. A line that is said is
// one letter to each of the others in the room, all in one transaction.
func Topology() *topology.Topology {
	t := topology.New("chat")
	moves := topology.NewTopic(t, "moves", codec.String, codec.JSON[Move]())
	letters := topology.NewTopic(t, "letters", codec.String, codec.JSON[Letter]())
	asks := topology.NewTopic(t, "inbox-asks", codec.String, codec.String)
	members := topology.NewSetTable(t, "members", codec.String, codec.String)
	unread := topology.NewTable(t, "unread", codec.String, codec.JSON[[]Letter]())

	topology.Answer(t, "room", moves, func(ctx *topology.Context, m topology.Event[string, Move]) (Room, error) {
		room, user := m.Key, m.Value.User
		here, err := members.Has(ctx, room, user)
		if err != nil {
			return Room{}, err
		}
		refused := ""
		switch do := m.Value.Do; {
		case user == "":
			refused = "who are you?"
		case do == "join":
			members.Add(ctx, room, user)
		case !here:
			refused = fmt.Sprintf("%s is not in the room: join it first", user)
		case do == "leave":
			members.Remove(ctx, room, user)
		case do == "say":
			for other := range members.Elements(ctx, room) {
				if other != user {
					letters.Send(ctx, other, Letter{room, user, m.Value.Text})
				}
			}
		default:
			refused = fmt.Sprintf("cannot %q: join, say or leave", do)
		}
		return Room{slices.Collect(members.Elements(ctx, room)), refused}, nil
	}, codec.JSON[Room](), topology.Writes(members), topology.Sends(letters))

	topology.EachRow(t, "deliver", letters, unread, func(_ *topology.Context, l topology.Event[string, Letter], row *topology.Row[[]Letter]) error {
		all, _ := row.Get()
		row.Set(append(all, l.Value))
		return nil
	})

	// What is answered is not unread any more: if the answer is not committed, neither is that.
	topology.Answer(t, "inbox", asks, func(ctx *topology.Context, ask topology.Event[string, string]) ([]Letter, error) {
		all, _, err := unread.Get(ctx, ask.Key)
		unread.Delete(ctx, ask.Key)
		return append([]Letter{}, all...), err // in JSON [], not null
	}, codec.JSON[[]Letter](), topology.Writes(unread))
	return t
}
