package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/chaos/work"
	"github.com/troupe-stream/troupe/topology/codec"
)

const (
	// step is the time between two portions of the load.
	step = 50 * time.Millisecond
	// vocabulary, accounts and jobKeys are how many keys there are, beside those that fill the table of words.
	vocabulary = 3000
	accounts   = 200
	jobKeys    = 400
)

// load writes a seeded input, at a steady pace while it is not paused.
type load struct {
	client *kgo.Client
	rng    *rand.Rand
	rate   float64 // records a second of each topic
	sent   int64   // records handed to the client; also the next id
	acked  atomic.Int64
	failed atomic.Pointer[error]
	stop   context.CancelFunc
	wait   sync.WaitGroup
	bazaar *traders

	mu     sync.Mutex // held by the writer while it writes a portion
	paused bool
	quiet  bool // a fault wants an idle input
}

// startLoad begins to write once it is resumed.
func startLoad(ctx context.Context, c *cluster, f *fleet, a *audit, s settings) (*load, error) {
	// An idempotent producer that tries until it succeeds: each record is written once.
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka.Brokers()...), kgo.ClientID("load"), kgo.ProducerLinger(5*time.Millisecond),
		kgo.AlwaysRetryEOF(), // a broker that is ended accepts connections for a moment, and closes them
		kgo.MetadataMinAge(200*time.Millisecond), kgo.ProducerBatchMaxBytes(256<<10))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	l := &load{client: client, rng: rand.New(rand.NewPCG(s.seed, 1)), rate: s.rate, stop: stop, paused: true}
	if l.bazaar, err = openTraders(ctx, l, c, f, a); err != nil {
		stop()
		client.Close()
		return nil, err
	}
	l.wait.Go(func() { l.run(ctx) })
	return l, nil
}

func (l *load) close() error {
	l.stop()
	l.client.Close() // what waits for room in its buffer is given up
	l.wait.Wait()
	return l.bazaar.close()
}

func (l *load) run(ctx context.Context) {
	tick := time.NewTicker(step)
	defer tick.Stop()
	owed := 0.0
	for turn := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		l.mu.Lock()
		if l.paused || l.quiet {
			l.mu.Unlock()
			continue
		}
		for owed += l.rate * step.Seconds(); owed >= 1; owed-- {
			l.put(ctx, "lines", "", []byte(l.line()))
			id := l.sent
			t := work.Transfer{ID: id, From: l.account(), To: l.account(), Amount: 1 + l.rng.Int64N(1000)}
			value, _ := json.Marshal(t) // a struct of numbers and texts
			l.put(ctx, "transfers", t.From, value)
			value, _ = codec.Int64.Append(nil, id)
			l.put(ctx, "jobs", "job-"+strconv.Itoa(l.rng.IntN(jobKeys)), value)
			l.put(ctx, "orders", "customer-"+strconv.Itoa(l.rng.IntN(jobKeys)), value)
			l.put(ctx, "errands", "errand-"+strconv.FormatInt(id, 10), value)
			for range 2 { // as from someone who does not know that the first has arrived
				l.put(ctx, "sales", "sale-"+strconv.FormatInt(id, 10), value)
			}
			if l.rng.IntN(4) == 0 {
				l.put(ctx, "prices", work.Customer(l.rng.Int64N(work.Customers)), value)
			}
			if turn++; turn%lotOf == 0 {
				l.bazaar.trade(ctx)
			}
		}
		l.mu.Unlock()
	}
}

// order writes an order of an id of its own.
func (l *load) order(ctx context.Context, id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	value, _ := codec.Int64.Append(nil, id) // it cannot fail
	l.put(ctx, "orders", "customer-"+strconv.Itoa(l.rng.IntN(jobKeys)), value)
}

func (l *load) account() string { return "account-" + strconv.Itoa(l.rng.IntN(accounts)) }

func (l *load) line() string {
	words := make([]string, 1+l.rng.IntN(8))
	for i := range words {
		words[i] = "word" + strconv.Itoa(l.rng.IntN(vocabulary))
	}
	return strings.Join(words, " ")
}

// put hands a record to the client. It blocks while the client's buffer is full.
func (l *load) put(ctx context.Context, topic, key string, value []byte) {
	r := &kgo.Record{Topic: topic, Value: value}
	if key != "" {
		r.Key = []byte(key)
	}
	l.sent++
	l.client.Produce(ctx, r, func(r *kgo.Record, err error) {
		if err != nil {
			if ctx.Err() == nil {
				l.fail(fmt.Errorf("the load's own record of %s was not written: %w", r.Topic, err))
			}
			return
		}
		l.acked.Add(1)
	})
}

// fail notes the first error that no fault explains.
func (l *load) fail(err error) { l.failed.CompareAndSwap(nil, &err) }

// fill writes lines with n words that come nowhere else: the keys of a large table.
func (l *load) fill(ctx context.Context, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for i := range n {
		_, _ = fmt.Fprintf(&b, "key%d ", i) // to memory
		if i%100 == 99 || i == n-1 {
			l.put(ctx, "lines", "", []byte(b.String()))
			b.Reset()
		}
	}
}

func (l *load) resume()         { l.set(func() { l.paused = false }) }
func (l *load) hush(quiet bool) { l.set(func() { l.quiet = quiet }) }
func (l *load) set(how func())  { l.mu.Lock(); how(); l.mu.Unlock() }

// settle stops writing and waits until everything written is acknowledged. It returns how many records that were in all.
func (l *load) settle(ctx context.Context) (int64, error) {
	l.set(func() { l.paused = true })
	if err := l.bazaar.settle(ctx); err != nil {
		return 0, err
	}
	if err := l.client.Flush(ctx); err != nil {
		return 0, fmt.Errorf("the load is not acknowledged: %d of %d records: %w", l.acked.Load(), l.sent, err)
	}
	if err := l.failed.Load(); err != nil {
		return 0, *err
	}
	if n := l.acked.Load(); n != l.sent {
		return 0, fmt.Errorf("the load: %d of %d records are acknowledged", n, l.sent)
	}
	return l.sent, nil
}
