package topologytest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// eventTimers has a call for each timer told in the topic out.
func eventTimers(b bench) *timers {
	x := topology.NewTimers(b.topo, "alarms", codec.String, codec.String, topology.EventTime)
	topology.OnTimer(b.topo, "alarm", x, func(ctx *topology.Context, timer topology.Timer[string, string]) error {
		b.out.Send(ctx, timer.Key, "call "+timer.Key+" "+timer.Payload)
		return nil
	}, topology.Sends(b.out))
	return x
}

// setter tells of a record, and sets a timer if its value is a duration.
func (b bench) setter(x *timers) func(ctx ctxOf, ev event) error {
	return func(ctx ctxOf, ev event) error {
		b.out.Send(ctx, ev.Key, ev.Key+" "+ev.Value)
		if d, err := time.ParseDuration(ev.Value); err == nil {
			x.After(ctx, ev.Key, d, ev.Value)
		}
		return nil
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestTimersInEventTime(t *testing.T) {
	t.Parallel()
	b := newBench()
	x := eventTimers(b)
	topology.Each(b.topo, "set", b.in, b.setter(x), topology.Writes(x, b.table), topology.Sends(b.out))
	d := one(t, b.topo)
	at := func(minutes int, key, value string) {
		topologytest.PipeAt(d, b.in, noon.Add(time.Duration(minutes)*time.Minute), key, value)
	}
	at(0, "z", "2m")
	at(0, "a", "2m")
	at(1, "b", "3m")
	d.Advance(time.Hour)
	require.Equal(t, []string{"z 2m", "a 2m", "b 3m"}, values(d, b.out), "the clock of the wall brings nothing")
	d.Crash()
	at(2, "c", "looks")
	require.Equal(t, []string{"c looks", "call a 2m", "call z 2m"}, values(d, b.out)[3:], "of one moment by their keys, behind the record that has brought the time")
	at(0, "d", "1m")
	require.Equal(t, []string{"d 1m", "call d 1m"}, values(d, b.out)[6:], "what a late record sets has passed, and the time is what it was")
	d.Crash()
	at(10, "b", "1m")
	at(1, "e", "late")
	require.Equal(t, []string{"b 1m", "e late"}, values(d, b.out)[8:], "it was replaced before its call")
	at(11, "e", "on time")
	require.Equal(t, []string{"e on time", "call b 1m"}, values(d, b.out)[10:])
	sent := topologytest.Read(d, b.out)
	require.Equal(t, noon.Add(11*time.Minute), sent[len(sent)-1].Timestamp().UTC(), "with the time of the timer")
	d.Crash()
	at(60, "e", "end")
	require.Len(t, values(d, b.out), 13, "each is called once")
	require.Empty(t, d.Failures())
}

// An agent that reads the timers brings their time forward, too, and its records are in order with the calls; one that does not declare them does neither.
func TestWhatBringsEventTimeForward(t *testing.T) {
	t.Parallel()
	b := newBench()
	x := eventTimers(b)
	clock, other := topology.NewTopic(b.topo, "clock", codec.String, codec.String), topology.NewTopic(b.topo, "other", codec.String, codec.String)
	tell := func(ctx ctxOf, ev event) error {
		b.out.Send(ctx, ev.Key, ev.Key+" "+ev.Value)
		return nil
	}
	topology.Each(b.topo, "set", b.in, b.setter(x), topology.Writes(x, b.table), topology.Sends(b.out))
	topology.Each(b.topo, "clock", clock, tell, topology.Reads(x), topology.Sends(b.out))
	topology.Each(b.topo, "other", other, tell, topology.Reads(b.table), topology.Sends(b.out))
	d := one(t, b.topo)
	topologytest.PipeAt(d, b.in, noon, "a", "1m")
	topologytest.PipeAt(d, other, noon.Add(time.Hour), "o", "later")
	require.Equal(t, []string{"a 1m", "o later"}, values(d, b.out))
	topologytest.PipeAt(d, clock, noon.Add(time.Minute), "c", "a minute")
	require.Equal(t, []string{"a 1m", "o later", "c a minute", "call a 1m"}, values(d, b.out))
	require.Empty(t, d.Failures())
}

// A record that is given up brings nothing forward. One without a timestamp has no time to count from.
func TestEventTimeOfRecordsThatFail(t *testing.T) {
	t.Parallel()
	b := newBench()
	x := eventTimers(b)
	set := b.setter(x)
	topology.Each(b.topo, "set", b.in, func(ctx ctxOf, ev event) error {
		if ev.Value == "bad" {
			return topology.Permanent(fmt.Errorf("a bad record"))
		}
		return set(ctx, ev)
	}, topology.Writes(x, b.table), topology.Sends(b.out))
	d := one(t, b.topo)
	topologytest.PipeAt(d, b.in, noon, "a", "1m")
	topologytest.PipeAt(d, b.in, noon.Add(time.Hour), "b", "bad")
	topologytest.PipeAt(d, b.in, noon, "c", "still noon")
	require.Equal(t, []string{"a 1m", "c still noon"}, values(d, b.out))
	d.PipeRaw("in", 0, time.UnixMilli(0), []byte("d"), []byte("1m"))
	failures := d.Failures()
	require.Len(t, failures, 2)
	require.ErrorContains(t, failures[1], "the record at hand has no timestamp to count from")
}

// A batch is one turn: what its records set, and what is due by them, is called behind it.
func TestTimersInEventTimeOfBatches(t *testing.T) {
	t.Parallel()
	b := newBench()
	x := eventTimers(b)
	topology.Agent(b.topo, "set", b.in, func(ctx ctxOf, in topology.Stream[string, string]) error {
		for events := range in.Batches(100, time.Hour) {
			for _, ev := range events {
				if err := b.setter(x)(ctx, ev); err != nil {
					return err
				}
				x.At(ctx, ev.Key, ev.Timestamp().Add(time.Minute), ev.Value)
			}
		}
		return nil
	}, topology.Writes(x, b.table), topology.Sends(b.out))
	d := one(t, b.topo)
	for i := range 4 {
		topologytest.PipeAt(d, b.in, noon.Add(time.Duration(i)*time.Minute), fmt.Sprint("k", i), "v")
	}
	require.Equal(t, []string{"k0 v", "k1 v", "call k0 v", "k2 v", "call k1 v", "k3 v", "call k2 v"}, values(d, b.out))
	require.Empty(t, d.Failures())
}
