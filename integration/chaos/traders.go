package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/integration/chaos/work"
	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

const (
	// lotOf says that there is one lot for so many records of other topics; one tariff, one record of a caravan, one sack and one new caravan come for so many lots.
	lotOf     = 4
	tariffOf  = 8
	arrivalOf = 2
	sackOf    = 8
	caravanOf = 100
	// caravansMost is how many topics are made beside the first.
	caravansMost = 4
	firstCaravan = "caravan-0"
	// putFor bounds how long the answer to a put is waited for, and putsAtOnce how many puts there are at once.
	putFor     = 10 * time.Second
	putsAtOnce = 8
)

// traders write what the topology bazaar is given, put sacks into its channel, and make topics for it.
type traders struct {
	load    *load
	cluster *cluster
	fleet   *fleet
	audit   *audit
	client  *troupe.Client
	sacks   *topology.Channel[string, int64]
	puts    chan struct{}  // those under way
	wait    sync.WaitGroup // for puts, and topics that are made

	// Guarded by the load's mutex.
	lots     int64               // so far; also the last id
	tariffs  map[string][2]int64 // of each good the one before the last, and the last
	caravans []string
	begun    int  // caravans that are made, or were
	outfit   bool // caravans may be made
}

func openTraders(ctx context.Context, l *load, c *cluster, f *fleet, a *audit) (*traders, error) {
	client, err := troupe.OpenClient(ctx, troupe.ClientConfig{Brokers: c.kafka.Brokers()})
	if err != nil {
		return nil, err
	}
	_, sacks := work.Bazaar(nil)
	return &traders{
		load: l, cluster: c, fleet: f, audit: a, client: client, sacks: sacks, puts: make(chan struct{}, putsAtOnce),
		tariffs: map[string][2]int64{}, caravans: []string{firstCaravan},
	}, nil
}

// stock writes a tariff for each good: there is one for each lot.
func (t *traders) stock(ctx context.Context) {
	for i := range int64(work.Goods) {
		t.lots++
		t.tariff(ctx, work.Good(i))
		t.tariffs[work.Good(i)] = [2]int64{t.lots, t.lots}
	}
}

func (t *traders) tariff(ctx context.Context, good string) {
	t.tariffs[good] = [2]int64{t.tariffs[good][1], t.lots}
	value, _ := codec.Int64.Append(nil, t.lots) // it cannot fail
	t.load.put(ctx, "tariffs", good, value)
}

// trade writes a lot, and sometimes something else. The tariff that may be seen with a lot at least is the one before the last, so that copies of it
// are seldom waited for.
func (t *traders) trade(ctx context.Context) {
	rng := t.load.rng
	good := work.Good(rng.Int64N(work.Goods))
	t.lots++
	if rng.IntN(tariffOf) == 0 {
		t.tariff(ctx, good)
	}
	t.load.put(ctx, "lots", good, work.Lot{ID: t.lots, Tariff: t.tariffs[good][0]}.Bytes())
	if rng.IntN(arrivalOf) == 0 {
		value, _ := codec.Int64.Append(nil, t.lots) // as above
		t.load.put(ctx, t.caravans[rng.IntN(len(t.caravans))], work.Good(rng.Int64N(work.Goods)), value)
	}
	if rng.IntN(sackOf) == 0 {
		t.put(ctx, t.lots, rng.IntN(2) == 0)
	}
	if t.outfit && t.lots%caravanOf == 0 && t.begun < caravansMost {
		t.begun++
		name := fmt.Sprintf("caravan-%d", t.begun)
		t.wait.Go(func() { t.send(ctx, name) })
	}
}

// send makes a topic for a further caravan, however long that takes, and lets the load write to it.
func (t *traders) send(ctx context.Context, name string) {
	for {
		err := t.cluster.createTopics(ctx, name)
		if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
			break
		}
		if !pause(ctx, time.Second) {
			return
		}
	}
	bazaar := subjects()[slices.IndexFunc(subjects(), func(s subject) bool { return s.name == "bazaar" })]
	t.audit.follow(bazaar, name)
	t.load.set(func() { t.caravans = append(t.caravans, name) })
}

// put puts a sack into the channel, by a client or by asking a node, unless enough of that is under way.
func (t *traders) put(ctx context.Context, id int64, byNode bool) {
	select {
	case t.puts <- struct{}{}:
	default:
		return
	}
	key := "sack-" + strconv.FormatInt(id, 10)
	t.audit.sack(key, sack{id: id})
	t.wait.Go(func() {
		defer func() { <-t.puts }()
		within, cancel := context.WithTimeout(ctx, putFor)
		defer cancel()
		how := t.putThrough
		if byNode {
			how = t.putAt
		}
		if how(within, key, id) == nil {
			t.audit.sack(key, sack{id, true})
		}
	})
}

func (t *traders) putThrough(ctx context.Context, key string, id int64) error {
	return t.sacks.Put(ctx, t.client, key, id)
}

// putAt asks a node that runs.
func (t *traders) putAt(ctx context.Context, key string, id int64) error {
	running := t.fleet.running()
	if len(running) == 0 {
		return errBusy
	}
	at, _, err := host.AddressIn(running[id%int64(len(running))].data())
	if err != nil {
		return err
	}
	to := at + "/put?topology=bazaar&channel=" + t.sacks.Name() + "&key=" + url.QueryEscape(key)
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(strconv.FormatInt(id, 10)))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode == http.StatusBadRequest:
		t.load.fail(fmt.Errorf("put %s: %s", key, text)) // no fault makes it wrong
		return errBusy
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("put %s: %s: %s", key, answer.Status, text)
	}
	return nil
}

// settle waits until what was begun is over.
func (t *traders) settle(ctx context.Context) error {
	over := make(chan struct{})
	go func() { t.wait.Wait(); close(over) }()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the load: sacks are being put, or topics made: %w", ctx.Err())
	}
}

// close ends the client, and waits; the context of the load has ended.
func (t *traders) close() error {
	err := t.client.Close()
	t.wait.Wait()
	return err
}
