// Package audit checks orders with a protoactor actor of its own: topology.Props shows the level below the agents, where
// one decides, record by record and in any order, what is done and what has failed.
package audit

import (
	"fmt"
	"strings"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Order is what the topic orders holds, keyed by the order's id.
type Order struct {
	Customer string `json:"customer"`
	Amount   int64  `json:"amount"` // in hundredths of the currency
	Currency string `json:"currency"`
}

// Finding is what the topic audit holds of each order, keyed by the order's id.
type Finding struct {
	Order    Order    `json:"order"`
	OK       bool     `json:"ok"`
	Problems []string `json:"problems,omitempty"`
}

// Limit is the amount above which an order is looked at by people, in hundredths of the currency.
const Limit = 1_000_000

// Topology copies each order to the topic audit, with what is wrong with it.
func Topology() *topology.Topology {
	t := topology.New("audit")
	orders := topology.NewTopic(t, "orders", codec.String, codec.JSON[Order]())
	findings := topology.NewTopic(t, "audit", codec.String, codec.JSON[Finding]())
	topology.Props(t, "auditor", orders, actor.PropsFromProducer(func() actor.Actor { return &auditor{findings: findings} }),
		topology.Sends(findings))
	return t
}

// auditor is an actor: one for each partition of orders, made anew after a failure.
type auditor struct {
	findings *topology.Topic[string, Finding]
}

// Receive takes a batch of orders. What is sent between Begin and Done belongs to that order, and is committed with its
// offset or not at all.
func (a *auditor) Receive(c actor.Context) {
	batch, ok := c.Message().(*topology.Batch[string, Order])
	if !ok {
		return // of the actor's life: Started, Stopping, …
	}
	for i := range batch.Len() {
		if err := a.audit(batch, i); err != nil {
			return // the partition goes back, and the rest of the batch comes again
		}
	}
}

func (a *auditor) audit(batch *topology.Batch[string, Order], i int) error {
	ctx, err := batch.Begin(i)
	if err != nil {
		return err
	}
	order, err := batch.At(i)
	if err != nil {
		return batch.Fail(i, err) // not JSON, for instance: a dead letter
	}
	a.findings.Send(ctx, order.Key, Check(order.Value))
	return batch.Done(i)
}

// Check says what is wrong with an order.
func Check(o Order) Finding {
	f := Finding{Order: o}
	if strings.TrimSpace(o.Customer) == "" {
		f.Problems = append(f.Problems, "no customer")
	}
	if o.Amount <= 0 {
		f.Problems = append(f.Problems, fmt.Sprintf("amount %d is not positive", o.Amount))
	}
	if o.Amount > Limit {
		f.Problems = append(f.Problems, fmt.Sprintf("amount %d is over %d", o.Amount, Limit))
	}
	if len(o.Currency) != 3 || strings.ToUpper(o.Currency) != o.Currency {
		f.Problems = append(f.Problems, fmt.Sprintf("currency %q is not three capital letters", o.Currency))
	}
	f.OK = len(f.Problems) == 0
	return f
}
