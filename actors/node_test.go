package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// TestMain looks for goroutines that stay. Those of buntdb and of the actor library notice within a second or two that they
// are to end.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		// librdkafka's consumer seldom hangs in its own Close, in the unassignment of its last revocation: the client gives up waiting then.
		left := goleak.IgnoreAnyFunction("github.com/troupe-stream/troupe/kafka/confluent.closesInTime.func1")
		err := goleak.Find(left)
		for end := time.Now().Add(10 * time.Second); err != nil && !isBroken(err) && time.Now().Before(end); {
			err = goleak.Find(left)
		}
		if err != nil && !isBroken(err) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// broken counts consumers that met a fatal error of their own: they cannot be closed, and each leaves the goroutine that reads its log.
var broken atomic.Int32

// isBroken says whether no more is left than what broken consumers leave.
func isBroken(err error) bool {
	left := strings.Count(err.Error(), "pollLogEvents.func1(")
	return left == int(broken.Load()) && left == strings.Count(err.Error(), "oroutine ")-strings.Count(err.Error(), "in goroutine ")
}

// world is a broker in this process and a client that looks from outside.
type world struct {
	t       testing.TB
	fake    *kfake.Cluster
	brokers []string
	starts  int  // of nodes
	again   bool // these are at-least-once
	logs    io.Writer
	values  bool         // in logs
	ends    error        // with which nodes may end
	hooks   actors.Hooks // of the nodes to come
	refresh time.Duration
	disk    tables.Disk
}

func newWorld(tb testing.TB, partitions int32, topics ...string) *world {
	tb.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second), kfake.DefaultNumPartitions(int(partitions)),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}), kfake.SeedTopics(partitions, topics...))
	require.NoError(tb, err)
	tb.Cleanup(c.Close)
	return &world{t: tb, fake: c, brokers: c.ListenAddrs()}
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(w.brokers...))...)
	require.NoError(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

// send produces values, each under its own key.
func (w *world) send(topic string, values ...string) {
	w.t.Helper()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: topic, Key: []byte(v), Value: []byte(v)})
	}
	require.NoError(w.t, w.client().ProduceSync(w.t.Context(), rs...).FirstErr())
}

// read returns all records of a topic, once there are as many as wanted; one more that has come by then is an error.
func (w *world) read(topic string, want int) []*kgo.Record {
	w.t.Helper()
	all := w.readSome(topic, want)
	require.Len(w.t, all, want, "topic %s", topic)
	return all
}

// readSome returns all records of a topic, once there are as many as wanted or more.
func (w *world) readSome(topic string, want int) []*kgo.Record {
	w.t.Helper()
	c := w.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(50*time.Millisecond))
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var all []*kgo.Record
	for len(all) < want {
		f := c.PollFetches(ctx)
		require.NoError(w.t, ctx.Err(), "topic %s has %d records, %d are expected", topic, len(all), want)
		f.EachRecord(func(r *kgo.Record) { all = append(all, r) })
	}
	return all
}

// node starts a node; it is stopped in order at the end, unless it has been before.
func (w *world) node(dir string, topo *topology.Topology) *actors.Node {
	w.t.Helper()
	p, err := topo.Plan()
	require.NoError(w.t, err)
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("TROUPE_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if w.logs != nil {
		log = slog.New(slog.NewTextHandler(w.logs, nil))
	}
	d, err := confluent.New(confluent.Config{Brokers: w.brokers, Logger: log, Settings: map[string]string{
		"session.timeout.ms": "6000", "heartbeat.interval.ms": "100", "fetch.wait.max.ms": "10",
	}})
	require.NoError(w.t, err)
	w.starts++
	n, err := actors.NewNode(p, d, actors.Config{
		DataDir: dir, Instance: filepath.Base(dir), Nonce: strconv.Itoa(w.starts), CreateTopics: true, CommitInterval: 20 * time.Millisecond, Logger: log, LogValues: w.values, Hooks: w.hooks, TopicRefresh: w.refresh, Disk: w.disk, AtLeastOnce: w.again,
	})
	require.NoError(w.t, err)
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	require.NoError(w.t, n.Start(ctx))
	w.t.Cleanup(func() { w.stop(n) })
	return n
}

// stop stops a node in order. Twice is no harm.
func (w *world) stop(n *actors.Node) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Stop(ctx); w.ends == nil || !errors.Is(err, w.ends) {
		require.NoError(w.t, err)
	}
}

func owned(n *actors.Node) int { return len(n.Look().Partitions) }

// header returns a header of a record.
func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// echo copies topic in to topic out and counts into a table; what misbehaves is up to the caller.
func echo(name string, handler, update func(value string) error) *topology.Topology {
	t := topology.New(name)
	in := topology.NewTopic(t, "in", codec.String, codec.String)
	out := topology.NewTopic(t, "out", codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Each(t, "echo", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		out.Send(ctx, ev.Key, ev.Value)
		counts.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, update(ev.Value) })
		return handler(ev.Value)
	}, topology.Sends(out), topology.Writes(counts))
	return t
}

func fine(string) error { return nil }

// valuesOf sorts nothing: it is compared with ElementsMatch.
func valuesOf(rs []*kgo.Record) []string {
	all := make([]string, len(rs))
	for i, r := range rs {
		all[i] = string(r.Value)
	}
	return all
}

// A handler, or a function inside a shard, that fails for a while leaves no trace.
func TestNodeRetries(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(){
		"panic":  func() { panic("by order") },
		"goexit": runtime.Goexit,
	} {
		for _, where := range []string{"handler", "update"} {
			t.Run(name+" in "+where, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, 1, "in", "out")
				var calls atomic.Int32
				bad := func(v string) error {
					if v == "bad" && calls.Add(1) <= 2 {
						fail()
					}
					return nil
				}
				handler, update := fine, fine
				if where == "handler" {
					handler = bad
				} else {
					update = bad
				}
				w.node(t.TempDir(), echo("retries", handler, update))
				w.send("in", "a", "bad", "b")
				require.Equal(t, []string{"a", "bad", "b"}, valuesOf(w.read("out", 3)))
				require.GreaterOrEqual(t, calls.Load(), int32(3))
			})
		}
	}
}

// The dead letter of what panics, or ends its goroutine, tells where.
func TestNodeDeadLetterHasTheStack(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(){"panic": func() { panic("by order") }, "goexit": runtime.Goexit} {
		bad := func(string) error { endOf(end); return nil }
		for where, topo := range map[string]*topology.Topology{"handler": echo("stacks", bad, fine), "update": echo("stacks", fine, bad)} {
			t.Run(name+" in "+where, func(t *testing.T) {
				t.Parallel()
				topo.OnFailure(topology.Policy{Attempts: 1})
				w := newWorld(t, 1, "in", "out")
				w.node(t.TempDir(), topo)
				w.send("in", "bad")
				require.Contains(t, header(w.read("stacks-dead-letters", 1)[0], "troupe.stack"), "actors_test.endOf")
			})
		}
	}
}

// endOf is found in stacks.
//
//go:noinline
func endOf(end func()) { end() }

// A record that cannot be processed is a dead letter, once, with all about it in its headers; the others go on.
func TestNodeDeadLetter(t *testing.T) {
	t.Parallel()
	poison := func(v string) error {
		if v == "bad" {
			return errors.New("no such customer")
		}
		return nil
	}
	for name, topo := range map[string]*topology.Topology{"handler": echo("letters", poison, fine), "update": echo("letters", fine, poison)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, "in", "out")
			h := w.node(t.TempDir(), topo)
			w.send("in", "a", "bad", "b")
			require.Equal(t, []string{"a", "b"}, valuesOf(w.read("out", 2)))
			w.stop(h)
			letter := w.read("letters-dead-letters", 1)[0]
			require.Equal(t, "bad", string(letter.Value))
			require.Equal(t, "bad", string(letter.Key))
			require.Contains(t, header(letter, "troupe.error"), "no such customer")
			for key, want := range map[string]string{"topic": "in", "partition": "0", "offset": "1", "agent": "echo", "attempts": "4"} {
				require.Equal(t, want, header(letter, "troupe."+key), key)
			}
		})
	}
}

type purchase struct {
	Customer string `json:"customer"`
}

// An actor of the user's own that panics on one order loses that order alone, to the dead letters.
func TestNodeActor(t *testing.T) {
	t.Parallel()
	top := topology.New("audit")
	orders := topology.NewTopic(top, "orders", codec.String, codec.JSON[purchase]())
	findings := topology.NewTopic(top, "audit", codec.String, codec.String)
	receive := func(c actor.Context) {
		b, ok := c.Message().(*topology.Batch[string, purchase])
		if !ok {
			return
		}
		for i := range b.Len() {
			ctx, err := b.Begin(i)
			if err != nil {
				return
			}
			order, err := b.At(i)
			if err == nil && order.Value.Customer == "mallory" {
				panic("an order that the actor cannot bear")
			}
			if err != nil {
				err = b.Fail(i, err)
			} else {
				findings.Send(ctx, order.Key, "checked "+order.Value.Customer)
				err = b.Done(i)
			}
			if err != nil {
				return
			}
		}
	}
	topology.Props(top, "auditor", orders, actor.PropsFromFunc(receive), topology.Sends(findings))
	w := newWorld(t, 1, "orders", "audit")
	h := w.node(t.TempDir(), top)
	order := func(customer string) string {
		b, err := json.Marshal(purchase{Customer: customer})
		require.NoError(t, err)
		return string(b)
	}
	w.send("orders", order("ada"), order("mallory"), "no json", order("grace"))
	found := w.read("audit", 2)
	require.Equal(t, []string{order("ada"), order("grace")}, []string{string(found[0].Key), string(found[1].Key)})
	w.stop(h)
	letters := w.read("audit-dead-letters", 2)
	require.Equal(t, []string{order("mallory"), "no json"}, valuesOf(letters))
	require.Equal(t, "auditor", header(letters[0], "troupe.agent"))
	require.Equal(t, "1", header(letters[1], "troupe.attempts"), "trying again does not help what does not decode")
}

// A second node takes its share; when the first stops it takes the rest. Each record is copied once, and counted once.
func TestNodeTwo(t *testing.T) {
	t.Parallel()
	const partitions = 4
	w := newWorld(t, partitions, "in", "out")
	var want []string
	send := func(from, to int) {
		var values []string
		for i := from; i < to; i++ {
			values = append(values, fmt.Sprint("v", i))
		}
		w.send("in", values...)
		want = append(want, values...)
	}
	one := w.node(t.TempDir(), echo("two", fine, fine))
	slots := partitions + 1 // slot 0 is the topology's own
	require.Eventually(t, func() bool { return owned(one) == slots }, patience, 20*time.Millisecond)
	send(0, 200)
	two := w.node(t.TempDir(), echo("two", fine, fine))
	send(200, 400)
	require.Eventually(t, func() bool { return owned(one) > 0 && owned(two) > 0 && owned(one)+owned(two) == slots }, patience, 20*time.Millisecond)
	send(400, 600)
	w.stop(one)
	require.Eventually(t, func() bool { return owned(two) == slots }, patience, 20*time.Millisecond)
	send(600, 800)
	w.read("out", len(want))
	w.stop(two)
	require.ElementsMatch(t, want, valuesOf(w.read("out", len(want))))
	w.counted(want)
}

// counted checks by its changelog that the table counts has each value once.
func (w *world) counted(want []string) {
	w.t.Helper()
	last := map[string]int64{}
	for _, r := range w.read("two-counts-changelog", len(want)) { // each key changes once
		n, err := codec.Int64.Decode(r.Value)
		require.NoError(w.t, err)
		last[string(r.Key)] += n
	}
	require.Len(w.t, last, len(want))
	for k, n := range last {
		require.Equal(w.t, int64(1), n, k)
	}
}

// A graceful stop waits for the record at hand and commits it; a node on the same directory goes on from there.
func TestNodeRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	started, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	slow := func(v string) error {
		calls.Add(1)
		if v == "slow" {
			close(started)
			<-release
		}
		return nil
	}
	dir := t.TempDir()
	h := w.node(dir, echo("restart", slow, fine))
	w.send("in", "a", "slow")
	<-started
	stopped := make(chan struct{})
	go func() { defer close(stopped); w.stop(h) }()
	close(release)
	<-stopped
	require.Equal(t, []string{"a", "slow"}, valuesOf(w.read("out", 2)))
	require.True(t, hasCheckpoint(t, dir), "a graceful stop writes checkpoints")

	again := w.node(dir, echo("restart", slow, fine))
	w.send("in", "a")
	require.Equal(t, []string{"a", "slow", "a"}, valuesOf(w.read("out", 3)))
	w.stop(again)
	require.Equal(t, int32(3), calls.Load(), "no record was processed twice")
	log := w.read("restart-counts-changelog", 3)
	n, err := codec.Int64.Decode(log[2].Value)
	require.NoError(t, err)
	require.Equal(t, int64(2), n, "the count of a goes on from the checkpoint")
}

func hasCheckpoint(t *testing.T, dir string) bool {
	t.Helper()
	found := false
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	var walk func(string)
	walk = func(at string) {
		entries, err := os.ReadDir(at)
		require.NoError(t, err)
		for _, e := range entries {
			if e.IsDir() {
				walk(at + "/" + e.Name())
			} else if strings.Contains(at, "/tables") {
				found = true
			}
		}
	}
	walk(dir)
	return found
}

// tick is the time between two looks of a test.
const tick = 20 * time.Millisecond

// keyIn returns a key that belongs into a partition of two.
func keyIn(t *testing.T, partition int32) []byte {
	t.Helper()
	for i := range 100 {
		if key := []byte(strconv.Itoa(i)); kafka.Murmur2().Hash(key, 2) == partition {
			return key
		}
	}
	t.Fatal("no key")
	return nil
}

// A node has read all of a global table before its first record, keeps it up to date, and ends when a record does not decode.
func TestNodeGlobalTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, "in", "out", "rates")
	topo := func() *topology.Topology {
		topo := topology.New("globals")
		in := topology.NewTopic(topo, "in", codec.String, codec.String)
		out := topology.NewTopic(topo, "out", codec.String, codec.String)
		rates := topology.NewGlobalTable(topo, "rates", topology.NewTopic(topo, "rates", codec.String, short{}))
		topology.Each(topo, "see", in, func(ctx *topology.Context, e topology.Event[string, string]) error {
			_, ok, err := rates.Get(ctx, e.Key)
			if err == nil && !ok {
				err = errors.New("not yet")
			}
			out.Send(ctx, e.Key, e.Value)
			return err
		}, topology.Reads(rates), topology.Sends(out), topology.OnFailure(topology.Policy{Attempts: 1 << 20, Backoff: topology.Backoff{Min: 5 * time.Millisecond, Max: 20 * time.Millisecond}}))
		return topo
	}
	w.send("in", "a", "b", "c")
	w.send("rates", "a", "b", "c")
	n := w.node(filepath.Join(t.TempDir(), "node"), topo())
	w.read("out", 3)
	st := n.Look()
	require.Equal(t, []status.Global{{Table: "rates", Topic: "rates", State: status.Running, Progress: 1, Entries: 3, Bytes: 6}}, st.Globals)
	w.send("in", "d")
	w.send("rates", "d")
	w.read("out", 4)
	w.send("rates", "a value that is too long")
	select {
	case <-n.Done():
	case <-time.After(patience):
		t.Fatal("the node goes on")
	}
	w.ends = n.Err()
	require.ErrorContains(t, w.ends, "global table rates: decode the value of rates/")
	require.ErrorContains(t, n.Err(), "topology.SkipUndecodable")
	require.NotContains(t, n.Err().Error(), "too long", "the codec's own error may quote the value")
}

// short is the codec of texts of a few bytes.
type short struct{}

func (short) Append(b []byte, s string) ([]byte, error) { return append(b, s...), nil }

func (short) Decode(b []byte) (string, error) {
	if len(b) > 5 {
		return "", fmt.Errorf("%s is too long", b)
	}
	return string(b), nil
}
