// Package flaky charges payments through a gateway that fails, hangs, panics, refuses some payments for good, and is down for a while:
// it shows what a failure policy does. What each payment does is told by its note, so that anyone can see that it came out right.
package flaky

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Payment is what the topic payments holds, keyed by the account that pays.
type Payment struct {
	ID     string `json:"id"`
	Amount int64  `json:"amount"` // in hundredths of the currency
	Note   string `json:"note"`   // what the gateway does with it: see Gateway
}

// Receipt is what the topic receipts holds of each payment that was charged, keyed by the account.
type Receipt struct {
	ID      string `json:"id"`
	Amount  int64  `json:"amount"`
	Charged string `json:"charged"` // the gateway's number for it
}

var (
	// ErrDeclined is final: no further attempt will go better.
	ErrDeclined = errors.New("the card was declined")
	// ErrDown is nobody's fault: the gateway is out of order for everyone.
	ErrDown = errors.New("the gateway is down")
	errBusy = errors.New("the gateway is busy")
)

// Policy is how the topology takes the gateway's failures.
func Policy() topology.Policy {
	return topology.Policy{
		Attempts: 5,
		Backoff:  topology.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second},
		Deadline: time.Second,
		Grace:    time.Second,
		KeyOrder: true, // one account's trouble is no reason to keep the others waiting
		Breaker:  topology.Breaker{Pause: 2 * time.Second},
	}
}

// Topology charges payments through a gateway of its own.
func Topology() *topology.Topology { return New(NewGateway(time.Now)) }

// New makes the topology with a gateway. Paid is the sum of an account's charges.
func New(g *Gateway) *topology.Topology {
	t := topology.New("flaky")
	payments := topology.NewTopic(t, "payments", codec.String, codec.JSON[Payment]())
	receipts := topology.NewTopic(t, "receipts", codec.String, codec.JSON[Receipt]())
	paid := topology.NewTable(t, "paid", codec.String, codec.Int64)
	topology.Each(t, "charge", payments, func(ctx *topology.Context, ev topology.Event[string, Payment]) error {
		p := ev.Value
		number, err := g.Charge(ctx, p)
		switch {
		case errors.Is(err, ErrDown):
			return topology.Unavailable(err) // wait, and count no attempt
		case errors.Is(err, ErrDeclined):
			return topology.Permanent(err) // to the dead letters at once
		case err != nil:
			return err
		}
		paid.Update(ctx, ev.Key, func(sum int64, _ bool) (int64, error) { return sum + p.Amount, nil })
		receipts.Send(ctx, ev.Key, Receipt{p.ID, p.Amount, number})
		return nil
	}, topology.Sends(receipts), topology.Writes(paid), topology.OnFailure(Policy()))
	return t
}

// Gateway stands for a service that a handler calls. It remembers what it has charged by the payment's id, as a real one does with an
// idempotency key: a handler may call it twice for one record, and it charges once.
//
// The note of a payment says what goes wrong with it: "fails" twice, "panics" once, "hangs" once, "declined" always; "down" takes the gateway out
// of order for five seconds, once.
type Gateway struct {
	now func() time.Time

	mu      sync.Mutex
	tries   map[string]int
	charged map[string]string
	down    time.Time // until then
}

// NewGateway makes a gateway with a clock.
func NewGateway(now func() time.Time) *Gateway {
	return &Gateway{now: now, tries: map[string]int{}, charged: map[string]string{}}
}

// outage is how long the gateway is down.
const outage = 5 * time.Second

// Charge charges a payment, once, however often it is called. It blocks until ctx ends where the gateway hangs.
func (g *Gateway) Charge(ctx context.Context, p Payment) (number string, err error) {
	try, err := g.begin(p)
	if err != nil {
		return "", err
	}
	switch {
	case p.Note == "fails" && try <= 2:
		return "", errBusy
	case p.Note == "panics" && try == 1:
		panic("a bug in the gateway's client")
	case p.Note == "hangs" && try == 1:
		<-ctx.Done()
		return "", ctx.Err()
	case p.Note == "declined":
		return "", ErrDeclined
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.charged[p.ID] == "" {
		g.charged[p.ID] = fmt.Sprintf("charge-%d", len(g.charged)+1)
	}
	return g.charged[p.ID], nil
}

// begin counts a try, unless the gateway is down.
func (g *Gateway) begin(p Payment) (try int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now().Before(g.down) {
		return 0, ErrDown
	}
	g.tries[p.ID]++
	if p.Note == "down" && g.tries[p.ID] == 1 {
		g.down = g.now().Add(outage)
		return 0, ErrDown
	}
	return g.tries[p.ID], nil
}

// Charges is how many payments it has charged.
func (g *Gateway) Charges() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.charged)
}
