package confluent

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// brokersVar names brokers of a real Kafka on this machine that has nothing else to do: each test of the suite deletes all topics there, and group g.
	brokersVar = "TROUPE_TEST_BROKERS"
	// controlVar is the URL of who stops and starts these brokers: POST /stop and /start return when it is done.
	controlVar = "TROUPE_TEST_CONTROL"
)

// hasAddrs is a broker, or several.
type hasAddrs interface{ ListenAddrs() []string }

// broker is what the suite needs of Kafka, which both clients pass: it can be stopped and started, and nothing that it does is made up.
type broker interface {
	hasAddrs
	stop(t *testing.T)
	start(t *testing.T)
}

// anyBroker has topics, and nothing else that a test before it has left: kfake in this process, or the brokers that brokersVar names, one test at a
// time (go test -parallel 1). A test that calls it belongs to the suite that integration/suite_test.go runs on a real Kafka.
func anyBroker(t *testing.T, partitions int32, topics ...string) broker {
	t.Helper()
	if addrs := os.Getenv(brokersVar); addrs != "" {
		b := realBroker(strings.Split(addrs, ","))
		for _, addr := range b {
			require.True(t, strings.HasPrefix(addr, "127.0.0.1:"), "%s has %s: all topics are deleted there, so it must be a broker of this machine's, 127.0.0.1", brokersVar, addr)
		}
		require.Equal(t, "1", flag.Lookup("test.parallel").Value.String(), "tests that share the brokers of %s go one by one: -parallel 1", brokersVar)
		b.empty(t)
		b.create(t, partitions, topics...)
		return b
	}
	l := &doors{open: true}
	return fakeBroker{fakeCluster(t, kfake.ListenFn(l.listen), kfake.SeedTopics(partitions, topics...)), l}
}

// copying is anyBroker with the topics of a node: see cluster.
func copying(t *testing.T, partitions int32) broker {
	t.Helper()
	return anyBroker(t, partitions, topicsOfANode...)
}

type fakeBroker struct {
	*kfake.Cluster
	doors *doors
}

func (b fakeBroker) stop(*testing.T)  { b.doors.set(false) }
func (b fakeBroker) start(*testing.T) { b.doors.set(true) }

// doors are the connections of a fake broker, which lets nobody in while they are closed, and keeps what it knows.
type doors struct {
	mu    sync.Mutex
	open  bool
	conns []net.Conn
}

func (d *doors) set(open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open = open; !open {
		for _, c := range d.conns {
			_ = c.Close()
		}
		d.conns = nil
	}
}

func (d *doors) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address) //nolint:noctx // as kfake asks for it
	return guarded{l, d}, err
}

type guarded struct {
	net.Listener
	doors *doors
}

// Accept implements net.Listener.
func (g guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.doors.mu.Lock()
		open := g.doors.open
		if open {
			g.doors.conns = append(g.doors.conns, c)
		}
		g.doors.mu.Unlock()
		if open {
			return c, nil
		}
		_ = c.Close()
	}
}

type realBroker []string

func (b realBroker) ListenAddrs() []string { return b }
func (b realBroker) stop(t *testing.T)     { t.Helper(); control(t, "/stop") }
func (b realBroker) start(t *testing.T)    { t.Helper(); control(t, "/start") }

func control(t *testing.T, path string) {
	t.Helper()
	url := os.Getenv(controlVar)
	if url == "" {
		t.Skipf("%s is not set: nobody stops and starts the brokers of %s", controlVar, brokersVar)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, http.NoBody)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(rq)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode, path)
	http.DefaultClient.CloseIdleConnections()
}

// empty deletes the group and the topics of the test before.
func (b realBroker) empty(t *testing.T) {
	t.Helper()
	a, _ := adminAt(t, b)
	b.until(t, func(ctx context.Context) error {
		g, err := a.Group(ctx, "g")
		if err != nil {
			return err
		}
		for _, m := range g.Members { // static ones stay until their sessions end
			if err := a.Evict(ctx, "g", m); err != nil {
				return err
			}
		}
		return a.DeleteGroup(ctx, "g")
	})
	b.until(t, func(ctx context.Context) error {
		topics, err := a.AllTopics(ctx)
		if err != nil || len(topics) == 0 {
			return err
		}
		return errors.Join(a.Delete(ctx, topics...), errors.New("topics are there, or were"))
	})
}

func (b realBroker) create(t *testing.T, partitions int32, topics ...string) {
	t.Helper()
	a, _ := adminAt(t, b)
	for _, topic := range topics {
		b.until(t, func(ctx context.Context) error {
			return a.Create(ctx, kafka.TopicSpec{Name: topic, Partitions: partitions})
		})
	}
}

// until does again what a broker does in its own time, such as to delete a topic.
func (b realBroker) until(t *testing.T, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := do(ctx)
	for ; err != nil && ctx.Err() == nil; err = do(ctx) {
		pause(ctx, 50*time.Millisecond)
	}
	require.NoError(t, err)
}
