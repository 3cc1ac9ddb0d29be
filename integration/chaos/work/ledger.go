// Package work holds the topologies that the chaos command runs, beside examples/wordcount, and what a plain program
// makes of their input.
package work

import (
	"fmt"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Transfer is what the topic transfers holds, keyed by the giving account.
type Transfer struct {
	ID     int64  `json:"id"`
	From   string `json:"from"`
	To     string `json:"to"`
	Amount int64  `json:"amount"`
}

// Posting is what the topic postings holds, keyed by account: one side of a transfer.
type Posting struct {
	ID     int64 `json:"id"` // of the transfer
	Amount int64 `json:"amount"`
}

// Balance is a row of the table balances.
type Balance struct {
	Amount int64 `json:"amount"`
	N      int64 `json:"n"` // postings so far
}

// Statement is what the topic statements holds, keyed by account: a posting and the balance after it.
type Statement struct {
	ID int64 `json:"id"`
	Balance
}

// Postings are the two sides of a transfer, by account.
func (t Transfer) Postings() map[string]Posting {
	if t.From == t.To {
		return nil // moves nothing
	}
	return map[string]Posting{t.From: {t.ID, -t.Amount}, t.To: {t.ID, t.Amount}}
}

// Add returns the balance after a posting.
func (b Balance) Add(p Posting) Balance { return Balance{b.Amount + p.Amount, b.N + 1} }

// Ledger turns each transfer into two postings in one transaction, sums them up per account, and sends a statement of
// each. Postings are summed inside the table's shard.
func Ledger() *topology.Topology {
	t := topology.New("ledger")
	transfers := topology.NewTopic(t, "transfers", codec.String, codec.JSON[Transfer]())
	postings := topology.NewTopic(t, "postings", codec.String, codec.JSON[Posting]())
	statements := topology.NewTopic(t, "statements", codec.String, codec.JSON[Statement]())
	balances := topology.NewTable(t, "balances", codec.String, codec.JSON[Balance]())
	topology.Each(t, "post", transfers, func(ctx *topology.Context, ev topology.Event[string, Transfer]) error {
		for _, account := range []string{ev.Value.From, ev.Value.To} {
			if p, ok := ev.Value.Postings()[account]; ok {
				postings.Send(ctx, account, p)
			}
		}
		return nil
	}, topology.Sends(postings))
	topology.EachRow(t, "settle", postings, balances, func(ctx *topology.Context, ev topology.Event[string, Posting], row *topology.Row[Balance]) error {
		old, _ := row.Get()
		now := old.Add(ev.Value)
		if now.N <= old.N {
			return fmt.Errorf("account %s: posting %d after %d postings", ev.Key, now.N, old.N)
		}
		row.Set(now)
		statements.Send(ctx, ev.Key, Statement{ev.Value.ID, now})
		return nil
	}, topology.Sends(statements))
	return t
}
