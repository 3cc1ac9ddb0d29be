// Package fraud looks at payments by card: each is scored by a slow service, several at a time; a suspicious one is held until its owner confirms it, or the
// time for that is over; what was declined goes to the investigators in batches.
package fraud

import (
	"context"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Payment is what the topic payments holds, keyed by the number of the card.
type Payment struct {
	ID      string `json:"id"`
	Amount  int64  `json:"amount"`
	Country string `json:"country"`
}

// scored is a payment with what the service says of it, 0 (fine) to 100.
type scored struct {
	Payment
	Score int `json:"score"`
}

// Card is what the table cards knows of a card.
type Card struct {
	Spent   int64    `json:"spent"`
	Held    *Payment `json:"held,omitempty"` // until it is confirmed
	Blocked bool     `json:"blocked,omitempty"`
}

// Verdict is what the topic verdicts holds of each payment, keyed by its card: exactly one.
type Verdict struct {
	Payment
	OK  bool   `json:"ok"`
	Why string `json:"why,omitempty"`
}

const (
	// Hold is how long an owner has to confirm a payment.
	Hold = 30 * time.Second
	// Suspicious is the score from which a payment is held.
	Suspicious = 70
)

// Topology decides on payments. What is known of a card, the timer of the payment that is held and the verdict change in one transaction, so there is
// neither a card that stays held for ever nor a payment with two verdicts.
func Topology() *topology.Topology {
	t := topology.New("fraud")
	payments := topology.NewTopic(t, "payments", codec.String, codec.JSON[Payment]())
	scores := topology.NewTopic(t, "scores", codec.String, codec.JSON[scored]())
	confirmations := topology.NewTopic(t, "confirmations", codec.String, codec.String) // the card, and the payment's number
	verdicts := topology.NewTopic(t, "verdicts", codec.String, codec.JSON[Verdict]())
	cases := topology.NewTopic(t, "cases", codec.String, codec.JSON[[]Verdict]())
	cards := topology.NewTable(t, "cards", codec.String, codec.JSON[Card]())
	holds := topology.NewTimers(t, "holds", codec.String, codec.JSON[Payment]())

	// Up to eight payments of a partition wait for the service at a time; those of a card stay in order.
	topology.Each(t, "score", payments, func(ctx *topology.Context, p topology.Event[string, Payment]) error {
		score, err := ask(ctx, p.Value)
		scores.Send(ctx, p.Key, scored{p.Value, score})
		return err
	}, topology.Sends(scores), topology.Concurrency(8))

	topology.Each(t, "decide", scores, func(ctx *topology.Context, p topology.Event[string, scored]) error {
		card, _, err := cards.Get(ctx, p.Key)
		switch payment := p.Value.Payment; {
		case card.Blocked:
			verdicts.Send(ctx, p.Key, Verdict{payment, false, "the card is blocked"})
		case card.Held != nil:
			verdicts.Send(ctx, p.Key, Verdict{payment, false, "another payment waits to be confirmed"})
		case p.Value.Score >= Suspicious:
			card.Held = &payment
			holds.After(ctx, p.Key, Hold, payment)
		default:
			card.Spent += payment.Amount
			verdicts.Send(ctx, p.Key, Verdict{payment, true, ""})
		}
		cards.Set(ctx, p.Key, card)
		return err
	}, topology.Writes(cards, holds), topology.Sends(verdicts))

	topology.Each(t, "confirm", confirmations, func(ctx *topology.Context, c topology.Event[string, string]) error {
		card, _, err := cards.Get(ctx, c.Key)
		if card.Held == nil || card.Held.ID != c.Value {
			return err // too late, or never asked for
		}
		verdicts.Send(ctx, c.Key, Verdict{*card.Held, true, "confirmed"})
		card.Spent, card.Held = card.Spent+card.Held.Amount, nil
		cards.Set(ctx, c.Key, card)
		holds.Cancel(ctx, c.Key)
		return err
	}, topology.Writes(cards, holds), topology.Sends(verdicts))

	topology.OnTimer(t, "expire", holds, func(ctx *topology.Context, hold topology.Timer[string, Payment]) error {
		card, _, err := cards.Get(ctx, hold.Key)
		card.Held, card.Blocked = nil, true
		cards.Set(ctx, hold.Key, card)
		verdicts.Send(ctx, hold.Key, Verdict{hold.Payload, false, "nobody confirmed it"})
		return err
	}, topology.Writes(cards), topology.Sends(verdicts))

	// A case is a hundred verdicts, or what has come within two seconds.
	topology.Agent(t, "file", verdicts, func(ctx *topology.Context, in topology.Stream[string, Verdict]) error {
		for batch := range in.Batches(100, 2*time.Second) {
			var declined []Verdict
			for _, v := range batch {
				if !v.Value.OK {
					declined = append(declined, v.Value)
				}
			}
			if len(declined) > 0 {
				cases.Send(ctx, declined[0].ID, declined)
			}
		}
		return nil
	}, topology.Sends(cases))
	return t
}

// ask stands for a call of a service that takes its time: large payments are suspicious, and those from afar.
func ask(ctx context.Context, p Payment) (score int, err error) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if p.Amount > 1000 {
		score += 75
	}
	if p.Country != "DE" {
		score += 20
	}
	return score, nil
}
