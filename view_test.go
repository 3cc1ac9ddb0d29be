package troupe_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// counter counts names that a task sends each time it is told one.
type counter struct {
	topo   *topology.Topology
	names  *topology.Topic[string, string]
	counts *topology.Table[string, int64]
	say    chan string
}

func newCounter() *counter {
	c := &counter{topo: topology.New("counter"), say: make(chan string)}
	c.names = topology.NewTopic(c.topo, "names", codec.String, codec.String)
	c.counts = topology.NewTable(c.topo, "counts", codec.String, codec.Int64)
	topology.Task(c.topo, "say", func(ctx *topology.TaskContext) error {
		for {
			select {
			case name := <-c.say:
				c.names.Send(ctx, name, "")
				if !ctx.Commit() {
					return nil
				}
			case <-ctx.Done():
				return nil
			}
		}
	}, topology.Sends(c.names))
	topology.Count(topology.GroupByKey(topology.From(c.names)), c.counts)
	return c
}

// start runs the topology until stop is called.
func (c *counter) start(t *testing.T, dir string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- troupe.Run(ctx, troupe.Config{DataDir: dir, Started: func() { close(started) }}, c.topo)
	}()
	select {
	case <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	return func() { cancel(); require.NoError(t, <-ended) }
}

// A view has what was committed when it was opened, then follows, and tells those who watch.
func TestView(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, dir := newCounter(), t.TempDir()
	_, err := troupe.OpenView(ctx, troupe.Config{DataDir: dir}, c.counts)
	require.ErrorContains(t, err, "no broker runs in "+dir+": start the node")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "a view leaves nothing behind where there was nothing")
	stop := c.start(t, dir)
	defer stop()
	c.say <- "ada"
	c.say <- "ada"
	c.say <- "bob"

	v, err := troupe.OpenView(ctx, troupe.Config{DataDir: dir}, c.counts)
	require.NoError(t, err)
	defer func() { require.NoError(t, v.Close()) }()
	require.NoError(t, v.Wait(ctx))
	wait := func(key string, want int64) {
		t.Helper()
		for n, ok := range v.Watch(ctx, key) {
			if ok && n == want {
				return
			}
		}
		t.Fatalf("%s does not come to %d: %v", key, want, v.Err())
	}
	wait("bob", 1)
	wait("ada", 2)
	go func() { c.say <- "ada" }()
	wait("ada", 3)
	require.Equal(t, map[string]int64{"ada": 3, "bob": 1}, maps.Collect(v.All()))
	require.Equal(t, map[string]int64{"bob": 1}, maps.Collect(v.Range("b", "c")))
	require.Equal(t, 2, v.Len())
	n, ok, err := v.Get("ada")
	require.NoError(t, err)
	require.Equal(t, []any{int64(3), true}, []any{n, ok})

	topic, err := troupe.OpenView(ctx, troupe.Config{DataDir: dir}, c.names)
	require.NoError(t, err)
	require.NoError(t, topic.Wait(ctx))
	require.Equal(t, map[string]string{"ada": "", "bob": ""}, maps.Collect(topic.All()))

	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for range topic.Watch(context.Background(), "nobody") {
		}
	}()
	require.NoError(t, topic.Close())
	require.NoError(t, topic.Close(), "twice is no harm")
	<-watched
	require.ErrorContains(t, topic.Err(), "it is closed")
}

// What cannot be viewed is said so before anything is connected.
func TestViewFaults(t *testing.T) {
	t.Parallel()
	cfg := troupe.Config{Brokers: []string{"127.0.0.1:1"}}
	topo := topology.New("t")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	local := topology.NewTable(topo, "local", codec.String, codec.String, topology.Local())
	_, err := troupe.OpenView(t.Context(), cfg, local)
	require.ErrorContains(t, err, "table local is Local")
	_, err = troupe.OpenView(t.Context(), cfg, in)
	require.ErrorContains(t, err, "topology t has no agents")
	var none *topology.Table[string, string]
	_, err = troupe.OpenView(t.Context(), cfg, none)
	require.ErrorContains(t, err, "there is no table or topic to view")
	_, err = troupe.OpenView[string, int64](t.Context(), cfg, nil)
	require.ErrorContains(t, err, "there is no table or topic to view")
	_, err = troupe.OpenView(t.Context(), troupe.Config{Brokers: []string{""}}, in)
	require.ErrorContains(t, err, "broker 0 is empty")
}

// A program that shows a count whenever it changes.
func ExampleOpenView() {
	c := newCounter() // its topology runs elsewhere
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	v, err := troupe.OpenView(ctx, troupe.Config{Brokers: []string{"kafka:9092"}}, c.counts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close() //nolint:errcheck // it has been read
	if err := v.Wait(ctx); err != nil {
		fmt.Println(err)
		return
	}
	for n := range v.Watch(ctx, "ada") {
		fmt.Println(n)
	}
}

// A view that is being opened on brokers that do not answer ends with its context, long before it would give up by itself.
func TestViewHeedsItsContext(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // takes connections, and never answers
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	met := make(chan struct{})
	go func() {
		defer close(met)
		c, err := silent.Accept()
		cancel()
		if err == nil {
			_ = c.Close()
		}
	}()
	_, err = troupe.OpenView(ctx, troupe.Config{Brokers: []string{silent.Addr().String()}}, newCounter().counts)
	require.ErrorIs(t, err, context.Canceled)
	<-met
}
