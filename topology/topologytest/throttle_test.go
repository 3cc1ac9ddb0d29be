package topologytest_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

func TestThrottle(t *testing.T) {
	t.Parallel()
	b := newBench()
	topology.To(topology.From(topology.Throttle(b.in, 2, time.Second)), b.out)
	topology.Count(topology.GroupByKey(topology.From(b.in)), b.table)
	d := one(t, b.topo)
	pipe(d, b.in, "1")
	d.Advance(600 * time.Millisecond)
	pipe(d, b.in, "2", "3", "4", "5", "6")
	require.Equal(t, []string{"1", "2"}, values(d, b.out))
	require.EqualValues(t, 6, topologytest.Table(d, b.table)["k"], "others go on")
	d.Advance(399 * time.Millisecond)
	require.Equal(t, []string{"1", "2"}, values(d, b.out))
	d.Advance(time.Millisecond) // the first was a second ago
	require.Equal(t, []string{"1", "2", "3"}, values(d, b.out))
	d.Advance(599 * time.Millisecond)
	require.Len(t, values(d, b.out), 3)
	d.Advance(time.Millisecond)
	require.Equal(t, []string{"1", "2", "3", "4"}, values(d, b.out))
	d.Crash() // the limit is not kept
	require.Equal(t, []string{"1", "2", "3", "4", "5", "6"}, values(d, b.out))
}

// What an agent hands back, since a timer comes before it, does not count.
func TestThrottleAndWhatIsHandedBack(t *testing.T) {
	t.Parallel()
	b := newBench()
	x := eventTimers(b)
	topology.Each(b.topo, "set", topology.Throttle(b.in, 4, time.Second), b.setter(x), topology.Writes(x, b.table), topology.Sends(b.out))
	d := one(t, b.topo)
	at := func(minutes int, key, value string) {
		topologytest.PipeAt(d, b.in, noon.Add(time.Duration(minutes)*time.Minute), key, value)
	}
	for range 4 {
		at(0, "f", "fill")
	}
	at(0, "a", "1m")
	at(2, "b", "brings it")
	at(3, "c", "later")
	at(3, "d", "later")
	require.Len(t, values(d, b.out), 4, "the limit is used up")
	d.Advance(time.Second)
	require.Equal(t, []string{"a 1m", "b brings it", "call a 1m", "c later", "d later"}, values(d, b.out)[4:], "four records in a second, handed out in two runs")
}

// A record that is tried again counts again.
func TestThrottleCountsAttempts(t *testing.T) {
	t.Parallel()
	b := newBench()
	calls := 0
	topology.Each(b.topo, "call", topology.Throttle(b.in, 3, time.Second), func(ctx ctxOf, ev event) error {
		calls++
		b.out.Send(ctx, ev.Key, ev.Value)
		if ev.Value == "bad" {
			return errors.New("bad")
		}
		return nil
	}, topology.Sends(b.out))
	topology.Count(topology.GroupByKey(topology.From(b.in)), b.table)
	d := one(t, b.topo)
	pipe(d, b.in, "bad", "1", "2")
	require.Equal(t, 3, calls)
	require.Empty(t, letters(d))
	d.Advance(time.Second)
	require.Equal(t, 6, calls)
	requireLetter(t, d, "bad", "4", "bad")
	require.Equal(t, []string{"1", "2"}, values(d, b.out))
}

// Of several topics each has a limit of its own, in each partition; agents that take turns by the times of their records go on taking them.
func TestThrottleOfSeveralTopics(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	var all []topology.Source[string, string]
	var topics []texts
	for _, name := range []string{"a", "b"} {
		topics = append(topics, topology.NewTopic(topo, name, codec.String, codec.String))
		all = append(all, topics[len(topics)-1])
	}
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	table := topology.TableFrom(topo, "table", topology.NewTopic(topo, "rows", codec.String, codec.String))
	joined := topology.LeftJoin(topology.From(topology.Throttle(topology.Sources(all[0], all[1]), 1, time.Second)), table, func(v, _ string, _ bool) string { return v })
	topology.To(joined, out)
	d := one(t, topo)
	for i := range 3 {
		pipe(d, topics[0], fmt.Sprint("a", i))
		d.Advance(time.Millisecond)
		pipe(d, topics[1], fmt.Sprint("b", i))
		d.Advance(time.Millisecond)
	}
	require.Equal(t, []string{"a0", "b0"}, values(d, out))
	d.Advance(994 * time.Millisecond)
	require.Equal(t, []string{"a0", "b0", "a1"}, values(d, out))
	d.Advance(time.Millisecond)
	require.Equal(t, []string{"a0", "b0", "a1", "b1"}, values(d, out))
}

func TestFaultsOfThrottle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		define func(b bench)
		says   string
	}{
		"none": {func(b bench) { topology.To(topology.From(topology.Throttle(b.in, 0, time.Second)), b.out) }, "agent to-out is throttled to 0 in 1s: pass a positive number"},
		"never": {func(b bench) {
			topology.Each(b.topo, "each", topology.Throttle(b.in, 1, 0), func(ctxOf, event) error { return nil })
		}, "agent each is throttled to 1 in 0s: pass a positive number"},
		"twice": {func(b bench) {
			topology.To(topology.From(topology.Throttle(topology.Throttle(b.in, 1, time.Second), 2, time.Second)), b.out)
		}, "topic in is throttled twice, to 1 in 1s and to 2 in 1s"},
		"two speeds": {func(b bench) {
			topology.To(topology.Merge(topology.From(topology.Throttle(b.in, 1, time.Second)), topology.From(b.in)), b.out)
		}, "flows of topic in are merged, and throttled differently, to 1 in 1s and to no limit"},
		"channel": {func(b bench) {
			pipe := topology.NewChannel[string, string](b.topo, "pipe")
			topology.To(topology.From(b.in), pipe)
			topology.To(topology.From(topology.Throttle(pipe, 1, time.Second)), b.out)
		}, "agent to-out reads channel pipe throttled"},
		"nothing": {func(b bench) {
			topology.Each(b.topo, "each", topology.Throttle[string, string](nil, 1, time.Second), func(ctxOf, event) error { return nil })
		}, "agent each was given a nil topic to read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench()
			c.define(b)
			topology.Count(topology.GroupByKey(topology.From(b.in)), b.table)
			_, err := b.topo.Plan()
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestThrottleIsDescribed(t *testing.T) {
	t.Parallel()
	b := newBench()
	topology.To(topology.From(topology.Throttle(b.in, 2, time.Second)), b.out)
	topology.Count(topology.GroupByKey(topology.From(b.in)), b.table)
	p, err := b.topo.Plan()
	require.NoError(t, err)
	text, err := topology.Describe(p, "text")
	require.NoError(t, err)
	require.Contains(t, text, "agent to-out: reads in, sends out, steps: from in | to out, throttled to 2 in 1s\n")
	text, err = topology.Describe(p, "json")
	require.NoError(t, err)
	require.Contains(t, text, `"throttle": "2 in 1s"`)
}
