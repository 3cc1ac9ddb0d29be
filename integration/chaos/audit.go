package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/chaos/work"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// origin is where a transfer was read: it tells which of two came first.
type origin struct {
	partition int32
	offset    int64
	transfer  work.Transfer
}

// letterOrigin is where a dead letter says that its order lies. The order itself may be read later.
type letterOrigin struct {
	id   int64
	from string
}

// audit reads everything that the load and the nodes have written, committed records only, and folds it: what should
// come out, and what has. Its fields are guarded by mu while it reads.
type audit struct {
	client *kgo.Client
	done   chan struct{}

	mu   sync.Mutex
	next map[place]int64 // behind the last record or marker that was read
	data map[place]int64 // the last record itself; what must be committed is one more
	err  error           // the first record that cannot be understood

	wantWords, gotWords map[string]int64
	transfers           map[int64]origin
	postings            map[string][]work.Posting
	halves              map[int64]int64 // transfers of which one posting was seen, with the sum so far
	statements          map[string][]work.Statement
	jobs                map[string][]int64
	orders              map[string][]int64
	errands             map[string][]int64
	market              market
	bazaar              bazaar
	of                  map[string]subject            // by topic
	made                map[string][]string           // topics that were made since, by topology
	ordersAt            map[int64]string              // topic/partition@offset
	results             map[string]map[string][]int64 // of topics with numbers, by key
	poisoned            map[string]map[int64]int64    // dead letters of troubles, by agent and order
	letterFrom          []letterOrigin
	deadLetters         []string // that should not be there
	delays              *delays  // where they are being measured
}

// startAudit begins to read. Dead letters are read once their topics exist.
func startAudit(c *cluster) (*audit, error) {
	inputs, written := topics()
	all := append(inputs, written...)
	for _, s := range subjects() {
		all = append(all, s.letters())
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka.Brokers()...), kgo.ConsumeTopics(all...), kgo.ClientID("audit"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(50*time.Millisecond), kgo.MetadataMaxAge(2*time.Second), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	a := &audit{
		client: client, done: make(chan struct{}), next: map[place]int64{}, data: map[place]int64{},
		wantWords: map[string]int64{}, gotWords: map[string]int64{}, transfers: map[int64]origin{}, postings: map[string][]work.Posting{},
		halves: map[int64]int64{}, statements: map[string][]work.Statement{}, jobs: map[string][]int64{}, results: map[string]map[string][]int64{},
		orders: map[string][]int64{}, errands: map[string][]int64{}, ordersAt: map[int64]string{}, poisoned: map[string]map[int64]int64{work.Serve: {}, work.Keyed: {}},
		market: market{sales: map[string]sale{}, times: map[int32]int64{}, prices: map[string]int64{}}, bazaar: newBazaar(),
		of: map[string]subject{}, made: map[string][]string{},
	}
	for _, s := range subjects() {
		for _, topic := range append(s.sources(), s.outputs...) {
			a.of[topic] = s
		}
	}
	go a.read()
	return a, nil
}

// close ends the reading.
func (a *audit) close() {
	a.client.Close()
	<-a.done
}

func (a *audit) read() {
	defer close(a.done)
	for {
		f := a.client.PollFetches(context.Background())
		if f.IsClientClosed() {
			return
		}
		now := time.Now()
		a.mu.Lock()
		f.EachRecord(func(r *kgo.Record) { a.record(r, now) })
		a.mu.Unlock()
	}
}

// record takes one record in. Offsets go up without a gap other than markers, aborted and compacted records.
func (a *audit) record(r *kgo.Record, now time.Time) {
	at := place{r.Topic, r.Partition}
	if r.Offset < a.next[at] {
		a.fault(fmt.Errorf("%s: offset %d was read after %d", at, r.Offset, a.next[at]-1))
	}
	a.next[at] = r.Offset + 1
	if r.Attrs.IsControl() {
		return
	}
	a.data[at] = r.Offset
	if err := a.take(r); err != nil {
		a.fault(fmt.Errorf("%s@%d: %w", at, r.Offset, err))
	}
	if a.delays != nil {
		a.delays.add(r, now)
	}
}

func (a *audit) fault(err error) {
	if a.err == nil {
		a.err = err
	}
}

// take folds a record. What is of no topology is a dead letter.
func (a *audit) take(r *kgo.Record) error {
	if s, ok := a.of[r.Topic]; ok {
		return s.take(a, r)
	}
	if r.Topic == troublesLetters {
		return a.letter(r)
	}
	a.deadLetters = append(a.deadLetters, letterText(r))
	return nil
}

// follow reads a further topic, that a topology's nodes read.
func (a *audit) follow(s subject, topic string) {
	a.mu.Lock()
	a.of[topic], a.made[s.name] = s, append(a.made[s.name], topic)
	a.mu.Unlock()
	a.client.AddConsumeTopics(topic)
}

// sources are what a topology's nodes read, upstream first.
func (a *audit) sources(s subject) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(s.sources(), a.made[s.name]...)
}

// posting takes one side of a transfer: when the other has been seen as well, they must sum to zero.
func (a *audit) posting(account string, value []byte) error {
	var p work.Posting
	if err := json.Unmarshal(value, &p); err != nil {
		return err
	}
	a.postings[account] = append(a.postings[account], p)
	sum := a.halves[p.ID] + p.Amount
	if sum == 0 {
		delete(a.halves, p.ID)
		return nil
	}
	a.halves[p.ID] = sum
	return nil
}

// letter takes a dead letter of troubles. One of an order that is not poison, or that does not say where its order lies, is
// one too many.
func (a *audit) letter(r *kgo.Record) error {
	id, err := codec.Int64.Decode(r.Value)
	if err != nil {
		return err
	}
	h := map[string]string{}
	for _, x := range r.Headers {
		h[x.Key] = string(x.Value)
	}
	from := fmt.Sprintf("%s/%s@%s", h["troupe.topic"], h["troupe.partition"], h["troupe.offset"])
	agent := h["troupe.agent"]
	why := work.ErrPoison
	if work.Exits(id) {
		why = topology.ErrProcessExit
	}
	if a.poisoned[agent] == nil || !work.Poison(agent, id) || !strings.Contains(h["troupe.error"], why.Error()) {
		a.deadLetters = append(a.deadLetters, letterText(r))
		return nil
	}
	a.poisoned[agent][id]++
	a.letterFrom = append(a.letterFrom, letterOrigin{id, from})
	return nil
}

// gaveUp says whether an order is among the dead letters of Serve.
func (a *audit) gaveUp(id int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.poisoned[work.Serve][id] > 0
}

func letterText(r *kgo.Record) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s/%d@%d", r.Topic, r.Partition, r.Offset)
	for _, h := range r.Headers {
		if len(h.Value) < 300 {
			fmt.Fprintf(&text, " %s=%s", h.Key, h.Value)
		}
	}
	return text.String()
}

// outstanding says what has not come yet of what comes after the records that cause it are done: answers, calls of timers, and what goes through internal topics.
func (a *audit) outstanding() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range subjects() {
		if s.left == nil {
			continue
		}
		if text := s.left(a); text != "" {
			return text
		}
	}
	return ""
}

// contents are what a topology's tables should hold.
func (a *audit) contents(s subject) []contents {
	a.mu.Lock()
	defer a.mu.Unlock()
	return s.holds(a)
}

// position is how far partitions have been read.
func (a *audit) position() map[place]int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.next)
}

// due is what must be committed at least for partitions: behind the last record of each.
func (a *audit) due(of []place) map[place]int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[place]int64{}
	for _, p := range of {
		if last, ok := a.data[p]; ok {
			out[p] = last + 1
		}
	}
	return out
}
