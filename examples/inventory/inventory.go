// Package inventory keeps what a shop can still sell: what lies on its shelves without what is ordered, a join of two tables, and says when something
// runs short.
package inventory

import (
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Stock is what the topic stock holds of the goods that are its key: the last count of the shelves.
type Stock struct {
	OnHand int64 `json:"on_hand"`
	Least  int64 `json:"least"` // with fewer than that, more are to be ordered
}

// Order is what the topic orders holds, keyed by the number of the order.
type Order struct {
	Goods string `json:"goods"`
	Count int64  `json:"count"`
}

// Level is what the table levels has of the goods that are its key.
type Level struct {
	Stock
	Reserved int64 `json:"reserved"` // by orders
}

// Free is how many can still be sold; below 0, how many have been sold too many.
func (l Level) Free() int64 { return l.OnHand - l.Reserved }

func (l Level) short() bool { return l.Free() < l.Least }

// Shortage is what the topic shortages holds of goods that have run short, and again when there are enough.
type Shortage struct {
	Free  int64 `json:"free"`
	Short bool  `json:"short"`
}

// Promise is what the table promises has of an order whose goods have been counted.
type Promise struct {
	Order
	Kept bool `json:"kept"` // what is on the shelves is enough for all orders of these goods
}

// Topology keeps the table levels: a row for all goods that have been counted, kept up by each count and by each order; and the table promises: a row
// for each order, kept up by the level of its goods, wherever that is.
func Topology() *topology.Topology {
	t := topology.New("inventory")
	orders := topology.NewTopic(t, "orders", codec.String, codec.JSON[Order]())
	shortages := topology.NewTopic(t, "shortages", codec.String, codec.JSON[Shortage]())
	stock := topology.TableFrom(t, "on-hand", topology.NewTopic(t, "stock", codec.String, codec.JSON[Stock]()))
	reserved := topology.NewTable(t, "reserved", codec.String, codec.Int64)
	levels := topology.NewTable(t, "levels", codec.String, codec.JSON[Level]())
	promises := topology.NewTable(t, "promises", codec.String, codec.JSON[Promise]())

	byGoods := topology.GroupBy(topology.From(orders), func(o Order) string { return o.Goods })
	topology.Aggregate(byGoods, reserved, func() int64 { return 0 }, func(sum int64, o topology.Event[string, Order]) int64 { return sum + o.Value.Count })
	topology.LeftJoinTables(stock, reserved, levels, func(s Stock, n int64, _ bool) Level { return Level{s, n} })
	topology.JoinForeign(
		topology.TableFrom(t, "order-book", orders), levels, promises,
		func(_ string, o Order) (string, bool) { return o.Goods, true },
		func(o Order, l Level) Promise { return Promise{o, l.Free() >= 0} },
	)

	turns := topology.Filter(topology.Changes(levels), func(c topology.Event[string, topology.Change[Level]]) bool {
		return c.Value.Old.short() != c.Value.New.short()
	})
	topology.To(topology.Map(turns, func(c topology.Change[Level]) Shortage { return Shortage{c.New.Free(), c.New.short()} }), shortages)
	return t
}
