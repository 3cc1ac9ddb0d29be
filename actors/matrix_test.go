package actors_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// What user code may do to its record, and what is said of it then. What ends the process is in TestWhatKillsWherever, TestPolicyOfATimerThatKills,
// TestADurableTimerThatKills and integration/exits; a task that does is not contained: TestATaskThatKills.
var harms = map[string]string{
	"error":  "the bank is closed",
	"panic":  "panic: a pipe burst",
	"Goexit": "runtime.Goexit",
	"hang":   "has passed its deadline|the handler hangs",
}

// harmful does what a value says, until it is mended.
type harmful struct {
	mended  atomic.Bool
	release chan struct{}
	calls   atomic.Int64
}

func (h *harmful) strike(_ context.Context, value string) error {
	if h.mended.Load() {
		return nil
	}
	switch h.calls.Add(1); value {
	case "error":
		return errors.New("the bank is closed")
	case "panic":
		panic("a pipe burst")
	case "Goexit":
		runtime.Goexit()
	case "hang":
		<-h.release
	}
	return nil
}

// matrixPlaces are where user code may have a record in hand.
func matrixPlaces() map[string]hanging {
	all := maps.Clone(hangingPlaces)
	all["operator"] = func(_ *topology.Topology, in, out textTopic, stall func(context.Context, string) error, _ topology.AgentOption) {
		fails := func(v string) string {
			if err := stall(context.Background(), v); err != nil {
				panic(err) // an operator has no other way to return an error
			}
			return v
		}
		topology.To(topology.Map(topology.From(in), fails), out, topology.Named("agent"))
	}
	all["operator of a table"] = func(t *topology.Topology, in, out textTopic, stall func(context.Context, string) error, _ topology.AgentOption) {
		last := topology.NewTable(t, "last", codec.String, codec.String)
		topology.Aggregate(topology.GroupByKey(topology.From(in)), last, func() string { return "" }, func(_ string, e textEvent) string {
			if err := stall(context.Background(), e.Value); err != nil {
				panic(err)
			}
			return e.Value
		}, topology.Named("agent"))
		topology.To(topology.ToStream(last), out, topology.Named("changes"))
	}
	all["durable timer"] = func(t *topology.Topology, in, out textTopic, stall func(context.Context, string) error, p topology.AgentOption) {
		alarms := topology.NewTimers(t, "alarms", codec.String, codec.String)
		topology.Each(t, "set", in, func(ctx *topology.Context, e textEvent) error {
			alarms.After(ctx, e.Key, 0, e.Value)
			return nil
		}, topology.Writes(alarms))
		topology.OnTimer(t, "agent", alarms, func(ctx *topology.Context, x topology.Timer[string, string]) error {
			out.Send(ctx, x.Key, x.Payload)
			return stall(ctx, x.Payload)
		}, topology.Sends(out), p)
	}
	return all
}

// choice is how a policy comes to give up.
type choice struct {
	topology.Decision
	decided bool // by its Decide; its Then is another
}

// String implements fmt.Stringer.
func (c choice) String() string {
	if c.decided {
		return "Decide says " + c.Decision.String()
	}
	return c.Decision.String()
}

func matrixPolicy(c choice) topology.Policy {
	p := topology.Policy{
		Attempts: 2, Then: c.Decision, Deadline: 500 * time.Millisecond, Grace: 100 * time.Millisecond, Backoff: topology.Backoff{Min: time.Millisecond},
	}
	if c.decided {
		p.Then = topology.StopNode
		p.Decide = func(f topology.Failure) topology.Decision {
			if f.Attempts < 2 {
				return topology.ByPolicy
			}
			return c.Decision
		}
	}
	return p
}

// choices are those that are tested: the first alone if the tests are to be short.
func choices(all ...topology.Decision) (cs []choice) {
	for _, d := range all {
		cs = append(cs, choice{Decision: d})
	}
	if cs = append(cs, choice{all[0], true}); testing.Short() {
		return cs[:1]
	}
	return cs
}

// keysIn are keys of one of some partitions.
func keysIn(partition, of int32, n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		if key := strconv.Itoa(i); kafka.Murmur2().Hash([]byte(key), of) == partition {
			keys = append(keys, key)
		}
	}
	return keys
}

// Each policy meets each harm that a record may come to, wherever user code has it in hand: the record is given up as the policy says, what is
// before and behind it in its partition is done once, and a partition that has stopped goes on when it is resumed.
func TestNodePoliciesEverywhere(t *testing.T) {
	t.Parallel()
	names := slices.Sorted(maps.Keys(harms))
	for place, define := range matrixPlaces() {
		for _, then := range choices(topology.DeadLetter, topology.Skip, topology.StopPartition) {
			t.Run(fmt.Sprint(place, ", ", then), func(t *testing.T) {
				t.Parallel()
				h := &harmful{release: make(chan struct{})}
				w := newWorld(t, int32(len(names)), "in", "out")
				topo := topology.New("matrix")
				in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
				topo.OnFailure(matrixPolicy(then)) // flows have no policy of their own
				define(topo, in, out, h.strike, topology.OnFailure(matrixPolicy(then)))
				n := w.node(t.TempDir(), topo)
				t.Cleanup(func() { close(h.release) }) // before the node stops
				var records []*kgo.Record
				var before, behind []string
				for p, harm := range names { // each in a partition of its own
					keys := keysIn(int32(p), int32(len(names)), 3)
					before, behind = append(before, "before "+harm), append(behind, "behind "+harm)
					for i, v := range []string{"before " + harm, harm, "behind " + harm} {
						records = append(records, &kgo.Record{Topic: "in", Key: []byte(keys[i]), Value: []byte(v)})
					}
				}
				require.NoError(t, w.client().ProduceSync(t.Context(), records...).FirstErr())
				switch then.Decision {
				case topology.StopPartition:
					require.Eventually(t, func() bool { return len(stopped(n)) == len(names) }, patience, tick, "%v", stopped(n))
					for p, harm := range names {
						require.Regexp(t, harms[harm], stopped(n)[int32(p)])
					}
					if place == "durable timer" { // which of them is due first is not said
						before = nil
					}
					got := valuesOf(w.readSome("out", len(before)))
					if before != nil {
						require.ElementsMatch(t, before, got)
					}
					h.mended.Store(true)
					_, err := n.Resume(nil)
					require.NoError(t, err)
					require.Len(t, w.read("out", len(records)), len(records))
					require.Empty(t, stopped(n))
				default:
					require.ElementsMatch(t, append(before, behind...), valuesOf(w.read("out", 2*len(names))))
				}
				if then.Decision == topology.DeadLetter {
					for _, letter := range w.read("matrix-dead-letters", len(names)) {
						require.Regexp(t, harms[string(letter.Value)], header(letter, "troupe.error"), string(letter.Value))
						require.Equal(t, "2", header(letter, "troupe.attempts"))
						require.Equal(t, "agent", header(letter, "troupe.agent"))
						if string(letter.Value) != "error" {
							require.Contains(t, header(letter, "troupe.stack"), "actors_test.", "%s: where", letter.Value)
						}
					}
					return
				}
				for _, p := range n.Look().Partitions {
					for _, a := range p.Agents {
						require.Zero(t, a.DeadLettered, "agent %s", a.Name)
					}
				}
			})
		}
		if testing.Short() {
			continue
		}
		t.Run(fmt.Sprint(place, ", ", topology.StopNode), func(t *testing.T) {
			t.Parallel()
			var end []func()
			for _, harm := range names {
				h := &harmful{release: make(chan struct{})}
				w := newWorld(t, 1, "in", "out")
				topo := topology.New("matrix")
				in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
				topo.OnFailure(matrixPolicy(choice{Decision: topology.StopNode}))
				define(topo, in, out, h.strike, topology.OnFailure(matrixPolicy(choice{Decision: topology.StopNode})))
				n := w.node(t.TempDir(), topo)
				t.Cleanup(func() { close(h.release) })
				w.send("in", "before", harm, "behind")
				end = append(end, func() { w.endsBy(n, "agent agent", harms[harm]) })
			}
			for _, f := range end {
				f()
			}
		})
	}
}

// endsBy waits until a policy has ended the node.
func (w *world) endsBy(n *actors.Node, of, says string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return n.Err() != nil }, patience, tick)
	w.ends = n.Err()
	require.ErrorContains(w.t, n.Err(), "the policy of "+of+" ends the node")
	require.Regexp(w.t, says, n.Err().Error())
}

// So it is with timers and tasks, but that they have no record: what is given up is a firing, or the task.
func TestNodePoliciesOfTimersAndTasks(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"timer", "task"} {
		for _, then := range choices(topology.DeadLetter, topology.Skip, topology.StopPartition, topology.StopNode) {
			t.Run(fmt.Sprint(kind, ", ", then), func(t *testing.T) {
				t.Parallel()
				var end []func()
				for harm, says := range harms {
					h := &harmful{release: make(chan struct{})}
					w := newWorld(t, 1, "in", "out")
					n := w.node(t.TempDir(), besides(kind, then, h, harm))
					t.Cleanup(func() { close(h.release) })
					end = append(end, func() { besidesEnd(w, n, kind, then, h, says) })
				}
				for _, f := range end {
					f()
				}
			})
		}
	}
}

// besides is a topology with a timer or a task that comes to harm, a timer at its first firing only if a firing may be given up.
func besides(kind string, then choice, h *harmful, harm string) *topology.Topology {
	topo := topology.New("matrix")
	in, out := topology.NewTopic(topo, "in", codec.String, codec.String), topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.Each(topo, "each", in, func(ctx *topology.Context, e textEvent) error { out.Send(ctx, e.Key, e.Value); return nil }, topology.Sends(out))
	fn := func(ctx *topology.TaskContext) error {
		out.Send(ctx, "k", "beside")
		if kind == "timer" && (then.Decision == topology.Skip || then.Decision == topology.DeadLetter) && h.calls.Load() >= 2 {
			return nil
		}
		return h.strike(ctx, harm)
	}
	policy := topology.OnFailure(matrixPolicy(then))
	if kind == "timer" {
		topology.Every(topo, "beside", 50*time.Millisecond, fn, topology.Sends(out), policy)
	} else {
		topology.Task(topo, "beside", fn, topology.Sends(out), policy)
	}
	return topo
}

// besidesEnd waits for what comes of it.
func besidesEnd(w *world, n *actors.Node, kind string, then choice, h *harmful, says string) {
	w.t.Helper()
	switch then.Decision {
	case topology.StopNode:
		w.endsBy(n, kind+" beside", says)
		return
	case topology.StopPartition:
		require.Eventually(w.t, func() bool { return len(stopped(n)) == 1 }, patience, tick)
		for _, why := range stopped(n) {
			require.Regexp(w.t, says, why)
		}
		h.mended.Store(true)
		_, err := n.Resume(nil)
		require.NoError(w.t, err)
		require.Equal(w.t, "beside", string(w.readSome("out", 1)[0].Value))
	default:
		require.Eventually(w.t, func() bool { return h.calls.Load() >= 2 && idle(n) }, patience, tick)
		if kind == "timer" {
			require.Equal(w.t, "beside", string(w.readSome("out", 1)[0].Value), "the firings after it come")
			break
		}
		w.send("in", "x")
		require.Equal(w.t, []string{"x"}, valuesOf(w.read("out", 1)), "what the task has sent is not committed")
		require.Equal(w.t, int64(2), h.calls.Load(), "the task has ended")
	}
	require.NoError(w.t, n.Err())
}

// idle says whether no partition retries.
func idle(n *actors.Node) bool {
	for _, p := range n.Look().Partitions {
		if p.State != "running" {
			return false
		}
	}
	return true
}
