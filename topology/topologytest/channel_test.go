package topologytest_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// pipes is a topology with channels: split sends each word of a line to words, from which upper and count read; upper sends on to
// loud, which last reads.
type pipes struct {
	topo         *topology.Topology
	in, out, end texts
	counts       *topology.Table[string, int64]
	lines        *topology.Table[string, int64]
}

// pipesOf makes one. fate is asked by each agent.
func pipesOf(capacity int, fate func(agent, word string) error) pipes {
	topo := topology.New("test")
	p := pipes{
		topo: topo, in: topology.NewTopic(topo, "in", codec.String, codec.String), out: topology.NewTopic(topo, "out", codec.String, codec.String),
		end:    topology.NewTopic(topo, "end", codec.String, codec.String),
		counts: topology.NewTable(topo, "counts", codec.String, codec.Int64, topology.Local()),
		lines:  topology.NewTable(topo, "lines", codec.String, codec.Int64),
	}
	words := topology.NewChannel[string, []string](topo, "words", topology.Capacity(capacity))
	loud := topology.NewChannel[int, *string](topo, "loud", topology.Capacity(capacity))
	plus := func(old int64, _ bool) (int64, error) { return old + 1, nil }
	topology.Each(topo, "split", p.in, func(ctx ctxOf, ev event) error {
		p.lines.Update(ctx, ev.Key, plus)
		p.out.Send(ctx, ev.Key, ev.Value)
		for w := range strings.FieldsSeq(ev.Value) {
			words.Send(ctx, ev.Key, []string{w})
		}
		return fate("split", ev.Value)
	}, topology.Sends(words, p.out), topology.Writes(p.lines))
	topology.Each(topo, "count", words, func(ctx ctxOf, ev topology.Event[string, []string]) error {
		p.counts.Update(ctx, ev.Value[0], plus)
		return fate("count", ev.Value[0])
	}, topology.Writes(p.counts))
	topology.Agent(topo, "upper", words, func(ctx ctxOf, in topology.Stream[string, []string]) error {
		for batch := range in.Batches(3, time.Hour) {
			for _, ev := range batch {
				up := strings.ToUpper(ev.Value[0])
				loud.Send(ctx, len(up), &up)
				if err := fate("upper", ev.Value[0]); err != nil {
					return err
				}
			}
		}
		return nil
	}, topology.Sends(loud))
	topology.Agent(topo, "last", loud, func(ctx ctxOf, in topology.Stream[int, *string]) error {
		for ev := range in.All() {
			p.end.Send(ctx, fmt.Sprint(ev.Key), *ev.Value)
			if err := fate("last", strings.ToLower(*ev.Value)); err != nil {
				return err
			}
		}
		return nil
	}, topology.Sends(p.end))
	return p
}

func TestChannels(t *testing.T) {
	t.Parallel()
	for _, capacity := range []int{1, 3, 4000} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			t.Parallel()
			p := pipesOf(capacity, func(string, string) error { return nil })
			d := one(t, p.topo)
			want, all := map[string]int64{}, []string(nil)
			for i := range 20 {
				line := fmt.Sprintf("a b%d c%d a", i%3, i%5)
				topologytest.Pipe(d, p.in, "k", line)
				for w := range strings.FieldsSeq(line) {
					want[w]++
					all = append(all, strings.ToUpper(w))
				}
				if i == 10 {
					d.Crash()
				}
			}
			require.Equal(t, want, topologytest.Table(d, p.counts))
			require.Equal(t, all, values(d, p.end))
			require.Len(t, values(d, p.out), 20)
			require.Empty(t, letters(d))
		})
	}
}

// A record is one tree with all that it causes: if an agent deep in it fails, nothing of it is left, and everything else is.
func TestAChannelsAgentFails(t *testing.T) {
	t.Parallel()
	for _, agent := range []string{"count", "upper", "last"} {
		t.Run(agent, func(t *testing.T) {
			t.Parallel()
			p := pipesOf(5, func(a, w string) error {
				if a == agent && w == "bad" {
					return errors.New("no such word")
				}
				return nil
			})
			p.topo.OnFailure(topology.Policy{Attempts: 3})
			d := one(t, p.topo)
			for _, line := range []string{"one two", "three bad four", "five", "six seven"} {
				topologytest.Pipe(d, p.in, "k", line)
			}
			l := requireLetter(t, d, "three bad four", "3", "no such word")
			require.Equal(t, "split", l.headers["troupe.agent"], "a redrive is for the agent that reads the topic")
			require.Equal(t, agent, l.headers["troupe.failed-in"])
			require.Equal(t, "handler", l.headers["troupe.step"])
			require.Equal(t, "1", l.headers["troupe.offset"])
			require.Equal(t, []string{"one two", "five", "six seven"}, values(d, p.out))
			require.Equal(t, []string{"ONE", "TWO", "FIVE", "SIX", "SEVEN"}, values(d, p.end))
			require.Equal(t, map[string]int64{"one": 1, "two": 1, "five": 1, "six": 1, "seven": 1}, topologytest.Table(d, p.counts))
			require.Equal(t, map[string]int64{"k": 3}, topologytest.Table(d, p.lines))
			require.Len(t, d.Failures(), 3)
			d.Crash()
			require.Len(t, letters(d), 1)
		})
	}
}

// The policy is that of the agent that failed.
func TestAChannelsAgentsPolicy(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	pipe := topology.NewChannel[string, string](topo, "pipe")
	tries, fine := 0, false
	topology.Each(topo, "send", in, func(ctx ctxOf, ev event) error { pipe.Send(ctx, ev.Key, ev.Value); return nil }, topology.Sends(pipe))
	topology.Each(topo, "stop", pipe, func(_ ctxOf, ev event) error {
		if tries++; ev.Value == "bad" && !fine {
			return topology.Permanent(errors.New("not now"))
		}
		return nil
	}, topology.OnFailure(topology.Policy{Then: topology.StopPartition}))
	d := one(t, topo)
	topologytest.Pipe(d, in, "k", "good")
	topologytest.Pipe(d, in, "k", "bad")
	require.ErrorContains(t, d.Stopped()["in/0"], "not now")
	require.Equal(t, 3, tries, "once with others perhaps, once alone")
	fine = true
	d.Resume()
	require.Empty(t, d.Stopped())
	require.Equal(t, 4, tries)
	require.Empty(t, letters(d))
}

// What comes with a record goes through a channel: time, headers, nulls.
func TestChannelsKeepWhatIsSent(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	pipe := topology.NewChannel[string, string](topo, "pipe")
	at := time.UnixMilli(1_234_567)
	topology.Each(topo, "send", in, func(ctx ctxOf, ev event) error {
		pipe.Send(ctx, "k", ev.Value)
		pipe.Send(ctx, "k", "v", topology.NullKey(), topology.NullValue(), topology.WithTimestamp(at), topology.WithHeaders(kafka.Header{Key: "h", Value: []byte("x")}))
		return nil
	}, topology.Sends(pipe))
	topology.Each(topo, "read", pipe, func(ctx ctxOf, ev event) error {
		s := fmt.Sprint(ev.Topic(), " ", ev.Partition(), " ", ev.Offset(), " ", ev.Timestamp().UnixMilli(), " ", ev.Key, ev.NullKey, ev.Value, ev.NullValue)
		for h := range ev.Headers() {
			s += h.Key + string(h.Value)
		}
		out.Send(ctx, "", s)
		return nil
	}, topology.Sends(out))
	d := one(t, topo)
	topologytest.PipeAt(d, in, time.UnixMilli(77), "k", "first")
	require.Equal(t, []string{"pipe 0 0 77 kfalsefirstfalse", "pipe 0 1 1234567 truetruehx"}, values(d, out))
}

// Flows begin at channels too.
func TestFlowsFromChannels(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	pipe := topology.NewChannel[string, string](topo, "pipe")
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	by := topology.NewTable(topo, "by", codec.String, codec.Int64)
	topology.Each(topo, "send", in, func(ctx ctxOf, ev event) error { pipe.Send(ctx, ev.Key, ev.Value); return nil }, topology.Sends(pipe))
	topology.Count(topology.GroupByKey(topology.From(pipe)), counts)
	topology.Count(topology.GroupBy(topology.From(pipe), func(v string) string { return v }), by)
	d := topologytest.New(t, topo)
	for i := range 6 {
		topologytest.Pipe(d, in, fmt.Sprint("k", i%2), fmt.Sprint("v", i%3))
	}
	require.Empty(t, d.Failures())
	require.Equal(t, map[string]int64{"k0": 3, "k1": 3}, topologytest.Table(d, counts))
	require.Equal(t, map[string]int64{"v0": 2, "v1": 2, "v2": 2}, topologytest.Table(d, by))
}

func TestChannelFaults(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	table := topology.NewTable(topo, "table", codec.String, codec.String)
	none := func(ctxOf, event) error { return nil }
	a, b := topology.NewChannel[string, string](topo, "a"), topology.NewChannel[string, string](topo, "b")
	dead := topology.NewChannel[string, string](topo, "dead", topology.Capacity(0))
	dry := topology.NewChannel[string, string](topo, "in")
	topology.Each(topo, "one", a, none, topology.Sends(b))
	topology.Each(topo, "two", b, none, topology.Sends(a))
	topology.Each(topo, "three", in, none, topology.Sends(dead))
	topology.Each(topo, "four", dry, none)
	topology.Every(topo, "tick", time.Second, func(*topology.TaskContext) error { return nil }, topology.Sends(a))
	topology.EachRow(topo, "inside", in, table, func(ctxOf, event, *topology.Row[string]) error { return nil }, topology.Sends(b))
	topology.Each(topo, "other", topology.NewChannel[string, string](topology.New("other"), "far"), none)
	_, err := topo.Plan()
	for _, says := range []string{
		"channel dead has the capacity 0", "channel dead is read by no agent", "channel in is sent to by no agent", "channel in and topic in collide",
		"records go round in a loop of channels, and would never be done: b → agent two → a → agent one → b", "timer tick sends to channel a: only agents send to channels",
		"agent inside sends to channel b from inside table table", "agent other reads channel far of another topology",
	} {
		require.ErrorContains(t, err, says)
	}
}

func TestChannelSendsThatFail(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	pipe := topology.NewChannel[string, payment](topo, "pipe")
	topology.Each(topo, "stray", in, func(ctx ctxOf, ev event) error { pipe.Send(ctx, ev.Key, payment{}); return nil })
	topology.Each(topo, "placed", in, func(ctx ctxOf, ev event) error {
		pipe.Send(ctx, ev.Key, payment{}, topology.ToPartition(0))
		return nil
	}, topology.Sends(pipe))
	topology.Each(topo, "early", in, func(ctx ctxOf, ev event) error {
		pipe.Send(ctx, ev.Key, payment{}, topology.WithTimestamp(time.UnixMilli(-1)))
		return nil
	}, topology.Sends(pipe))
	topology.Each(topo, "invalid", in, func(ctx ctxOf, ev event) error { pipe.Send(ctx, ev.Key, payment{Amount: -1}); return nil }, topology.Sends(pipe))
	read := 0
	topology.Each(topo, "read", pipe, func(ctxOf, paymentEvent) error { read++; return nil })
	d := one(t, topo)
	topologytest.Pipe(d, in, "k", "v")
	require.Zero(t, read)
	all := map[string]string{}
	for _, l := range letters(d) {
		require.Equal(t, "1", l.headers["troupe.attempts"])
		all[l.headers["troupe.agent"]] = l.headers["troupe.error"]
	}
	require.Contains(t, all["stray"], "add topology.Sends(pipe)")
	require.Contains(t, all["placed"], "what is sent to a channel stays in its partition")
	require.Contains(t, all["early"], "it must be after the Unix epoch")
	require.Contains(t, all["invalid"], "send to channel pipe: the value: it is not valid: the amount is negative")
}

// Several workers read a channel: those of a key are handled in order, by one of them, what fails undoes its whole tree, and what is in the
// channel survives a crash with it. Keys of any type will do.
func TestChannelsReadBySeveralWorkers(t *testing.T) {
	t.Parallel()
	type place struct{ shop, shelf string }
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64, topology.Local())
	places := topology.NewChannel[place, int](topo, "places")
	topology.Each(topo, "spread", in, func(ctx ctxOf, ev event) error {
		for i := range 30 {
			places.Send(ctx, place{ev.Key, string(rune('a' + i%5))}, i)
		}
		return nil
	}, topology.Sends(places))
	failed := 0
	topology.Each(topo, "sort", places, func(ctx ctxOf, ev topology.Event[place, int]) error {
		key := ev.Key.shop + ev.Key.shelf
		out.Send(ctx, key, fmt.Sprint(ev.Value))
		counts.Update(ctx, key, func(old int64, _ bool) (int64, error) { return old + 1, nil })
		if ev.Key.shop == "unlucky" && ev.Value == 17 && failed < 2 {
			failed++
			return errors.New("not now")
		}
		return nil
	}, topology.Sends(out), topology.Writes(counts), topology.Concurrency(4))
	d := one(t, topo)
	pipe(d, in, "x")
	topologytest.Pipe(d, in, "unlucky", "x")
	d.Crash()
	topologytest.Pipe(d, in, "late", "x")
	require.Equal(t, 2, failed)
	got := map[string][]string{}
	for _, ev := range topologytest.Read(d, out) {
		got[ev.Key] = append(got[ev.Key], ev.Value)
	}
	require.Len(t, got, 15)
	for key, all := range got {
		require.Len(t, all, 6, key)
		require.True(t, slices.IsSortedFunc(all, func(a, b string) int { x, _ := strconv.Atoi(a); y, _ := strconv.Atoi(b); return x - y }), "%s: %v", key, all)
	}
	for key, n := range topologytest.Table(d, counts) {
		require.Equal(t, int64(6), n, key)
	}
}

// What is put into a channel from outside is handled beside what agents send to it, exactly once.
func TestPutIntoAChannel(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	sums := topology.NewTable(topo, "sums", codec.String, codec.Int64, topology.Local())
	pipe := topology.NewChannel[string, int64](topo, "pipe", topology.Puts(codec.String, codec.Int64))
	shut := topology.NewChannel[string, int64](topo, "shut")
	topology.Each(topo, "count", in, func(ctx ctxOf, ev event) error {
		pipe.Send(ctx, ev.Key, int64(len(ev.Value)))
		shut.Send(ctx, ev.Key, 0)
		return nil
	}, topology.Sends(pipe, shut))
	failed := 0
	topology.Each(topo, "add", pipe, func(ctx ctxOf, ev topology.Event[string, int64]) error {
		out.Send(ctx, ev.Key, fmt.Sprint(ev.Value))
		sums.Update(ctx, ev.Key, func(old int64, _ bool) (int64, error) { return old + ev.Value, nil })
		if ev.Value == 40 && failed == 0 {
			failed++
			return errors.New("not now")
		}
		return nil
	}, topology.Sends(out), topology.Writes(sums))
	topology.Each(topo, "none", shut, func(ctxOf, topology.Event[string, int64]) error { return nil })
	d := one(t, topo)
	topologytest.Pipe(d, in, "k", "two")
	require.NoError(t, pipe.Put(t.Context(), d, "k", 40))
	d.Crash()
	require.NoError(t, pipe.Put(t.Context(), d, "k", 2))
	require.Equal(t, 1, failed)
	require.Equal(t, []string{"3", "40", "2"}, values(d, out))
	require.Equal(t, map[string]int64{"k": 45}, topologytest.Table(d, sums))

	require.ErrorContains(t, shut.Put(t.Context(), d, "k", 2), "put into channel shut of topology test: it takes nothing from outside: define it with topology.Puts(codec for string, codec for int64)")
	require.ErrorContains(t, pipe.Put(t.Context(), nil, "k", 2), "put into channel pipe of topology test: there is no client to ask through")
	wrong := topology.New("wrong")
	topology.NewChannel[string, string](wrong, "pipe", topology.Puts(codec.String, codec.Int64))
	_, err := wrong.Plan()
	require.ErrorContains(t, err, "channel pipe is of keys string and values string, topology.Puts was given other codecs")
}
