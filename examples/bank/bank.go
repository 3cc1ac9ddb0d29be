// Package bank moves money between accounts that lie in different partitions: debited in the one, credited in the other, through a topic between.
// No crash makes or loses a cent.
package bank

import (
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Transfer is what the topic transfers holds, keyed by the account that pays.
type Transfer struct {
	ID     string `json:"id"`
	To     string `json:"to"`
	Amount int64  `json:"amount"` // in hundredths of the currency
}

// Credit is what the topic credits holds, keyed by the account that is paid: money on its way.
type Credit struct {
	ID     string `json:"id"`
	From   string `json:"from"`
	Amount int64  `json:"amount"`
}

// Refusal is what the topic refusals holds of a transfer that was not made, keyed by the account that would have paid.
type Refusal struct {
	Transfer
	Why string `json:"why"`
}

const (
	// Cash is the account that all money comes from: what is paid in is a transfer from it, and it alone may sink without limit.
	// So the balances of all accounts, with what is on its way, are 0 in sum, always.
	Cash = "cash"
	// Limit is how far every other account may sink below 0.
	Limit = 100_000
)

// Topology keeps the balances of all accounts in the table accounts. What a transfer does is two records' work: debit takes the amount from
// the one account and sends a credit, in one transaction; credit adds it to the other.
func Topology() *topology.Topology {
	t := topology.New("bank")
	transfers := topology.NewTopic(t, "transfers", codec.String, codec.JSON[Transfer]())
	credits := topology.NewTopic(t, "credits", codec.String, codec.JSON[Credit]())
	refusals := topology.NewTopic(t, "refusals", codec.String, codec.JSON[Refusal]())
	accounts := topology.NewTable(t, "accounts", codec.String, codec.Int64)

	topology.EachRow(t, "debit", transfers, accounts, func(ctx *topology.Context, tr topology.Event[string, Transfer], row *topology.Row[int64]) error {
		balance, _ := row.Get()
		if why := refused(tr.Key, balance, tr.Value); why != "" {
			refusals.Send(ctx, tr.Key, Refusal{tr.Value, why})
			return nil
		}
		row.Set(balance - tr.Value.Amount)
		credits.Send(ctx, tr.Value.To, Credit{tr.Value.ID, tr.Key, tr.Value.Amount})
		return nil
	}, topology.Sends(credits, refusals))

	topology.EachRow(t, "credit", credits, accounts, func(_ *topology.Context, c topology.Event[string, Credit], row *topology.Row[int64]) error {
		balance, _ := row.Get()
		row.Set(balance + c.Value.Amount)
		return nil
	})
	return t
}

// refused says why a transfer is not made; empty: it is.
func refused(from string, balance int64, tr Transfer) string {
	switch {
	case tr.Amount <= 0:
		return "the amount is not above 0"
	case tr.To == "":
		return "it names nobody to pay"
	case from != Cash && balance-tr.Amount < -Limit:
		return "the account would sink below its limit"
	}
	return ""
}
