//go:build integration

package integration

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/integration/nodes"
)

// TestTopicPatternsThroughAKill has topics that match a pattern appear while two nodes run, one of which is killed with -9 and comes back. All records of all of them
// are passed on once, and counted once; a topic that is deleted is let go, and the others go on.
func TestTopicPatternsThroughAKill(t *testing.T) { patterns(t, realKafka(t)) }

// ships makes and deletes topics, and sends records to them.
type ships struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of the test
	c    *kgo.Client
	sent map[string]bool // values
}

func (s *ships) appear(topic string, partitions int32) {
	s.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	x := kmsg.NewCreateTopicsRequestTopic()
	x.Topic, x.NumPartitions, x.ReplicationFactor = topic, partitions, 1
	req.Topics = append(req.Topics, x)
	resp, err := req.RequestWith(s.ctx, s.c)
	require.NoError(s.t, err)
	require.Zero(s.t, resp.Topics[0].ErrorCode, "%s", topic)
}

func (s *ships) vanish(topic string) {
	s.t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	x := kmsg.NewDeleteTopicsRequestTopic()
	x.Topic = new(topic)
	req.Topics, req.TopicNames = append(req.Topics, x), []string{topic}
	resp, err := req.RequestWith(s.ctx, s.c)
	require.NoError(s.t, err)
	require.Zero(s.t, resp.Topics[0].ErrorCode, "%s", topic)
}

func (s *ships) bring(topic string, n int) {
	s.t.Helper()
	var all []*kgo.Record
	for range n {
		value := fmt.Sprintf("%c%d", 'a'+len(s.sent)%5, len(s.sent))
		s.sent[value] = true
		all = append(all, &kgo.Record{Topic: topic, Key: []byte(value), Value: []byte(value)})
	}
	require.NoError(s.t, s.c.ProduceSync(s.ctx, all...).FirstErr())
}

func patterns(t *testing.T, brokers string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	harbor, err := nodes.BuildPackage(ctx, t.TempDir(), "integration/harbor", "-tags", "crashpoints")
	require.NoError(t, err)
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	require.NoError(t, err)
	defer c.Close()
	s := &ships{t: t, ctx: ctx, c: c, sent: map[string]bool{}}
	s.appear("ship.one", 2)
	s.bring("ship.one", 300)
	start := func(dir string) *nodes.Node {
		n, err := nodes.Start(harbor, nil, "--brokers", brokers, "--data-dir", dir, "--create-topics", "--kafka", "session.timeout.ms=6000", "--topic-refresh", "1s")
		require.NoError(t, err)
		t.Cleanup(n.Kill)
		require.NoError(t, n.Await(ctx, func(out string) bool { return strings.Contains(out, "partition running") }))
		return n
	}
	knows := func(n *nodes.Node, topics string) {
		require.NoError(t, n.Await(ctx, func(out string) bool {
			at := strings.LastIndex(out, "topics match a pattern")
			line, _, _ := strings.Cut(out[max(at, 0):], "\n")
			return at >= 0 && strings.Contains(line, topics)
		}))
	}
	landed := func() { // all that was sent so far, each once
		t.Helper()
		got := map[string]int{}
		r, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics("landed"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
		require.NoError(t, err)
		defer r.Close()
		for len(got) < len(s.sent) {
			f := r.PollFetches(ctx)
			require.NoError(t, ctx.Err(), "%d of %d have landed", len(got), len(s.sent))
			f.EachRecord(func(r *kgo.Record) { got[string(r.Value)]++ })
		}
		for value, n := range got {
			require.Equal(t, 1, n, "%s has landed %d times", value, n)
			require.True(t, s.sent[value])
		}
	}
	home := t.TempDir()
	a, b := start(home), start(t.TempDir())
	landed()
	s.appear("ship.two", 3)
	s.bring("ship.two", 300) // before a node knows of it: it is read from its beginning
	knows(b, "ship.two")
	s.bring("ship.one", 100)
	a.Kill()
	last, begun := a.Moment()
	t.Logf("killed in transaction %d, after %q", begun, last)
	s.appear("ship.three", 1)
	s.bring("ship.three", 200)
	s.bring("ship.two", 100)
	a = start(home)
	knows(a, "ship.three")
	knows(b, "ship.three")
	landed()

	s.vanish("ship.two")
	gone := func(n *nodes.Node) {
		require.NoError(t, n.Await(ctx, func(out string) bool {
			at := strings.LastIndex(out, "topics match a pattern")
			line, _, _ := strings.Cut(out[max(at, 0):], "\n")
			return at >= 0 && !strings.Contains(line, "ship.two")
		}))
	}
	gone(a)
	gone(b)
	s.bring("ship.one", 100)
	s.bring("ship.three", 100)
	landed()
	run := func(args ...string) string {
		out, err := nodes.Run(ctx, harbor, append(args, "--brokers", brokers, "--data-dir", t.TempDir())...)
		require.NoError(t, err)
		return out
	}
	lag := run("lag")
	require.Contains(t, lag, "ship.three")
	require.NotContains(t, lag, "ship.two")
	require.NoError(t, a.Stop(ctx))
	require.NoError(t, b.Stop(ctx))
	drained, err := nodes.Start(harbor, nil, "--brokers", brokers, "--data-dir", t.TempDir(), "--drain")
	require.NoError(t, err)
	require.NoError(t, drained.Wait(ctx))
	want := map[string]int{}
	for value := range s.sent {
		want[value[:1]]++
	}
	got := map[string]int{}
	for row := range strings.Lines(run("scan", "counts", "--format", "tsv")) {
		key, value, _ := strings.Cut(strings.TrimSuffix(row, "\n"), "\t")
		n, err := strconv.Atoi(value)
		require.NoError(t, err)
		got[key] = n
	}
	require.Equal(t, want, got)
	run("verify")
}
