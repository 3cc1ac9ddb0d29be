package actors_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// following copies all topics that match; an agent of another topic goes on beside.
func following() *topology.Topology {
	t := topology.New("following")
	in := topology.NewTopicPattern(t, "in", `in\..+`, codec.String, codec.String, topology.ReadFrom(topology.Latest))
	lines, out := topology.NewTopic(t, "lines", codec.String, codec.String), topology.NewTopic(t, "out", codec.String, codec.String)
	topology.Each(t, "copy", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		out.Send(ctx, ev.Key, ev.Topic()+" "+ev.Value)
		return nil
	}, topology.Sends(out))
	topology.Each(t, "lines", lines, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		out.Send(ctx, ev.Key, ev.Value)
		return nil
	}, topology.Sends(out))
	return t
}

// topicsOf are the topics that nodes read partitions of, sorted.
func topicsOf(nodes ...*actors.Node) (topics []string) {
	for _, n := range nodes {
		for _, p := range n.Look().Partitions {
			for _, a := range p.Agents {
				if p.State == status.Running && a.Topic != "" {
					topics = append(topics, fmt.Sprintf("%s/%d", a.Topic, p.Partition))
				}
			}
		}
	}
	slices.Sort(topics)
	return topics
}

// Two nodes take up topics as they appear, get further partitions, and go: each record is copied once, from the first on, and a node that waits for
// a topic is well.
func TestNodeTopicPattern(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, "lines", "out")
	logs := &logged{}
	w.refresh, w.logs = 50*time.Millisecond, logs
	d, err := confluent.New(confluent.Config{Brokers: w.brokers})
	require.NoError(t, err)
	admin, err := d.OpenAdmin()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	create := func(name string, partitions int32) {
		require.NoError(t, admin.Create(t.Context(), kafka.TopicSpec{Name: name, Partitions: partitions}))
	}
	one, two := w.node(t.TempDir(), following()), w.node(t.TempDir(), following())
	reads := func(want ...string) {
		t.Helper()
		require.Eventually(t, func() bool { return slices.Equal(topicsOf(one, two), want) }, patience, 20*time.Millisecond, "wanted %v", want)
	}
	reads("lines/0", "lines/1")
	require.Contains(t, logs.String(), "no topic matches a pattern")
	w.send("lines", "l1")

	create("in.eu", 3)
	w.send("in.eu", "e1", "e2", "e3", "e4")
	reads("in.eu/0", "in.eu/1", "in.eu/2", "lines/0", "lines/1")
	w.send("lines", "l2")
	w.send("in.eu", "e5")
	create("in.us", 1)
	w.send("in.us", "u1")
	reads("in.eu/0", "in.eu/1", "in.eu/2", "in.us/0", "lines/0", "lines/1")
	want := []string{"in.eu e1", "in.eu e2", "in.eu e3", "in.eu e4", "in.eu e5", "in.us u1", "l1", "l2"}
	require.ElementsMatch(t, want, valuesOf(w.read("out", len(want))))

	require.NoError(t, admin.Grow(t.Context(), "in.us", 2))
	reads("in.eu/0", "in.eu/1", "in.eu/2", "in.us/0", "in.us/1", "lines/0", "lines/1")
	require.NoError(t, admin.Delete(t.Context(), "in.eu"))
	reads("in.us/0", "in.us/1", "lines/0", "lines/1")
	w.stop(one)
	reads("in.us/0", "in.us/1", "lines/0", "lines/1")
	w.send("in.us", "u2", "u3", "u4")
	want = append(want, "in.us u2", "in.us u3", "in.us u4")
	require.ElementsMatch(t, want, valuesOf(w.read("out", len(want))))
	require.NoError(t, two.Err())
}

// logged is a log that may be read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
