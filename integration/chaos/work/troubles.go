package work

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Agents of Troubles.
const (
	Serve = "serve" // one after the other
	Keyed = "keyed" // with KeyOrder
)

// ExitCode is that of a process which an order has ended.
const ExitCode = 7

// ErrPoison is why Troubles gives records up.
var ErrPoison = errors.New("no such customer")

// Poison says whether an agent of Troubles can never do an order. Some are poison to both, some to the function in the table of
// Serve; some end its process.
func Poison(agent string, id int64) bool {
	return poisonsAll(id) || agent == Serve && (poisonsTable(id) || Exits(id))
}

// Exits says whether Serve ends its process when it is given the order.
func Exits(id int64) bool { return id < 0 }

func poisonsAll(id int64) bool   { return id%67 == 3 }
func poisonsTable(id int64) bool { return id%151 == 4 }

// Troubles serves orders that often fail, or panic, and come through in the end; but for those that never do, which become dead
// letters.
func Troubles() *topology.Topology {
	t := topology.New("troubles")
	orders := topology.NewTopic(t, "orders", codec.String, codec.Int64)
	served := topology.NewTopic(t, "served", codec.String, codec.Int64)
	keyed := topology.NewTopic(t, "keyed", codec.String, codec.Int64)
	serves := topology.NewTable(t, "serves", codec.String, codec.Int64)
	// So many attempts that none is given up by chance.
	t.OnFailure(topology.Policy{Attempts: 200, Backoff: topology.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond}})
	topology.Each(t, Serve, orders, func(ctx *topology.Context, ev topology.Event[string, int64]) error {
		if Exits(ev.Value) {
			os.Exit(ExitCode)
		}
		served.Send(ctx, ev.Key, ev.Value)
		serves.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) {
			if poisonsTable(ev.Value) {
				return 0, topology.Permanent(fmt.Errorf("order %d: %w", ev.Value, ErrPoison))
			}
			return n + 1, nil
		})
		return trouble(ev.Value)
	}, topology.Sends(served), topology.Writes(serves))
	topology.Each(t, Keyed, orders, func(ctx *topology.Context, ev topology.Event[string, int64]) error {
		keyed.Send(ctx, ev.Key, ev.Value)
		return trouble(ev.Value)
	}, topology.Sends(keyed), topology.OnFailure(topology.Policy{
		Attempts: 200, Backoff: topology.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond}, KeyOrder: true,
	}))
	return t
}

func trouble(id int64) error {
	switch {
	case poisonsAll(id):
		return topology.Permanent(fmt.Errorf("order %d: %w", id, ErrPoison))
	case id%53 == 1 && rand.IntN(3) > 0: //nolint:gosec // luck is enough
		return fmt.Errorf("order %d: the kitchen is busy", id)
	case id%101 == 2 && rand.IntN(2) > 0: //nolint:gosec // as above
		panic(fmt.Sprintf("order %d: a plate fell", id))
	}
	return nil
}
