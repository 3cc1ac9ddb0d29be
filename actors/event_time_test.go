package actors_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// eventBench sets a timer by each record "AFTER PAYLOAD", and cancels it by "cancel"; "again" in a payload sets it once more. Everything is told in
// one topic. A record or payload that ends in "?" fails now and then, in its handler or inside a table.
func eventBench(kind string, luck func() bool) *plan.Plan {
	topo := topology.New("events")
	in := topology.NewTopic(topo, "in", codec.String, codec.String)
	out := topology.NewTopic(topo, "out", codec.String, codec.String)
	counts := topology.NewTable(topo, "counts", codec.String, codec.Int64)
	alarms := topology.NewTimers(topo, "alarms", codec.String, codec.String, topology.EventTime)
	fate := func(s string) error {
		if strings.HasSuffix(s, "?") && luck() {
			return errors.New("bad luck")
		}
		return nil
	}
	set := func(ctx *topology.Context, e topology.Event[string, string]) error {
		after, payload, _ := strings.Cut(e.Value, " ")
		out.Send(ctx, e.Key, "record "+e.Value)
		if after == "cancel" {
			alarms.Cancel(ctx, e.Key)
			return nil
		}
		ms, err := strconv.Atoi(after)
		if err != nil {
			return err
		}
		alarms.After(ctx, e.Key, time.Duration(ms)*time.Millisecond, payload)
		counts.Update(ctx, e.Key, func(n int64, _ bool) (int64, error) { return n + 1, fate(payload) })
		return fate(payload)
	}
	opts := []topology.AgentOption{topology.Writes(alarms, counts), topology.Sends(out), topology.OnFailure(topology.Policy{Attempts: 100})}
	if kind == "loop" {
		topology.Agent(topo, "set", in, func(ctx *topology.Context, all topology.Stream[string, string]) error {
			for e := range all.All() {
				if err := set(ctx, e); err != nil {
					return err
				}
			}
			return nil
		}, opts...)
	} else {
		topology.Each(topo, "set", in, set, opts...)
	}
	topology.OnTimer(topo, "alarm", alarms, func(ctx *topology.Context, x topology.Timer[string, string]) error {
		out.Send(ctx, x.Key, fmt.Sprintf("call %s %d", x.Payload, x.Due.UnixMilli()))
		if base, n, ok := strings.Cut(x.Payload, "again"); ok && len(n) < 3 {
			alarms.After(ctx, x.Key, 2*time.Millisecond, base+"again"+n+"x")
		}
		counts.Update(ctx, x.Key, func(n int64, _ bool) (int64, error) { return n + 100, fate(x.Payload) })
		return fate(x.Payload)
	}, opts...)
	p, err := topo.Plan()
	if err != nil {
		panic(err)
	}
	return p
}

type eventRecord struct {
	at         int64
	key, value string
}

// foldEvents is what comes of records, one after the other.
func foldEvents(in []eventRecord) (want []string) {
	type timer struct {
		due     int64
		payload string
	}
	pending, now := map[string]timer{}, int64(0)
	for _, r := range in {
		after, payload, _ := strings.Cut(r.value, " ")
		want = append(want, "record "+r.value)
		if delete(pending, r.key); after != "cancel" {
			ms, _ := strconv.Atoi(after)
			pending[r.key] = timer{max(r.at+int64(ms), 0), payload}
		}
		now = max(now, r.at)
		for {
			keys := slices.SortedFunc(maps.Keys(pending), func(a, b string) int {
				return cmp.Or(cmp.Compare(pending[a].due, pending[b].due), cmp.Compare(a, b))
			})
			if len(keys) == 0 || pending[keys[0]].due > now {
				break
			}
			x := pending[keys[0]]
			delete(pending, keys[0])
			want = append(want, fmt.Sprintf("call %s %d", x.payload, x.due))
			if base, n, ok := strings.Cut(x.payload, "again"); ok && len(n) < 3 {
				pending[keys[0]] = timer{x.due + 2, base + "again" + n + "x"}
			}
		}
	}
	return want
}

// Timers in event time and records have one order, that of a fold over the records, whatever fails and crashes, and in whichever order messages
// come.
func TestTimersInEventTime(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"each", "loop"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				bad := 0
				p := eventBench(kind, func() bool {
					bad++
					return bad%3 == 1
				})
				sim, err := actors.NewSim(p, func(*plan.Topic) int32 { return 1 }, time.UnixMilli(1_700_000_000_000))
				require.NoError(t, err)
				defer sim.Close()
				sim.Choose = func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "next") }
				var in []eventRecord
				now := int64(100)
				for range rapid.IntRange(1, 6).Draw(t, "rounds") {
					for range rapid.IntRange(1, 12).Draw(t, "records") {
						now += int64(rapid.IntRange(0, 6).Draw(t, "passes"))
						r := eventRecord{at: now - int64(rapid.SampledFrom([]int{0, 0, 0, 4}).Draw(t, "late")), key: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")}
						if r.value = "cancel"; rapid.IntRange(0, 4).Draw(t, "cancel") > 0 {
							r.value = fmt.Sprintf("%d %d%s", rapid.IntRange(-3, 20).Draw(t, "after"), len(in), rapid.SampledFrom([]string{"", "", "", "again", "?", "again?"}).Draw(t, "kind"))
						}
						in = append(in, r)
						require.NoError(t, sim.Produce(p.Topics[0], 0, r.at, []byte(r.key), []byte(r.value), nil))
					}
					for range rapid.IntRange(0, 60).Draw(t, "steps") {
						sim.Step()
					}
					if rapid.Bool().Draw(t, "crash") {
						require.NoError(t, sim.Crash())
					}
				}
				require.NoError(t, sim.Settle())
				var got []string
				for _, r := range sim.Log(p.Topics[topicID(p, "out")], 0) {
					got = append(got, string(r.Value))
				}
				require.Equal(t, foldEvents(in), got)
			})
		})
	}
}
