// Package orders takes orders, confirms each and counts them by account: the shape of the tutorial of Faust.
package orders

import (
	"fmt"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Order is what the topic orders holds, keyed by the number of the order.
type Order struct {
	Account string `json:"account"`
	Item    string `json:"item"`
	Amount  int64  `json:"amount"`
}

// Account is what the table accounts knows of an account.
type Account struct {
	Orders int64 `json:"orders"`
	Amount int64 `json:"amount"`
}

// Confirmation is what the topic confirmations holds of each order, keyed by its account.
type Confirmation struct {
	Order  string `json:"order"`
	Item   string `json:"item"`
	Number int64  `json:"number"` // of the account's orders: this is its first, second, …
}

// taken is an order on its way to its account.
type taken struct {
	Order
	Number string `json:"number"`
}

// Topology counts orders by account. They come keyed by their own numbers, so they go on through a topic that is keyed by account: all orders
// of one account meet in one partition.
func Topology() *topology.Topology {
	t := topology.New("orders")
	orders := topology.NewTopic(t, "orders", codec.String, codec.JSON[Order]())
	byAccount := topology.NewTopic(t, "orders-by-account", codec.String, codec.JSON[taken]())
	confirmations := topology.NewTopic(t, "confirmations", codec.String, codec.JSON[Confirmation]())
	accounts := topology.NewTable(t, "accounts", codec.String, codec.JSON[Account]())

	topology.Agent(t, "take", orders, func(ctx *topology.Context, in topology.Stream[string, Order]) error {
		for order := range in.All() {
			if err := order.Value.check(); err != nil {
				ctx.Fail(topology.Permanent(err)) // to the dead letters, and on with the next one
				continue
			}
			byAccount.Send(ctx, order.Value.Account, taken{order.Value, order.Key})
		}
		return nil
	}, topology.Sends(byAccount))

	topology.EachRow(t, "confirm", byAccount, accounts, func(ctx *topology.Context, order topology.Event[string, taken], row *topology.Row[Account]) error {
		account, _ := row.Get()
		account.Orders++
		account.Amount += order.Value.Amount
		row.Set(account)
		confirmations.Send(ctx, order.Key, Confirmation{order.Value.Number, order.Value.Item, account.Orders})
		return nil
	}, topology.Sends(confirmations))
	return t
}

func (o Order) check() error {
	if o.Account == "" || o.Amount <= 0 {
		return fmt.Errorf("an order needs an account and an amount above 0, not %q and %d", o.Account, o.Amount)
	}
	return nil
}
