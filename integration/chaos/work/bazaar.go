package work

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

const (
	// Goods is how many goods there are, halls how many halls they stand in.
	Goods = 90
	halls = 5
	// Forget is how long, by the times of records, it is known that a good was sold.
	Forget = 4 * time.Second
	// TollEach is the time between two calls of a timer of the leader's.
	TollEach = time.Second
	// BellEach is the time between two calls by its crontab line.
	BellEach = time.Minute
	// tagMost is how many lots of a partition are tagged in a second: more than come, but for those that have waited.
	tagMost = 15
	// askFor is how long an answer is waited for, holdFor how long an agent is held back that has got none, or waits for its copy.
	askFor  = 5 * time.Second
	holdFor = 300 * time.Millisecond
)

// What agents of Bazaar tell of.
const (
	Tagged   = "tagged"   // a lot, and the tariff of its good
	Looked   = "looked"   // a lot, and the tariff as the node's copy has it
	Kept     = "kept"     // a lot, how often its good was sold of late, and how many goods of the partition as often
	Crowded  = "crowded"  // a hall, with how many goods are in it, and the sum of their last lots
	Unloaded = "unloaded" // a sack
	Judged   = "judged"   // a plea
	Pleaded  = "pleaded"  // a lot, and the judgement
	Arrived  = "arrived"  // what a caravan has brought
	Toll     = "toll"     // a call of the leader's timer: when it was due, and how many were missed before
	Bell     = "bell"     // one by a crontab line
)

// Lot is what the topic lots holds, keyed by good.
type Lot struct {
	ID     int64 `json:"id"`
	Tariff int64 `json:"tariff"` // of the good, for some time when the lot was written: no older one may be seen with it
}

// Bytes are the lot as the topic holds it.
func (l Lot) Bytes() []byte {
	b, _ := json.Marshal(l) // a struct of numbers
	return b
}

// Deal is what the topic deals holds: what an agent tells.
type Deal struct {
	What  string `json:"what"`
	ID    int64  `json:"id"`
	N     int64  `json:"n,omitempty"`
	Found int64  `json:"found,omitempty"`
}

// Hall is a row of the table halls: how many goods are in it, and the sum of their last lots.
type Hall struct {
	N   int64 `json:"n"`
	Sum int64 `json:"sum"`
}

// errOld says that the node's copy of the tariffs does not have one yet that was written before.
var errOld = errors.New("the copy is not as far yet")

// Bazaar has what a bazaar has. Each lot is joined with the tariff of its good, at a limited pace, and looked up in the node's copy of all tariffs. How often a good
// was sold is kept until it is forgotten, with an index; where it was sold last says in which hall it is, whose goods are counted. Lots are put into sacks, a channel
// that others put records into from outside. For some a plea goes to a judge, who answers before the commit, and whom the pleader waits for, through via. Caravans come by topics that are
// made while nodes run. Twice the leader is called by the clock.
func Bazaar(via topology.Asker) (*topology.Topology, *topology.Channel[string, int64]) {
	t := topology.New("bazaar")
	lots := topology.NewTopic(t, "lots", codec.String, codec.JSON[Lot]())
	deals := topology.NewTopic(t, "deals", codec.String, codec.JSON[Deal]())
	tariffs(t, lots, deals)
	stands(t, lots, deals)
	pleas(t, lots, deals, via)
	clocks(t, deals)
	caravans := topology.NewTopicPattern(t, "caravans", `caravan-\d+`, codec.String, codec.Int64)
	topology.Each(t, "arrive", caravans, func(ctx *topology.Context, ev topology.Event[string, int64]) error {
		deals.Send(ctx, ev.Topic()+" "+ev.Key, Deal{What: Arrived, ID: ev.Value})
		return nil
	}, topology.Sends(deals))
	return t, sacks(t, lots, deals)
}

// tariffs has each lot joined with the tariff of its good, and looked up in the copy of them that each node has.
func tariffs(t *topology.Topology, lots *topology.Topic[string, Lot], deals *topology.Topic[string, Deal]) {
	topic := topology.NewTopic(t, "tariffs", codec.String, codec.Int64)
	table, everywhere := topology.TableFrom(t, "tariff", topic), topology.NewGlobalTable(t, "posted", topic)
	topology.To(topology.Join(topology.From(topology.Throttle(lots, tagMost, time.Second)), table, func(lot Lot, tariff int64) Deal {
		return Deal{What: Tagged, ID: lot.ID, N: tariff}
	}), deals, topology.Named("tag"))
	topology.Each(t, "look", lots, func(ctx *topology.Context, ev topology.Event[string, Lot]) error {
		tariff, _, err := everywhere.Get(ctx, ev.Key)
		if err != nil {
			return err
		}
		if tariff < ev.Value.Tariff {
			return topology.Unavailable(errOld) // it comes
		}
		deals.Send(ctx, ev.Key, Deal{What: Looked, ID: ev.Value.ID, N: tariff})
		return nil
	}, topology.Reads(everywhere), topology.Sends(deals), heldBack())
}

// heldBack is the policy of agents that wait for others.
func heldBack() topology.AgentOption {
	return topology.OnFailure(topology.Policy{Breaker: topology.Breaker{Pause: holdFor}})
}

// stands counts how often a good was sold of late, and the goods of each hall.
func stands(t *topology.Topology, lots *topology.Topic[string, Lot], deals *topology.Topic[string, Deal]) {
	recent := topology.NewTable(t, "recent", codec.String, codec.Int64, topology.TTL(Forget, topology.EventTime))
	often := topology.NewIndex(recent, "often", func(_ string, n int64) int64 { return n }, codec.Int64)
	stand := topology.NewTable(t, "stand", codec.String, codec.Int64)
	crowd := topology.NewTable(t, "halls", codec.String, codec.JSON[Hall]())
	topology.Each(t, "keep", lots, func(ctx *topology.Context, ev topology.Event[string, Lot]) error {
		n, _, err := recent.Get(ctx, ev.Key)
		if err != nil {
			return err
		}
		n++
		recent.Set(ctx, ev.Key, n)
		found := int64(0)
		for range often.Lookup(ctx, n) {
			found++
		}
		stand.Set(ctx, ev.Key, ev.Value.ID)
		deals.Send(ctx, ev.Key, Deal{What: Kept, ID: ev.Value.ID, N: n, Found: found})
		return nil
	}, topology.Writes(recent, stand), topology.Sends(deals))
	topology.AggregateRows(
		topology.GroupTable(stand, func(_ string, id int64) (string, int64, bool) { hall, ok := HallOf(id); return hall, id, ok }, codec.Int64),
		crowd, func() Hall { return Hall{} },
		func(h Hall, id int64) Hall { return Hall{h.N + 1, h.Sum + id} },
		func(h Hall, id int64) (Hall, bool) { return Hall{h.N - 1, h.Sum - id}, h.N > 1 },
	)
	topology.To(topology.Map(topology.ToStream(crowd), func(h Hall) Deal { return Deal{What: Crowded, ID: h.Sum, N: h.N} }), deals)
}

// pleas asks the judge, who is in the pleader's partition or in another one, again and again until there is an answer. Where processes have ended, a partition looks for the record that ends them
// and does nothing else: the judge there may wait behind a pleader who waits for the judge here.
func pleas(t *topology.Topology, lots *topology.Topic[string, Lot], deals *topology.Topic[string, Deal], via topology.Asker) {
	topic := topology.NewTopic(t, "pleas", codec.String, codec.Int64)
	judgements := topology.NewTable(t, "judgements", codec.String, codec.Int64)
	judge := topology.Answer(t, "judge", topic, func(ctx *topology.Context, ev topology.Event[string, int64]) (int64, error) {
		judgements.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		deals.Send(ctx, ev.Key, Deal{What: Judged, ID: ev.Value})
		return Judgement(ev.Value), nil
	}, codec.Int64, topology.Eager(), topology.Writes(judgements), topology.Sends(deals))
	topology.Each(t, "plead", lots, func(ctx *topology.Context, ev topology.Event[string, Lot]) error {
		if !Pleads(ev.Value.ID) {
			return nil
		}
		within, cancel := context.WithTimeout(ctx, askFor)
		defer cancel()
		answer, err := judge.Ask(within, via, judgeOf(ev.Key, ev.Value.ID), ev.Value.ID)
		if err != nil {
			return topology.Unavailable(err)
		}
		deals.Send(ctx, ev.Key, Deal{What: Pleaded, ID: ev.Value.ID, N: answer})
		return nil
	}, topology.Reads(judgements), topology.Sends(deals), heldBack()) // what it reads ties it to the judge's stage
}

// judgeOf is who is asked: one of the good's own partition, or any.
func judgeOf(good string, id int64) string {
	if id%2 == 0 {
		return good
	}
	return "judge-" + strconv.FormatInt(id%7, 10)
}

// sacks makes the channel that lots go through, and what is put into it from outside.
func sacks(t *topology.Topology, lots *topology.Topic[string, Lot], deals *topology.Topic[string, Deal]) *topology.Channel[string, int64] {
	c := topology.NewChannel[string, int64](t, "sacks", topology.Capacity(16), topology.Puts(codec.String, codec.Int64))
	topology.Each(t, "load", lots, func(ctx *topology.Context, ev topology.Event[string, Lot]) error {
		c.Send(ctx, ev.Key, ev.Value.ID)
		return nil
	}, topology.Sends(c))
	topology.Each(t, "unload", c, func(ctx *topology.Context, ev topology.Event[string, int64]) error {
		deals.Send(ctx, ev.Key, Deal{What: Unloaded, ID: ev.Value})
		return nil
	}, topology.Sends(deals))
	return c
}

// clocks tells of each call of two timers of the leader.
func clocks(t *topology.Topology, deals *topology.Topic[string, Deal]) {
	tell := func(what string) func(ctx *topology.TaskContext) error {
		return func(ctx *topology.TaskContext) error {
			deals.Send(ctx, what, Deal{What: what, ID: ctx.Due.UnixMilli(), N: int64(ctx.Missed)})
			return nil
		}
	}
	topology.Every(t, Toll, TollEach, tell(Toll), topology.Sends(deals), topology.OnLeader())
	topology.Cron(t, Bell, "* * * * *", tell(Bell), topology.Sends(deals), topology.OnLeader())
}

// Good is the name of one of the goods.
func Good(i int64) string { return "good-" + strconv.FormatInt(i%Goods, 10) }

// HallOf is the hall that a good is in whose last lot that is; some are in none.
func HallOf(id int64) (hall string, ok bool) {
	h := fnv.New32a()
	_, _ = h.Write(strconv.AppendInt(nil, id, 10)) // to memory
	return "hall-" + strconv.FormatInt(int64(h.Sum32()%halls), 10), h.Sum32()%11 > 0
}

// Pleads says whether there is a plea for a lot.
func Pleads(id int64) bool { return id%8 < 2 }

// Judgement is what comes of a plea.
func Judgement(id int64) int64 { return 5*id + 2 }
