package topologytest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/topologytest"
)

// redriven makes the header of a record that failed in an agent on topic in.
func redriven(topo, agent string) kafka.Header {
	r := kafka.Redrive{
		Topology: topo, Agent: agent, Topic: "in", Letter: "0@0", Attempts: 4,
		History: []kafka.Failure{{Topic: "in", Offset: 7, Agent: agent, Attempts: 4, Error: "before", Letter: "0@0"}},
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return kafka.Header{Key: kafka.RedriveHeader, Value: b}
}

// inOnly is a bench with a topic to pipe to and nothing else.
func inOnly() bench {
	t := topology.New("test")
	return bench{topo: t, in: topology.NewTopic(t, "in", codec.String, codec.String)}
}

// A redriven record is given to the agent it failed in and to no other, however it reads, among records for all.
func TestRedrivenToItsAgentAlone(t *testing.T) {
	t.Parallel()
	b := inOnly()
	seen := map[string][]string{}
	for _, name := range []string{"first", "second"} {
		topology.Each(b.topo, name, b.in, func(_ ctxOf, ev event) error {
			seen[name] = append(seen[name], ev.Value)
			return nil
		})
	}
	topology.Agent(b.topo, "loop", b.in, func(_ *topology.Context, in topology.Stream[string, string]) error {
		for ev := range in.All() {
			seen["loop"] = append(seen["loop"], ev.Value)
		}
		return nil
	})
	d := one(t, b.topo)
	want := map[string][]string{}
	for i := range 60 {
		v := fmt.Sprint(i)
		var headers []kafka.Header
		to := []string{"first", "second", "loop"}
		switch i % 5 {
		case 1, 2:
			to = []string{"second"}
			headers = append(headers, redriven("test", "second"))
		case 3:
			to = []string{"loop"}
			headers = append(headers, kafka.Header{Key: "own", Value: []byte("x")}, redriven("test", "loop"))
		case 4:
			to = nil // of another topology that reads the same topic
			headers = append(headers, redriven("other", "second"))
		}
		for _, name := range to {
			want[name] = append(want[name], v)
		}
		d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte(v), headers...)
		if i == 30 {
			d.Crash()
		}
	}
	require.Equal(t, want, seen)
	require.Empty(t, letters(d))
	d.Crash()
	d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("last"))
	require.Len(t, seen["first"], len(want["first"])+1, "what was passed over is done")
}

// A redriven record that fails again has its history in its new letter, and is no longer marked.
func TestRedrivenFailsAgain(t *testing.T) {
	t.Parallel()
	b := newBench()
	d := each(t, b, func(_ ctxOf, ev event) error {
		if strings.HasPrefix(ev.Value, "bad") {
			return errors.New("still no such customer")
		}
		return nil
	})
	own := kafka.Header{Key: "own", Value: []byte("x")}
	d.PipeRaw("in", 0, d.Now(), nil, []byte("bad"), own, redriven("test", "agent"))
	all := d.Records("test-dead-letters")[0]
	require.Equal(t, 1, all.Len())
	l, original, ok, err := kafka.ParseLetter(all.RawHeaders(0))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, kafka.AppendHeaders(nil, own), original)
	require.Nil(t, all.Key(0))
	require.Equal(t, kafka.StepHandler, l.Step)
	require.Contains(t, l.Error, "still no such customer")
	require.Len(t, l.History, 1)
	require.Equal(t, "before", l.History[0].Error)
	require.Equal(t, "0@0", l.History[0].Letter)
}

// A record redriven for an agent that has another name now goes back to the dead letters, once.
func TestRedrivenForAnAgentThatIsGone(t *testing.T) {
	t.Parallel()
	b := inOnly()
	n := 0
	for _, name := range []string{"one", "two"} {
		topology.Each(b.topo, name, b.in, func(_ ctxOf, _ event) error { n++; return nil })
	}
	d := one(t, b.topo)
	pipe(d, b.in, "a")
	d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("bad"), redriven("test", "renamed"))
	d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("bad2"), redriven("test", "renamed"))
	pipe(d, b.in, "b")
	d.Crash()
	pipe(d, b.in, "c")
	require.Equal(t, 6, n)
	all := letters(d)
	require.Len(t, all, 2)
	require.Equal(t, "bad", all[0].value)
	require.Equal(t, "renamed", all[0].headers["troupe.agent"])
	require.Equal(t, kafka.StepRedrive, all[0].headers["troupe.step"])
	require.Contains(t, all[0].headers["troupe.error"], "redriven for agent renamed, which topology test does not have on topic in")
	require.Contains(t, all[0].headers["troupe.history"], "before")
	require.NotContains(t, all[0].headers, kafka.RedriveHeader)
}

// What a handler passes on of a redriven record is for all agents behind it.
func TestRedriveIsNotPassedOn(t *testing.T) {
	t.Parallel()
	b := inOnly()
	b.out = topology.NewTopic(b.topo, "out", codec.String, codec.String)
	topology.Each(b.topo, "agent", b.in, func(ctx ctxOf, ev event) error {
		var all []kafka.Header
		for h := range ev.Headers() {
			all = append(all, h)
		}
		b.out.Send(ctx, ev.Key, ev.Value, topology.WithHeaders(all...))
		return nil
	}, topology.Sends(b.out))
	d := one(t, b.topo)
	d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("v"), kafka.Header{Key: "own"}, redriven("test", "agent"))
	out := d.Records("out")[0]
	require.Equal(t, 1, out.Len())
	require.Equal(t, kafka.AppendHeaders(nil, kafka.Header{Key: "own"}), out.RawHeaders(0))
}

// The letter tells at which step a record failed.
func TestLetterTellsTheStep(t *testing.T) {
	t.Parallel()
	topo := topology.New("test")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	table := topology.NewTable(topo, "table", codec.String, codec.Int64)
	other := topology.NewTopic(topo, "out", codec.String, codec.String)
	topology.Each(topo, "agent", in, func(ctx ctxOf, ev topology.Event[string, int64]) error {
		switch ev.Value {
		case 1:
			return errors.New("no")
		case 2:
			table.Update(ctx, ev.Key, func(int64, bool) (int64, error) { return 0, errors.New("no") })
		case 3:
			other.Send(ctx, "", "")
		}
		return nil
	}, topology.Writes(table))
	topology.Each(topo, "sends", topology.NewTopic(topo, "in2", codec.String, codec.String), func(ctxOf, event) error { return nil }, topology.Sends(other))
	d := one(t, topo)
	d.PipeRaw("in", 0, d.Now(), []byte("k"), []byte("bad"))
	for v := range 4 {
		topologytest.Pipe(d, in, "k", int64(v))
	}
	var steps []string
	for _, l := range letters(d) {
		steps = append(steps, l.headers["troupe.step"])
	}
	require.Equal(t, []string{kafka.StepDecode, kafka.StepHandler, kafka.StepTable, kafka.StepSend}, steps)
}

// A record that does not fit the dead letters stops its partition, with the reason and the mend; nothing is dropped.
func TestLetterThatDoesNotFit(t *testing.T) {
	t.Parallel()
	b := newBench()
	mended := false
	d := each(t, b, func(ctx ctxOf, ev event) error {
		if len(ev.Value) > 1000 && !mended {
			return errors.New("too much")
		}
		b.out.Send(ctx, ev.Key, ev.Value[:1])
		return nil
	})
	pipe(d, b.in, "a")
	big := strings.Repeat("x", 1048588-600) // what a topic takes at most, less what its own batch needs
	pipe(d, b.in, big, "b")
	require.Zero(t, len(letters(d))) //nolint:testifylint // a letter would be a megabyte of text
	require.Equal(t, []string{"a"}, values(d, b.out))
	for _, why := range d.Stopped() {
		require.ErrorIs(t, why, kafka.ErrLetterTooLarge)
		require.ErrorContains(t, why, "topic test-dead-letters: the record does not fit the topic of dead letters")
		require.ErrorContains(t, why, "raise its max.message.bytes")
		require.ErrorContains(t, why, "too much")
	}
	require.Len(t, d.Stopped(), 1)
	mended = true
	d.Resume()
	require.Equal(t, []string{"a", "x", "b"}, values(d, b.out))
	require.Empty(t, d.Stopped())
}
