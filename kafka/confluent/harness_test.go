package confluent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/troupe-stream/troupe/kafka"
)

// A consumer that met a fatal error of its own cannot be closed: its log goroutine stays.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(suite{m}, goleak.IgnoreAnyFunction("github.com/confluentinc/confluent-kafka-go/v2/kafka.(*handle).pollLogEvents"),
		goleak.IgnoreAnyFunction("github.com/troupe-stream/troupe/kafka/confluent.closesInTime.func1")) // a Close that hangs in the client itself
}

// underTest is the client that all tests of a run use, where they do not say another.
var underTest string

// aloneVar is set in processes that a test has begun for itself alone.
const aloneVar = "TROUPE_TEST_ALONE"

// again runs the test at hand in a process of its own, with additions to its environment, and returns what it prints. It ends before this process does.
func again(t *testing.T, env ...string) []byte {
	t.Helper()
	ctx := t.Context()
	args := []string{"-test.v", "-test.run=^" + t.Name() + "$", "-test.count=1", fmt.Sprintf("-test.short=%t", testing.Short())}
	if end, ok := t.Deadline(); ok {
		left := time.Until(end) - 10*time.Second
		args = append(args, "-test.timeout="+left.String())
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left+5*time.Second)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(append(os.Environ(), aloneVar+"=1", "TROUPE_CLIENT="+underTest), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return out
}

// suite runs all tests with either client, or with the one that TROUPE_CLIENT names.
type suite struct{ *testing.M }

// Run implements goleak.TestingM.
func (s suite) Run() int {
	clients := []string{Batched, Public}
	if one := os.Getenv("TROUPE_CLIENT"); one != "" {
		clients = []string{one}
	} else if runtime.GOOS != "linux" {
		clients = []string{Public}
	}
	for _, underTest = range clients {
		_, _ = fmt.Fprintln(os.Stdout, "with the client:", underTest)
		if code := s.M.Run(); code != 0 {
			return code
		}
	}
	return 0
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// cluster starts a broker in this process with topics "g-slots", "a", "b" and "out".
func cluster(t *testing.T, partitions int32) *kfake.Cluster {
	t.Helper()
	return fakeCluster(t, kfake.SeedTopics(partitions, topicsOfANode...))
}

// topicsOfANode are what a node's group has and its slots read and write.
var topicsOfANode = []string{"g-slots", "a", "b", "out"}

// fakeCluster starts a broker in this process whose groups lose no time.
func fakeCluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// eachGuarantee runs a test exactly-once and at-least-once.
func eachGuarantee(t *testing.T, test func(t *testing.T, atLeastOnce bool)) {
	t.Helper()
	for name, atLeastOnce := range map[string]bool{"exactly once": false, "at least once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, atLeastOnce)
		})
	}
}

func logger(t *testing.T) *slog.Logger {
	t.Helper()
	if os.Getenv("TROUPE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func driver(t *testing.T, c hasAddrs) *Driver {
	t.Helper()
	d, err := New(Config{Brokers: c.ListenAddrs(), Client: underTest, Logger: logger(t), Settings: map[string]string{
		"session.timeout.ms": "6000", "heartbeat.interval.ms": "100", "fetch.wait.max.ms": "10",
	}})
	require.NoError(t, err)
	return d
}

// kafkaClient is a client of another kind, to look from outside.
func kafkaClient(t *testing.T, c hasAddrs, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

// fill produces records 0…n-1 to each partition of a topic: the value is the number.
func fill(t *testing.T, c hasAddrs, topic string, partitions int32, from, n int) {
	t.Helper()
	fillBy(t, kafkaClient(t, c), topic, partitions, from, n)
}

func fillBy(t *testing.T, cl *kgo.Client, topic string, partitions int32, from, n int) {
	t.Helper()
	var rs []*kgo.Record
	for i := from; i < from+n; i++ {
		for p := range partitions {
			rs = append(rs, &kgo.Record{Topic: topic, Partition: p, Value: fmt.Appendf(nil, "%s/%d", topic, i)})
		}
	}
	require.NoError(t, cl.ProduceSync(t.Context(), rs...).FirstErr())
}

// committed reads n records of each partition of a topic, read committed, and whatever is behind them.
func committed(t *testing.T, c hasAddrs, topic string, enough func(map[int32][]*kgo.Record) bool) map[int32][]*kgo.Record {
	t.Helper()
	cl := kafkaClient(t, c, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	got := map[int32][]*kgo.Record{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !enough(got) {
		fs := cl.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "got %s", counts(got))
		fs.EachRecord(func(r *kgo.Record) { got[r.Partition] = append(got[r.Partition], r) })
	}
	return got
}

func counts(got map[int32][]*kgo.Record) string {
	s := ""
	for p, rs := range got {
		s += fmt.Sprintf(" %d:%d", p, len(rs))
	}
	return s
}

// node copies the sources of its slots to "out", each slot to its partition, through the interfaces alone.
type node struct {
	t      *testing.T
	group  kafka.Group
	prod   kafka.Producer
	cancel context.CancelFunc
	ran    chan error
	idle   chan struct{} // closed when the committer has ended

	sources func(slot int32) []kafka.TopicPartition
	onBatch func(*kafka.Batch)
	chaos   func(n *node) // called before each commit

	mu       sync.Mutex
	changed  *sync.Cond
	slots    map[int32]*owned
	grants   []kafka.Grant
	lost     []int32
	released []int32
	failed   []error
	fatal    error
	outcomes map[kafka.Verdict]int
	stopping bool
}

type owned struct {
	grant kafka.Grant
	seq   int64
	at    map[kafka.TopicPartition]int64
	out   *kafka.Outputs
	moved bool
	b     *kafka.Bundle
}

func oneSource(slot int32) []kafka.TopicPartition {
	return []kafka.TopicPartition{{Topic: "a", Partition: slot}}
}

func twoSources(slot int32) []kafka.TopicPartition {
	return []kafka.TopicPartition{{Topic: "a", Partition: slot}, {Topic: "b", Partition: slot}}
}

func open(t *testing.T, d *Driver, cfg kafka.GroupConfig, sources func(int32) []kafka.TopicPartition) *node {
	t.Helper()
	cfg.Group = "g"
	g, err := d.OpenGroup(cfg)
	require.NoError(t, err)
	p, err := d.OpenProducer(t.Context(), g, []string{"out"})
	require.NoError(t, err)
	n := &node{t: t, group: g, prod: p, sources: sources, slots: map[int32]*owned{}, outcomes: map[kafka.Verdict]int{}, ran: make(chan error, 1), idle: make(chan struct{})}
	n.changed = sync.NewCond(&n.mu)
	return n
}

func (n *node) start() *node {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.ran <- n.group.Run(ctx, n) }()
	go n.commits()
	n.t.Cleanup(func() { n.stop() })
	return n
}

// stop ends the node in order.
func (n *node) stop() {
	n.cancel()
	select {
	case err, ok := <-n.ran:
		if !ok {
			return
		}
		close(n.ran)
		n.mu.Lock()
		n.stopping = true
		if n.fatal == nil {
			n.fatal = err
		}
		n.mu.Unlock()
		n.changed.Broadcast()
		<-n.idle
		if err := n.prod.Close(); err != nil {
			n.t.Error(err)
		}
	case <-time.After(patience):
		n.t.Error("the group does not stop")
	}
}

// await waits for a condition, which is checked with the node locked.
func (n *node) await(what string, cond func() bool) {
	n.t.Helper()
	deadline := time.AfterFunc(patience, n.changed.Broadcast)
	defer deadline.Stop()
	end := time.Now().Add(patience)
	n.mu.Lock()
	defer n.mu.Unlock()
	for !cond() {
		if time.Now().After(end) {
			n.t.Fatalf("%s: not within %v; fatal %v, failed %v", what, patience, n.fatal, n.failed)
		}
		n.changed.Wait()
	}
}

func (n *node) owns(slots ...int32) func() bool {
	return func() bool {
		var have []int32
		for s := range n.slots {
			have = append(have, s)
		}
		slices.Sort(have)
		return slices.Equal(have, slots)
	}
}

func (n *node) Sources(slot int32) []kafka.TopicPartition { return n.sources(slot) }

func (n *node) Taken(grants []kafka.Grant) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, g := range grants {
		o := &owned{grant: g, at: map[kafka.TopicPartition]int64{}, out: new(kafka.Outputs)}
		for _, pos := range g.Sources {
			o.seq = max(o.seq, kafka.SeqOf(pos.Metadata))
			o.at[pos.TopicPartition] = max(pos.Offset, 0)
		}
		n.slots[g.Slot] = o
		n.grants = append(n.grants, g)
		n.group.Assign(g, g.Sources)
	}
	n.changed.Broadcast()
}

func (n *node) Batch(b *kafka.Batch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.onBatch != nil {
		n.onBatch(b)
	}
	o := n.slots[b.Partition]
	if o == nil {
		return
	}
	tp := kafka.TopicPartition{Topic: b.Topic, Partition: b.Partition}
	for i := range b.Records {
		if b.Records[i].Offset < o.at[tp] {
			n.t.Errorf("record %d of %v came again, %d is next", b.Records[i].Offset, tp, o.at[tp])
		}
		o.out.Append(0, b.Partition, b.Records[i].Timestamp, b.Key(i), b.Value(i), b.RawHeaders(i))
	}
	o.at[tp], o.moved = b.Next, true
	n.changed.Broadcast()
}

func (n *node) Release(ctx context.Context, slots []int32) []int32 {
	stop := context.AfterFunc(ctx, n.changed.Broadcast)
	defer stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	for ctx.Err() == nil && slices.ContainsFunc(slots, func(s int32) bool { o := n.slots[s]; return o != nil && (o.moved || o.b != nil) }) {
		n.changed.Wait()
	}
	var done []int32
	for _, s := range slots {
		if o := n.slots[s]; o != nil && !o.moved && o.b == nil {
			delete(n.slots, s)
			done = append(done, s)
		}
	}
	n.released = append(n.released, done...)
	n.changed.Broadcast()
	return done
}

func (n *node) Lost(slots []int32, _ error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range slots {
		delete(n.slots, s)
	}
	n.lost = append(n.lost, slots...)
	n.changed.Broadcast()
}

func (n *node) Failed(err error, fatal bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed = append(n.failed, err)
	if fatal {
		n.fatal = err
	}
	n.changed.Broadcast()
}

// seal returns the bundles to commit, waiting for some; nil at the end.
func (n *node) seal() []*kafka.Bundle {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		var bundles []*kafka.Bundle
		for id, o := range n.slots {
			if o.b == nil && o.moved {
				o.b = &kafka.Bundle{Slot: id, Incarnation: o.grant.Incarnation, MemberID: o.grant.MemberID, Seq: o.seq + 1, Outputs: []*kafka.Outputs{o.out}}
				for tp, at := range o.at {
					o.b.Offsets = append(o.b.Offsets, kafka.Position{TopicPartition: tp, Offset: at, Metadata: kafka.Meta{Seq: o.b.Seq}.Encode()})
				}
				o.out, o.moved = new(kafka.Outputs), false
			}
			if o.b != nil {
				bundles = append(bundles, o.b)
			}
		}
		if len(bundles) > 0 {
			return bundles
		}
		if n.stopping {
			return nil
		}
		n.changed.Wait()
	}
}

// commits is the committer.
func (n *node) commits() {
	defer close(n.idle)
	for {
		bundles := n.seal()
		if bundles == nil {
			return
		}
		if n.chaos != nil {
			n.chaos(n)
		}
		out := n.prod.Commit(context.Background(), bundles)
		n.mu.Lock()
		n.outcomes[out.Verdict]++
		n.mu.Unlock()
		switch out.Verdict {
		case kafka.Committed:
			n.decide(bundles, nil)
		case kafka.Aborted:
			if len(out.Lost) > 0 {
				n.group.Retake(out.Lost, out.Err)
			}
			pause(context.Background(), 5*time.Millisecond)
		case kafka.Unknown:
			var state map[int32]kafka.Settled
			for err := errors.New("not yet"); err != nil; {
				if state, err = n.prod.Settle(context.Background(), bundles); errors.Is(err, kafka.ErrDuplicateIdentity) {
					n.Failed(err, true)
					return
				}
			}
			n.decide(bundles, state)
		case kafka.Fenced:
			n.Failed(out.Err, true)
			return
		}
	}
}

func (n *node) decide(bundles []*kafka.Bundle, state map[int32]kafka.Settled) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range bundles {
		o := n.slots[b.Slot]
		if o == nil || o.b != b {
			continue
		}
		switch state[b.Slot] {
		case kafka.SlotCommitted:
			o.seq, o.b = b.Seq, nil
		case kafka.SlotNotCommitted: // it is committed again
		case kafka.SlotLost:
			delete(n.slots, b.Slot)
			n.group.Retake([]int32{b.Slot}, errors.New("settled as lost"))
		}
	}
	n.changed.Broadcast()
}
