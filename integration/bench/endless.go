package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/bench/rdbatch"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
)

// errLate says that a contender is not able to do what a suite asks for: a result of its own.
var errLate = errors.New("it does not keep up with so many records a second on this machine")

// drainTimeout is how long a contender may take for what is left once no more is sent.
const drainTimeout = time.Minute

// loadKeys are the keys of records that are sent at a rate.
const loadKeys = 10_000

// latencySuite measures from the moment that a record was meant to be sent to its receipt by a consumer that reads what is committed.
func latencySuite(s settings, rate int) suite {
	x := suite{
		name: fmt.Sprintf("latency-%dk", rate/1000), title: fmt.Sprintf("Latency at %d records/s", rate),
		text: "A record's key is counted and the record passed on to a topic. From the moment that it was meant to be sent (so that a loader that is late hides nothing) to its receipt " +
			"by a consumer that reads committed records only, after some seconds of warming up. Where nothing is between, the consumer reads the source itself: nobody can be better than that. " +
			"Checked: everything that was sent has come, once.",
		metrics: []metric{
			{Key: "p50", Title: "p50 in ms", Less: true, Digits: 1},
			{Key: "p99", Title: "p99 in ms", Less: true, Digits: 1},
			{Key: "p999", Title: "p99.9 in ms", Less: true, Digits: 1},
			{Key: "load", Title: "cores used", Less: true, Digits: 2},
		},
		contenders: append(ourVariants(s), streamsFast, streamsEOS, brokerAlone),
		often:      rate == 10_000,
		most:       3,
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			return b.latency(ctx, c, j, rate)
		},
	}
	if rate <= 10_000 { // more is beyond it
		x.contenders = append(x.contenders, gokaPlain)
	}
	for _, c := range ourVariants(s) {
		if c.variant == exactlyOnce {
			x.targets = append(x.targets, target{"p50", c, streamsEOS, 0.4}, target{"p99", c, streamsEOS, 0.4})
		} else {
			x.targets = append(x.targets, target{"p50", c, streamsFast, 1}, target{"p99", c, streamsFast, 1})
		}
	}
	return x
}

// recoverySuite kills a contender and measures until it gives results again: with its files, or without, as on another node.
func recoverySuite(s settings, elsewhere bool) suite {
	slow := streamsPlain // its group waits for the session's end
	slow.most = 1
	x := suite{
		name: "recovery", title: "kill -9 to the first result, on the same node",
		text: "A contender that counts and passes on 1000 records a second is killed with SIGKILL and started again at once with its files. From the kill to the receipt of the " +
			"first record that was meant to be sent after it. Checked: everything that was sent has come, before the kill and after it; exactly-once, none of it twice.",
		metrics:    []metric{{Key: "seconds", Title: "seconds to the first result", Less: true, Digits: 2}},
		contenders: append(ourVariants(s), streamsStay, slow, gokaPlain),
		run: func(ctx context.Context, b *bench, c contender, j job) (sample, error) {
			return b.recovery(ctx, c, j, elsewhere)
		},
	}
	if elsewhere {
		x.name, x.title = "recovery-other", "kill -9 to the first result, on another machine that takes the name over"
		x.text = "As before, but the files are gone: the table is brought back from its changelog. Nodes of other names would wait until the session of the one that was killed ends, whatever they run on."
		x.contenders = append(ourVariants(s), streamsStay)
	}
	for _, c := range ourVariants(s) {
		if c.variant != exactlyOnce {
			continue
		}
		if x.targets = append(x.targets, target{"seconds", c, streamsStay, 0.4}); !elsewhere {
			x.targets = append(x.targets, target{"seconds", c, streamsPlain, 0.05})
		}
	}
	return x
}

// endless starts a contender on a task without end, with a source and an output of its own.
func (b *bench) endless(ctx context.Context, c contender, j *job) (*running, error) {
	j.Task, j.Source, j.Out = taskPass, j.Name+"-in", j.Name+"-out"
	for _, topic := range []string{j.Source, j.Out} {
		if err := b.cluster.topic(ctx, topic, partitions, nil); err != nil {
			return nil, err
		}
	}
	r, err := b.programs.start(c, *j)
	if err != nil {
		return nil, err
	}
	if err := r.knows(ctx); err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

func (b *bench) latency(ctx context.Context, c contender, j job, rate int) (sample, error) {
	warm, span := 8*time.Second, 10*time.Second
	if b.quick {
		warm, span = 4*time.Second, 5*time.Second
	}
	return b.latencyOver(ctx, c, j, rate, warm, span)
}

// latencyOver measures for a span, after some time of warming up.
func (b *bench) latencyOver(ctx context.Context, c contender, j job, rate int, warm, span time.Duration) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	r, err := b.passes(ctx, c, &j)
	if err != nil {
		return nil, err
	}
	defer r.end()
	out, err := b.cluster.receive(ctx, j.Out)
	if err != nil {
		return nil, err
	}
	defer out.close()
	in, err := b.cluster.load(ctx, j.Source, rate, loadKeys)
	if err != nil {
		return nil, err
	}
	defer in.stop()
	if err := out.some(ctx, 1); err != nil { // it runs
		return nil, fmt.Errorf("%w; its last lines:\n%s", err, r.lines())
	}
	if err := pause(ctx, warm); err != nil {
		return nil, err
	}
	from := time.Now()
	used, err := r.cpu()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, span); err != nil {
		return nil, err
	}
	to := time.Now()
	all, err := r.cpu()
	if err != nil {
		return nil, err
	}
	sent := in.stop()
	drain, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := out.some(drain, sent); err != nil {
		return nil, errors.Join(errLate, fmt.Errorf("%d records were sent: %w", sent, err))
	}
	if in.err != nil {
		return nil, in.err
	}
	if err := pause(ctx, time.Second); err != nil { // one that comes twice may come late
		return nil, err
	}
	ms := out.between(from, to)
	if n, others := out.count(), out.different(); len(ms) == 0 || sent != n || sent != others {
		return nil, fmt.Errorf("%d records were sent and %d received, of which %d are different", sent, n, others)
	}
	x := sample{"p50": quantile(ms, 0.5), "p99": quantile(ms, 0.99), "p999": quantile(ms, 0.999)}
	if c.task != taskNothing {
		x["load"] = (all - used) / to.Sub(from).Seconds()
	}
	return x, os.RemoveAll(j.Dir)
}

// passes starts what is between the source and the output: a contender, or nothing, and they are one topic.
func (b *bench) passes(ctx context.Context, c contender, j *job) (passer, error) {
	if c.task == taskNothing {
		j.Source = j.Name + "-in"
		j.Out = j.Source
		return nothing{}, b.cluster.topic(ctx, j.Source, partitions, nil)
	}
	return b.endless(ctx, c, j)
}

// passer is what is between a source and an output.
type passer interface {
	cpu() (float64, error) // that it has used, in seconds
	lines() string         // the last that it has said
	end()
}

// nothing passes nothing on.
type nothing struct{}

func (nothing) cpu() (float64, error) { return 0, nil }
func (nothing) lines() string         { return "" }
func (nothing) end()                  {}

// warm lets the broker, whose code is compiled while it runs, do for a while what it will have to: else whoever is first is measured beside a compiler.
func (b *bench) warm(ctx context.Context) error {
	if b.quick {
		return nil
	}
	profile := b.profile
	b.profile = ""
	defer func() { b.profile = profile }()
	for _, c := range variantsOn(settings{}, confluent.Batched) {
		j := b.job(suite{name: "warm"}, c, 0)
		_, err := b.latencyOver(ctx, c, j, 50_000, time.Second, 20*time.Second)
		if errors.Is(err, errLate) { // it has given the broker enough to do
			err = nil
		}
		if err = errors.Join(err, b.tidy(ctx, j.Name)); err != nil {
			return fmt.Errorf("warm the broker up: %w", err)
		}
	}
	return nil
}

func (b *bench) recovery(ctx context.Context, c contender, j job, elsewhere bool) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	r, err := b.endless(ctx, c, &j)
	if err != nil {
		return nil, err
	}
	defer func() { r.end() }()
	out, err := b.cluster.receive(ctx, j.Out)
	if err != nil {
		return nil, err
	}
	defer out.close()
	in, err := b.cluster.load(ctx, j.Source, 1000, loadKeys)
	if err != nil {
		return nil, err
	}
	defer in.stop()
	if err := out.some(ctx, 3000); err != nil {
		return nil, fmt.Errorf("%w; its last lines:\n%s", err, r.lines())
	}
	killed := time.Now()
	if err := r.Kill(ctx); err != nil {
		return nil, err
	}
	if elsewhere {
		j.Dir += "-other"
	}
	again, err := b.programs.start(c, j)
	if err != nil {
		return nil, err
	}
	r = again
	first, err := out.after(ctx, killed)
	if err != nil {
		return nil, fmt.Errorf("%w; its last lines:\n%s", err, r.lines())
	}
	if err := r.knows(ctx); err != nil {
		return nil, err
	}
	sent, err := in.all()
	if err != nil {
		return nil, err
	}
	drain, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := out.until(drain, func(got []receipt) bool { return different(got) >= sent }); err != nil {
		return nil, fmt.Errorf("wrong result: %d records were sent: %w", sent, err)
	}
	if n := out.count(); c.variant == exactlyOnce && n != sent {
		return nil, fmt.Errorf("wrong result: %d records were sent and %d received", sent, n)
	}
	return sample{"seconds": first.Sub(killed).Seconds()}, os.RemoveAll(j.Dir)
}

// different is how many records there are besides those that came again: each was meant to be sent at a time of its own.
func different(got []receipt) int {
	meant := make([]int64, len(got))
	for i, x := range got {
		meant[i] = x.meant
	}
	slices.Sort(meant)
	return len(slices.Compact(meant))
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// quantile is of values in order.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(int(math.Ceil(q*float64(len(sorted))))-1, len(sorted)-1)]
}

// loader sends records at a rate, each with the time at which it was meant to be sent.
type loader struct {
	p    *rdk.Producer
	w    *rdbatch.Writer
	keys int
	quit chan struct{}
	done chan struct{}
	once sync.Once
	sent int
	err  error // of the client; what has not been sent fails the check
}

// loadMost is how many records wait for the broker at the most. What is late counts so.
const loadMost = 400_000

func (c *cluster) load(ctx context.Context, topic string, rate, keys int) (*loader, error) {
	p, err := rdk.NewProducer(&rdk.ConfigMap{
		"bootstrap.servers": c.brokers, "go.delivery.reports": false, "linger.ms": 0, "enable.idempotence": true, "queue.buffering.max.messages": 2 * loadMost, "log_level": 3,
	})
	if err != nil {
		return nil, err
	}
	w, err := rdbatch.NewWriter(p, topic)
	if err != nil {
		p.Close()
		return nil, err
	}
	l := &loader{p: p, w: w, keys: keys, quit: make(chan struct{}), done: make(chan struct{})}
	go l.run(ctx, rate)
	return l, nil
}

// all stops, and says how many records were sent if the client has taken them all.
func (l *loader) all() (sent int, err error) {
	sent = l.stop()
	return sent, l.err
}

func (l *loader) run(ctx context.Context, rate int) {
	defer close(l.done)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for l.err == nil {
		select {
		case <-l.quit:
			l.p.Flush(60_000)
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := int(time.Since(began).Seconds() * float64(rate))
		if waiting := l.p.Len(); due > l.sent && waiting < loadMost {
			l.err = l.send(began, rate, min(due-l.sent, loadMost))
		}
	}
}

// send sends the next n records.
func (l *loader) send(began time.Time, rate, n int) error {
	hash := kafka.Murmur2().Hash
	metas, arena := make([]rdbatch.Meta, 0, n), make([]byte, 0, 28*n)
	for range n {
		meant := began.Add(time.Duration(float64(l.sent) / float64(rate) * float64(time.Second)))
		before := len(arena)
		arena = appendKey(arena, l.sent*7919%l.keys)
		key := arena[before:]
		arena = binary.BigEndian.AppendUint64(arena, uint64(meant.UnixNano()))
		metas = append(metas, rdbatch.Meta{Partition: hash(key, partitions), KeyLen: int32(len(key)), ValueLen: 8})
		l.sent++
	}
	return l.w.Write(metas, arena)
}

// stop ends the load and says how many records there were.
func (l *loader) stop() int {
	l.once.Do(func() {
		close(l.quit)
		<-l.done
		l.w.Close()
		l.p.Close()
	})
	return l.sent
}

// receiver takes what is committed to a topic.
type receiver struct {
	cl   *kgo.Client
	done chan struct{}

	mu   sync.Mutex
	more chan struct{} // closed and renewed at each receipt
	got  []receipt
}

type receipt struct{ meant, received int64 } // Unix nanoseconds

func (c *cluster) receive(ctx context.Context, topic string) (*receiver, error) {
	from := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		from[p] = kgo.NewOffset().AtStart()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond), kgo.FetchMinBytes(1),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return nil, err
	}
	r := &receiver{cl: cl, done: make(chan struct{}), more: make(chan struct{})}
	go r.run(ctx)
	return r, nil
}

func (r *receiver) run(ctx context.Context) {
	defer close(r.done)
	for {
		fetches := r.cl.PollFetches(ctx)
		if fetches.IsClientClosed() || ctx.Err() != nil {
			return
		}
		now := time.Now().UnixNano()
		r.mu.Lock()
		fetches.EachRecord(func(x *kgo.Record) {
			if len(x.Value) == 8 {
				r.got = append(r.got, receipt{int64(binary.BigEndian.Uint64(x.Value)), now})
			}
		})
		close(r.more)
		r.more = make(chan struct{})
		r.mu.Unlock()
	}
}

func (r *receiver) close() {
	r.cl.Close()
	<-r.done
}

// until waits until f says so; f is called with what has been received.
func (r *receiver) until(ctx context.Context, f func([]receipt) bool) error {
	for {
		r.mu.Lock()
		ok, more, n := f(r.got), r.more, len(r.got)
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("%d records received: %w", n, ctx.Err())
		}
	}
}

// some waits for so many records.
func (r *receiver) some(ctx context.Context, n int) error {
	return r.until(ctx, func(got []receipt) bool { return len(got) >= n })
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func (r *receiver) different() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return different(r.got)
}

// after waits for the first record that was meant to be sent after a moment, and returns when it was received.
func (r *receiver) after(ctx context.Context, at time.Time) (when time.Time, err error) {
	err = r.until(ctx, func(got []receipt) bool {
		i := slices.IndexFunc(got, func(x receipt) bool { return x.meant > at.UnixNano() })
		if i >= 0 {
			when = time.Unix(0, got[i].received)
		}
		return i >= 0
	})
	return when, err
}

// between are the latencies, in ms and in order, of what was meant to be sent between two moments.
func (r *receiver) between(from, to time.Time) (ms []float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.got {
		if x.meant >= from.UnixNano() && x.meant < to.UnixNano() {
			ms = append(ms, float64(x.received-x.meant)/1e6)
		}
	}
	slices.Sort(ms)
	return ms
}
