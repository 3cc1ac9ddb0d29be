package exits

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/kafka/embedded"
)

// asNode in the environment makes the test's binary a node, of the topology in which user code of that place ends it.
const asNode = "TROUPE_TEST_EXITS"

func TestMain(m *testing.M) {
	if place := os.Getenv(asNode); place != "" {
		troupe.Main(define(place))
		return
	}
	os.Exit(m.Run())
}

// TestARecordThatExitsOnTwoNodes runs two nodes, each started again whenever it ends. The first that dies of the record stays away until
// the other has taken its partitions over and died of it, too.
func TestARecordThatExitsOnTwoNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs whole processes")
	}
	b, err := embedded.Start(embedded.Config{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	exitOnTwoNodes(t, inHandler, b.Addr(), "2000")
}

// TestKillsFromOutsideFailNothing kills two nodes with -9 again and again, at once and alone, while each record takes a while: none of them is
// taken for the reason.
func TestKillsFromOutsideFailNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs whole processes")
	}
	b, err := embedded.Start(embedded.Config{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	f := newFleet(inHandler, b.Addr(), "2000")
	dirs := []string{t.TempDir(), t.TempDir()}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var want []string
	running := make([]*nodes.Node, len(dirs))
	for round := range 12 {
		var records []*kgo.Record
		for i := range 60 {
			want = append(want, fmt.Sprint(slow, round, "-", i))
			records = append(records, &kgo.Record{Key: fmt.Append(nil, "k", i%16), Value: []byte(want[len(want)-1])})
		}
		for i, n := range running {
			if n == nil {
				running[i], err = f.start(dirs[i])
				require.NoError(t, err)
			}
		}
		if round == 0 { // the topics are made
			require.NoError(t, running[0].Await(ctx, func(out string) bool { return strings.Contains(out, "partition running") }))
		}
		send(t, b.Addr(), inHandler, records)
		select {
		case <-time.After(time.Duration(300+r.IntN(1200)) * time.Millisecond): // a kill at any moment
		case <-ctx.Done():
		}
		for i, n := range running {
			if r.IntN(3) > 0 {
				n.Kill()
				running[i] = nil
			}
		}
	}
	for i, n := range running {
		if n == nil {
			running[i], err = f.start(dirs[i])
			require.NoError(t, err)
		}
	}
	got := valuesOf(read(ctx, t, b.Addr(), inHandler+"-out", len(want)))
	for _, n := range running {
		require.NoError(t, n.Stop(ctx))
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
	require.Empty(t, read(ctx, t, b.Addr(), inHandler+"-dead-letters", 0))
}

func newFleet(place, brokers, session string) *fleet {
	return &fleet{place: place, args: func(dir string) []string {
		return []string{"--brokers", brokers, "--data-dir", dir, "--create-topics", "--kafka", "session.timeout.ms=" + session, "--kafka", "heartbeat.interval.ms=500"}
	}, died: map[string]int{}, stop: make(chan struct{}), changed: make(chan struct{})}
}

func exitOnTwoNodes(t *testing.T, place, brokers, session string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	f := newFleet(place, brokers, session)
	first, err := f.start(t.TempDir()) // it makes the topics
	require.NoError(t, err)
	require.NoError(t, first.Await(ctx, func(out string) bool { return strings.Contains(out, "partition running") }))
	require.NoError(t, first.Stop(ctx))

	var want []string
	var records []*kgo.Record
	for i := range 400 {
		v := fmt.Sprint("r", i)
		if i == 250 {
			v = deadly
		} else {
			want = append(want, v)
		}
		records = append(records, &kgo.Record{Key: fmt.Append(nil, "k", i%16), Value: []byte(v)})
	}
	send(t, brokers, place, records)
	var all sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		dir := t.TempDir()
		all.Go(func() { f.keep(ctx, name, dir) })
	}
	letter := read(ctx, t, brokers, place+"-dead-letters", 1)[0]
	require.Equal(t, deadly, string(letter.Value))
	headers := map[string]string{}
	for _, h := range letter.Headers {
		headers[h.Key] = string(h.Value)
	}
	require.Contains(t, headers["troupe.error"], "process exit")
	require.Equal(t, "process", headers["troupe.step"])
	require.Equal(t, "5", headers["troupe.attempts"])
	require.Equal(t, agent, headers["troupe.agent"])
	records = nil
	for i := range 100 {
		v := fmt.Sprint("after", i)
		want = append(want, v)
		records = append(records, &kgo.Record{Key: fmt.Append(nil, "k", i%16), Value: []byte(v)})
	}
	send(t, brokers, place, records)
	got := valuesOf(read(ctx, t, brokers, place+"-out", len(want)))
	close(f.stop)
	all.Wait()
	require.NoError(t, f.err)
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
	require.Len(t, read(ctx, t, brokers, place+"-dead-letters", 1), 1)
	t.Logf("deaths: %v", f.died)
	require.GreaterOrEqual(t, f.died["a"], 1)
	require.GreaterOrEqual(t, f.died["b"], 1)
	require.GreaterOrEqual(t, f.died["a"]+f.died["b"], 5)
	require.LessOrEqual(t, f.died["a"]+f.died["b"], 9) // seven, and what comes between
}

// fleet starts nodes, and starts again those that end.
type fleet struct {
	place string
	args  func(dir string) []string
	stop  chan struct{} // ends them in order

	mu      sync.Mutex
	died    map[string]int
	changed chan struct{} // closed at the next death
	err     error
}

func (f *fleet) start(dir string) (*nodes.Node, error) {
	return nodes.Start(os.Args[0], []string{asNode + "=" + f.place}, f.args(dir)...)
}

// keep has a node run until it is to stop.
func (f *fleet) keep(ctx context.Context, name, dir string) {
	for {
		n, err := f.start(dir)
		if err != nil {
			f.fail(err)
			return
		}
		select {
		case <-n.Done():
			if !strings.Contains(n.Output(), "handler: os.Exit(1)") {
				f.fail(fmt.Errorf("node %s ended by itself: %s", name, n.Output()))
				return
			}
		case <-f.stop:
			if err := n.Stop(ctx); err != nil {
				f.fail(fmt.Errorf("node %s: %w: %s", name, err, n.Output()))
			}
			return
		case <-ctx.Done():
			n.Kill()
			f.fail(fmt.Errorf("node %s: %w: %s", name, ctx.Err(), n.Output()))
			return
		}
		f.awaitOther(ctx, name)
	}
}

// awaitOther notes a death, and waits until the other node has died as well.
func (f *fleet) awaitOther(ctx context.Context, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.died[name]++
	close(f.changed)
	f.changed = make(chan struct{})
	for len(f.died) < 2 && ctx.Err() == nil {
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
	}
}

func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func send(t *testing.T, brokers, place string, records []*kgo.Record) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.DefaultProduceTopic(place+"-in"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.ProduceSync(t.Context(), records...).FirstErr())
}

// read reads committed records of a topic from its beginning until there are as many as wanted, and those that are there besides.
func read(ctx context.Context, t *testing.T, brokers, topic string, want int) (all []*kgo.Record) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond), kgo.UnknownTopicRetries(-1))
	require.NoError(t, err)
	defer c.Close()
	for len(all) < want {
		fetches := c.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "%d of %d records of %s", len(all), want, topic)
		all = append(all, fetches.Records()...)
	}
	more, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return append(all, c.PollFetches(more).Records()...)
}

func valuesOf(rs []*kgo.Record) (values []string) {
	for _, r := range rs {
		values = append(values, string(r.Value))
	}
	return values
}
