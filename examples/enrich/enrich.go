// Package enrich adds to each sale what else is known about it: the price of the goods, by a stream-table join, and the rate of the currency, by a join
// with a global table.
package enrich

import (
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Sale is what the topic sales holds, keyed by the goods.
type Sale struct {
	Customer string `json:"customer"`
	Count    int64  `json:"count"`
	Currency string `json:"currency"`
}

// Item is what the topic items holds of the goods that are its key.
type Item struct {
	Name  string `json:"name"`
	Cents int64  `json:"cents"` // the price of one, in hundredths of a euro
}

// Invoice is what the topic invoices holds of each sale.
type Invoice struct {
	Customer string  `json:"customer"`
	Item     string  `json:"item"`
	Count    int64   `json:"count"`
	Currency string  `json:"currency"`
	Amount   float64 `json:"amount"`
	Missing  string  `json:"missing,omitempty"` // why there is no amount
}

// Topology makes an invoice of each sale. Items are spread as sales are, by the goods, and each sale meets its own in its partition. There are only a few
// rates: each node has all of them, and a sale finds its own by the currency.
func Topology() *topology.Topology {
	t := topology.New("enrich")
	sales := topology.NewTopic(t, "sales", codec.String, codec.JSON[Sale]())
	invoices := topology.NewTopic(t, "invoices", codec.String, codec.JSON[Invoice]())
	items := topology.TableFrom(t, "items", topology.NewTopic(t, "item-updates", codec.String, codec.JSON[Item]()))
	rates := topology.NewGlobalTable(t, "rates", topology.NewTopic(t, "rate-updates", codec.String, codec.Float64)) // of one euro

	priced := topology.LeftJoin(topology.From(sales), items, price)
	topology.To(topology.LeftJoinGlobal(priced, rates, currency, convert), invoices, topology.Named("invoice"))
	return t
}

func price(s Sale, item Item, ok bool) Invoice {
	inv := Invoice{Customer: s.Customer, Item: item.Name, Count: s.Count, Currency: s.Currency, Amount: float64(s.Count*item.Cents) / 100}
	if !ok {
		inv.Missing = "nobody knows the goods"
	}
	return inv
}

func currency(inv topology.Event[string, Invoice]) (string, bool) {
	return inv.Value.Currency, inv.Value.Currency != "EUR"
}

func convert(inv Invoice, rate float64, ok bool) Invoice {
	switch {
	case ok:
		inv.Amount *= rate
	case inv.Currency != "EUR" && inv.Missing == "":
		inv.Amount, inv.Missing = 0, "nobody knows the rate"
	}
	return inv
}
