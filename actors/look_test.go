package actors_test

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// seen collects what hooks are told.
type seen struct {
	mu     sync.Mutex
	events []any
}

func (s *seen) add(e any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *seen) hooks() actors.Hooks {
	return actors.Hooks{
		OnRestart:     func(e actors.Restart) { s.add(e) },
		OnDeadLetter:  func(e actors.DeadLetter) { s.add(e) },
		OnStateChange: func(e actors.StateChange) { s.add(e) },
		OnRebalance:   func(e actors.Rebalance) { s.add(e) },
		OnCommit:      func(e actors.Commit) { s.add(e) },
	}
}

// find returns the first event of a kind for which ok is true.
func find[E any](s *seen, ok func(E) bool) (e E, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.events {
		if x, is := x.(E); is && ok(x) {
			return x, true
		}
	}
	return e, false
}

// has waits for an event.
func has[E any](t *testing.T, s *seen, ok func(E) bool) E {
	t.Helper()
	var e E
	require.Eventually(t, func() (found bool) { e, found = find(s, ok); return found }, patience, tick)
	return e
}

// inspected waits until a node is as wanted, and returns what it says of itself.
func inspected(t *testing.T, n *actors.Node, ok func(status.Node) bool) status.Node {
	t.Helper()
	var st status.Node
	require.Eventually(t, func() bool { st = n.Inspect(t.Context()); return ok(st) }, patience, tick, "the last status: %.600s", fmt.Sprintf("%+v", st))
	return st
}

// of is the partition of the topic in, or none.
func of(st status.Node) status.Partition {
	for _, p := range st.Partitions {
		if p.Stage == "in" {
			return p
		}
	}
	return status.Partition{Agents: make([]status.Agent, 1)}
}

var errBank = errors.New("the bank is closed")

// A node tells what it is about while a record is retried, when its partition has stopped, and after it was resumed; its hooks
// are told of all of it.
func TestNodeIsLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	var told seen
	w.hooks = told.hooks()
	mended := make(chan struct{})
	topo := echo("looked", func(v string) error {
		select {
		case <-mended:
			return nil
		default:
		}
		switch v {
		case "bad":
			return errBank
		case "worse":
			return topology.Permanent(errBank)
		}
		return nil
	}, fine)
	topo.OnFailure(topology.Policy{
		Attempts: 3, Backoff: topology.Backoff{Min: 600 * time.Millisecond, Max: 600 * time.Millisecond},
		Decide: func(f topology.Failure) topology.Decision {
			if string(f.Value) == "bad" && f.Attempts >= 3 {
				return topology.StopPartition
			}
			return topology.ByPolicy
		},
	})
	n := w.node(t.TempDir(), topo)
	w.send("in", "fine", "worse")
	st := inspected(t, n, func(st status.Node) bool { return st.Ready && of(st).Agents[0].DeadLettered == 1 })
	require.Equal(t, status.Running, st.State)
	require.Equal(t, "looked", st.Topology)
	require.Equal(t, "exactly-once", st.Guarantee)
	require.NotEmpty(t, st.Member)
	require.Equal(t, int64(1), of(st).Agents[0].In)
	require.Positive(t, st.Rates.In)

	w.send("in", "bad")
	st = inspected(t, n, func(st status.Node) bool {
		return of(st).State == status.Retrying && of(st).Agents[0].Attempts == 2 && of(st).Agents[0].RetryIn != ""
	})
	p := of(st)
	require.Regexp(t, `^attempt 3: in/0@\d+ in 0\.\d s: the bank is closed$`, p.Why)
	require.Equal(t, int64(2), p.Agents[0].Retried)
	require.GreaterOrEqual(t, p.Agents[0].Restarts, int64(2))
	require.Contains(t, st.LastErrors[0].Error, "the bank is closed")
	require.Equal(t, int64(1), p.Shards[0].Entries)

	// The record at which it has stopped is not committed; ends are asked for once a second.
	st = inspected(t, n, func(st status.Node) bool { return of(st).State == status.Stopped && of(st).Lag == 1 })
	require.Regexp(t, `^agent echo: in/0@\d+ failed: the bank is closed$`, of(st).Why)
	require.True(t, st.Ready, "a stopped partition is no reason to take the node away")
	got, err := n.Resume([]status.Wanted{{Partition: 7}})
	require.NoError(t, err)
	require.Empty(t, got, "another node's")

	close(mended)
	got, err = n.Resume(nil)
	require.NoError(t, err)
	require.Equal(t, []status.Resumed{{Topology: "looked", Stage: "in", Partition: 0, Resumed: true}}, got)
	require.Equal(t, "bad", string(w.read("out", 2)[1].Value))
	inspected(t, n, func(st status.Node) bool {
		return of(st).State == status.Running && of(st).Lag == 0
	})
	got, err = n.Resume([]status.Wanted{{Stage: "in", Partition: 0}})
	require.NoError(t, err)
	require.Equal(t, "it is not stopped", got[0].Why)

	letter := has(t, &told, func(actors.DeadLetter) bool { return true })
	require.Equal(t, "in", letter.Topic)
	require.ErrorIs(t, letter.Err, errBank)
	require.ErrorIs(t, has(t, &told, func(e actors.Restart) bool { return e.Agent == "echo" && e.Restarts >= 3 }).Err, errBank)
	has(t, &told, func(e actors.StateChange) bool {
		return e.From == status.Retrying && e.To == status.Stopped && e.Why == errBank.Error()
	})
	has(t, &told, func(e actors.Commit) bool { return e.Verdict == kafka.Committed && e.Partitions == 1 && e.Took > 0 })
	require.Contains(t, has(t, &told, func(e actors.Rebalance) bool { return len(e.Taken) > 0 }).Taken, actors.StagePartition{Stage: "in"})
	w.stop(n)
	has(t, &told, func(e actors.Rebalance) bool { return len(e.Released) == 2 })
	has(t, &told, func(e actors.StateChange) bool { return e.To == "gone" })
	require.Equal(t, status.Stopping, n.Inspect(t.Context()).State)
	m := n.Meters()
	require.Equal(t, int64(2), m.Agents[0].In)
	require.Equal(t, int64(2), m.Agents[0].Out)
	require.Equal(t, int64(1), m.Agents[0].DeadLettered)
	require.Equal(t, int64(2), m.Tables[0].Journaled)
	require.Positive(t, m.Commits.Committed)
	require.Equal(t, uint64(m.Commits.Committed), m.Commit.Count)
	require.Positive(t, m.Agents[0].Work.Count)
}

// Of a record that waits while other keys go on, its own error is told, and not that of one which has failed since; what is done or given out
// does not count as queued.
func TestNodeTellsEachRecordsError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	topo := echo("errors", func(v string) error {
		switch v {
		case "busy":
			return errBank
		case "declined":
			return topology.Permanent(errors.New("the card was declined"))
		}
		return nil
	}, fine)
	topo.OnFailure(topology.Policy{KeyOrder: true, Backoff: topology.Backoff{Min: 2 * time.Hour, Max: 2 * time.Hour}})
	n := w.node(t.TempDir(), topo)
	var records []*kgo.Record
	for _, r := range [][2]string{{"ada", "busy"}, {"alan", "declined"}, {"ada", "behind"}, {"grace", "fine"}} {
		records = append(records, &kgo.Record{Topic: "in", Key: []byte(r[0]), Value: []byte(r[1])})
	}
	require.NoError(t, w.client().ProduceSync(t.Context(), records...).FirstErr())
	st := inspected(t, n, func(st status.Node) bool {
		return st.Ready && of(st).Agents[0].DeadLettered == 1 && of(st).Agents[0].In == 1 && of(st).Agents[0].Parked == 2
	})
	require.Regexp(t, `^attempt 2: in/0@0 in \dh\d+m\d+s: the bank is closed$`, of(st).Why)
	require.Equal(t, "the bank is closed", of(st).Agents[0].LastError)
	require.Equal(t, "the card was declined", of(st).LastErrors[0].Error)
	require.Equal(t, 2, of(st).Queued)
}

// What operators leave out for want of a key or a value is counted, once the records are done.
func TestNodeCountsWhatIsDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "rows", "out")
	topo := topology.New("dropping")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	rows := topology.TableFrom(topo, "rows", topology.NewTopic(topo, "rows", codec.String, codec.String))
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.To(topology.LeftJoin(topology.From(in), rows, func(v, _ string, _ bool) string { return v }), out)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	topology.Count(topology.GroupByKey(topology.From(in)), counts)
	n := w.node(t.TempDir(), topo)
	c := w.client()
	for _, r := range []*kgo.Record{
		{Topic: "rows", Value: []byte("a row without a key")},
		{Topic: "in", Key: []byte("k")},         // no value: neither is joined nor counted
		{Topic: "in", Value: []byte("keyless")}, // is joined with nothing, and not counted
		{Topic: "in", Key: []byte("k"), Value: []byte("whole")},
	} {
		require.NoError(t, c.ProduceSync(t.Context(), r).FirstErr())
	}
	w.read("out", 2)
	dropped := func() map[string]int64 {
		all := map[string]int64{}
		for _, a := range n.Meters().Agents {
			all[a.Name] = a.Dropped
		}
		return all
	}
	want := map[string]int64{"table-rows": 1, "to-out": 1, "count-counts": 2}
	require.Eventually(t, func() bool { return maps.Equal(want, dropped()) }, patience, 10*time.Millisecond, "%v", want)
	for _, p := range n.Inspect(t.Context()).Partitions {
		for _, a := range p.Agents {
			require.Equal(t, want[a.Name], a.Dropped, a.Name)
		}
	}
}

// The tree shows what lives: kinds, names, restarts, incarnations, mailboxes. A node without partitions is ready too.
func TestNodeTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	topo := func() *topology.Topology { return echo("tree", fine, fine) }
	n := w.node(t.TempDir(), topo())
	inspected(t, n, func(st status.Node) bool { return st.Ready && of(st).Stage != "" })
	root, err := n.Tree()
	require.NoError(t, err)
	kinds := map[string]status.Tree{}
	for _, c := range root.Children {
		if c.Name != "(leader)/0" {
			kinds[c.Kind] = c
		}
	}
	require.Len(t, kinds, 5)
	p := kinds["partition"]
	require.Equal(t, "in/0", p.Name)
	require.Positive(t, p.Incarnation)
	require.Equal(t, []string{"agent echo", "shard counts/0"}, []string{p.Children[0].Kind + " " + p.Children[0].Name, p.Children[1].Kind + " " + p.Children[1].Name})
	for _, c := range append(root.Children, p.Children...) {
		require.GreaterOrEqual(t, c.Mailbox, 0, c.Name)
	}
	second := w.node(t.TempDir(), topo())
	inspected(t, second, func(st status.Node) bool { return st.Ready && of(st).Stage == "" })
}

// A partition whose actor is busy is shown as such, and hangs nobody who looks.
func TestNodeBusyIsLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "in", "out")
	release := make(chan struct{})
	topo := echo("busy", func(v string) error {
		if v == "bad" {
			return errBank
		}
		return nil
	}, fine)
	topo.OnFailure(topology.Policy{Decide: func(topology.Failure) topology.Decision { <-release; return topology.Skip }})
	n := w.node(t.TempDir(), topo)
	inspected(t, n, func(st status.Node) bool { return st.Ready && of(st).Stage != "" })
	w.send("in", "bad")
	st := inspected(t, n, func(st status.Node) bool { return of(st).Stage != "" && of(st).State == status.Busy })
	require.Equal(t, "in/0", of(st).Name())
	root, err := n.Tree()
	require.NoError(t, err)
	last := root.Children[len(root.Children)-1]
	require.Equal(t, status.Busy, last.State)
	require.Positive(t, last.Mailbox, "what it was asked waits in it")
	close(release)
	inspected(t, n, func(st status.Node) bool {
		return of(st).Stage != "" && of(st).State != status.Busy && of(st).Agents[0].Skipped == 1
	})
}
