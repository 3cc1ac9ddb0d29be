package topologytest_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// millis takes a record's time from its value: milliseconds since the Unix epoch.
func millis(ev event) time.Time {
	if ev.Value == "kafka" {
		return ev.Timestamp()
	}
	n, err := strconv.ParseInt(ev.Value, 10, 64)
	if err != nil {
		panic(err)
	}
	return time.UnixMilli(n)
}

// A topic's extractor makes the times that everything goes by: what is sent, tables, the order across topics.
func TestTimestampExtractor(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String, topology.TimestampExtractor(millis))
	other := topology.NewTopic(topo, "other", codec.String, codec.String, topology.TimestampExtractor(millis))
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	seen := topology.NewTable(topo, "seen", codec.String, codec.String, topology.TTL(100*time.Millisecond, topology.EventTime))
	var order []string
	topology.Each(topo, "each", topology.Sources(in, other), func(ctx ctxOf, ev event) error {
		order = append(order, ev.Value)
		_, was, err := seen.Get(ctx, ev.Key)
		seen.Set(ctx, ev.Key, ev.Value)
		out.Send(ctx, ev.Key, strconv.FormatBool(was))
		return err
	}, topology.Sends(out), topology.Writes(seen))
	d := one(t, topo)
	for _, ms := range []string{"1000", "1050", "1200"} { // the table's own clock
		topologytest.Pipe(d, in, "k", ms)
	}
	topologytest.Pipe(d, other, "k", "1201")
	topologytest.Pipe(d, in, "k", "kafka")
	require.Empty(t, d.Failures())
	var got []string
	var times []int64
	for _, ev := range topologytest.Read(d, out) {
		got, times = append(got, ev.Value), append(times, ev.Timestamp().UnixMilli())
	}
	require.Equal(t, []string{"false", "true", "false", "true", "false"}, got)
	require.Equal(t, []int64{1000, 1050, 1200, 1201, d.Now().UnixMilli()}, times)
	require.Equal(t, []string{"1000", "1050", "1200", "1201", "kafka"}, order)
}

// A record that an extractor finds no time for fails by the policy, and no other does.
func TestTimestampExtractorFails(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.String, topology.TimestampExtractor(func(ev event) time.Time {
		if ev.Value == "zero" {
			return time.Time{}
		}
		return millis(ev)
	}))
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.To(topology.From(in), out)
	d := one(t, topo)
	for _, v := range []string{"1", "zero", "-5", "what?", "2", "0"} {
		topologytest.Pipe(d, in, "k", v)
	}
	require.Equal(t, []string{"1", "2", "0"}, values(d, out))
	all := letters(d)
	require.Len(t, all, 3)
	for i, want := range []string{"the TimestampExtractor of topic in says of record in/0@1 that its time is the zero time", "its time is 1969-12-31T23:59:59.995Z", `panic: strconv.ParseInt: parsing "what?"`} {
		require.Contains(t, all[i].headers["troupe.error"], want)
	}
	require.Equal(t, "decode", all[0].headers["troupe.step"])
	require.Equal(t, "1", all[0].headers["troupe.attempts"])
}

// An agent without a committed offset starts where it says, else where its topic says, and is there from then on, though nothing happens.
func TestStarts(t *testing.T) {
	t.Parallel()
	define := func(names ...string) (*topology.Topology, texts, map[string]texts) {
		topo := topology.New("test")
		in := topology.NewTopic(topo, "in", codec.String, codec.String, topology.ReadFrom(topology.Latest))
		second := time.UnixMilli(2000)
		starts := map[string]topology.Start{
			"earliest": topology.Earliest, "latest": topology.Latest, "since": topology.Since(second), "between": topology.Since(second.Add(time.Millisecond)), "later": topology.Since(second.Add(time.Hour)),
			"epoch": topology.Since(time.Time{}), "topic": topology.Latest, "none": topology.None,
		}
		outs := map[string]texts{}
		for _, name := range names {
			outs[name] = topology.NewTopic(topo, name, codec.String, codec.String)
			if name == "topic" {
				topology.To(topology.From(in), outs[name])
				continue
			}
			topology.Each(topo, name, in, func(ctx ctxOf, ev event) error {
				outs[name].Send(ctx, ev.Key, ev.Value)
				return nil
			}, topology.Sends(outs[name]), topology.StartAt(starts[name]))
		}
		return topo, in, outs
	}
	pipe := func(d *topologytest.Driver, in texts, ms int64) {
		k, v, err := in.Encode("k", strconv.FormatInt(ms, 10))
		require.NoError(t, err)
		d.PipeRaw("in", 0, time.UnixMilli(ms), k, v)
	}
	first, in, _ := define("earliest")
	d := one(t, first)
	for _, ms := range []int64{1000, 2000, 3000} {
		pipe(d, in, ms)
	}
	names := []string{"earliest", "latest", "since", "between", "later", "epoch", "topic"}
	next, in, outs := define(names...)
	require.NoError(t, d.Upgrade(next))
	d.Crash() // each is where it has started
	pipe(d, in, 4000)
	d.Crash()
	pipe(d, in, 5000)
	got := map[string][]string{}
	for name, out := range outs {
		got[name] = values(d, out)
	}
	all, new := []string{"1000", "2000", "3000", "4000", "5000"}, []string{"4000", "5000"}
	require.Equal(t, map[string][]string{
		"earliest": all, "latest": new, "since": {"2000", "3000", "4000", "5000"}, "between": {"3000", "4000", "5000"}, "later": new, "epoch": all, "topic": new,
	}, got)

	never, _, _ := define("earliest", "none")
	err := d.Upgrade(never)
	require.ErrorContains(t, err, "agent none has no committed offset of in/0, and is declared to start nowhere then (topology.None)")
	require.ErrorContains(t, err, "kafka-consumer-groups.sh --group test --topic in:0 --reset-offsets")
}
