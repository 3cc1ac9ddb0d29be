package actors

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/allocs"
	"github.com/troupe-stream/troupe/internal/poison"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// allocations are what 1,000 records may cost in each of steps, sealed every 10,000, on top of what they arrive in, with a tenth for chance.
// Whoever lowers them writes the new figures here.
var allocations = map[string]struct{ count, bytes uint64 }{
	"update":         {1140, 137_000}, // one is the copy of a value of codec.Bytes
	"row":            {2260, 230_000},
	"get-set":        {2490, 253_000},
	"get-set-shared": {33040, 1_532_000},
	"ttl":            {3350, 321_000},
	"channel":        {1190, 486_000},
	"count":          {1160, 221_000},
	"map-to":         {1160, 272_000},
	"split-count":    {2270, 381_000},
	"json":           {3360, 287_000},
	"join":           {2330, 604_000},
}

// TestAllocations fails when the hot path allocates more than it did. It runs alone: the counters are of the whole process.
func TestAllocations(t *testing.T) { //nolint:paralleltest // see above
	if allocs.Raced || poison.On {
		t.Skip("the race detector allocates, and what is poisoned is not measured")
	}
	const keys, batches = 25_000, 100
	for _, x := range steps {
		topo := topology.New("line")
		x.define(topo, topology.NewTopic(topo, "in", codec.String, codec.Bytes))
		l := newLine(t, topo)
		for range 3 * keys / 1000 {
			l.arrive(l.records(1000, keys))
		}
		l.seal()
		var before, after, made runtime.MemStats
		var count, size uint64
		for i := range batches {
			runtime.ReadMemStats(&before)
			b := l.records(1000, keys)
			runtime.ReadMemStats(&made)
			l.arrive(b)
			if i%10 == 9 {
				l.seal()
			}
			runtime.ReadMemStats(&after)
			count, size = count+after.Mallocs-made.Mallocs, size+after.TotalAlloc-made.TotalAlloc
		}
		count, size = count/batches, size/batches
		t.Logf("%s: %d allocations, %d bytes per 1,000 records", x.name, count, size)
		require.LessOrEqual(t, count, allocations[x.name].count, "%s: allocations", x.name)
		require.LessOrEqual(t, size, allocations[x.name].bytes, "%s: bytes", x.name)
	}
}

// kept is what handlers have kept of keys and values, beside copies that nobody else has.
type kept struct {
	texts, copies []string
	bytes, own    [][]byte
}

func (k *kept) text(s string) {
	k.texts, k.copies = append(k.texts, s), append(k.copies, strings.Clone(s))
}

func (k *kept) value(b []byte) {
	k.bytes, k.own = append(k.bytes, b), append(k.own, bytes.Clone(b))
}

// profile is a value with references: shards keep it encoded.
type profile struct {
	Name string
	Tags []string
}

// TestWhatHandlersKeepStays: no memory that a handler has seen is used again. Metadata is, and is overwritten by what comes next; with the
// build tag `poison`, by nonsense as soon as it is dead.
func TestWhatHandlersKeepStays(t *testing.T) {
	t.Parallel()
	k := new(kept)
	topo := topology.New("keeps")
	in := topology.NewTopic(topo, "in", codec.String, codec.Bytes)
	out := topology.NewTopic(topo, "out", codec.String, codec.Bytes)
	names := topology.NewTable(topo, "names", codec.String, codec.String)
	profiles := topology.NewTable(topo, "profiles", codec.String, codec.JSON[profile]())
	topology.Each(topo, "each", in, func(ctx *topology.Context, ev topology.Event[string, []byte]) error {
		k.text(ev.Key)
		k.value(ev.Value)
		names.Update(ctx, ev.Key, func(old string, _ bool) (string, error) {
			k.text(old)
			return fmt.Sprintf("%s %d", ev.Key, ev.Offset()), nil
		})
		out.Send(ctx, ev.Key, ev.Value)
		return nil
	}, topology.Writes(names), topology.Sends(out))
	topology.EachRow(topo, "row", in, profiles, func(_ *topology.Context, ev topology.Event[string, []byte], row *topology.Row[profile]) error {
		k.text(ev.Key)
		old, _ := row.Get()
		k.text(old.Name)
		for _, tag := range old.Tags {
			k.text(tag)
		}
		row.Set(profile{ev.Key, []string{fmt.Sprint(ev.Offset()), ev.Key}})
		return nil
	})
	totals := topology.NewTable(topo, "totals", codec.String, codec.JSON[profile]())
	seen := topology.Peek(topology.From(in), func(ev topology.Event[string, []byte]) {
		k.text(ev.Key)
		for h := range ev.Headers() {
			k.text(h.Key)
			k.value(h.Value)
		}
	})
	mapped := topology.Map(topology.Filter(seen, func(ev topology.Event[string, []byte]) bool {
		k.value(ev.Value)
		return ev.Offset()%5 > 0
	}), func(v []byte) []byte {
		k.value(v)
		return v[1:]
	})
	topology.Aggregate(topology.GroupByKey(mapped), totals, func() profile { return profile{} }, func(acc profile, ev topology.Event[string, []byte]) profile {
		k.text(acc.Name)
		for _, tag := range acc.Tags {
			k.text(tag)
		}
		k.text(ev.Key)
		k.value(ev.Value)
		return profile{ev.Key, []string{string(ev.Value)}}
	})
	joined := topology.Join(topology.From(in), names, func(v []byte, name string) []byte {
		k.value(v)
		k.text(name)
		return append([]byte(name), v...)
	})
	parts := topology.NewChannel[string, []byte](topo, "parts")
	topology.To(topology.Peek(joined, func(ev topology.Event[string, []byte]) {
		k.text(ev.Key)
		k.value(ev.Value)
	}), topology.NewTopic(topo, "joined", codec.String, codec.Bytes))
	topology.Each(topo, "pass", in, func(ctx *topology.Context, ev topology.Event[string, []byte]) error {
		parts.Send(ctx, ev.Key, ev.Value)
		return nil
	}, topology.Sends(parts))
	last := topology.NewTable(topo, "last", codec.String, codec.String, topology.TTL(time.Second, topology.EventTime))
	topology.Each(topo, "get", parts, func(ctx *topology.Context, ev topology.Event[string, []byte]) error {
		k.text(ev.Key)
		k.value(ev.Value)
		old, _, err := last.Get(ctx, ev.Key)
		k.text(old)
		last.Set(ctx, ev.Key, string(ev.Value))
		return err
	}, topology.Reads(last), topology.Writes(last))
	owned := topology.NewTable(topo, "owned", codec.String, codec.String)
	topology.Each(topo, "ahead", in, func(ctx *topology.Context, ev topology.Event[string, []byte]) error {
		old, _, err := owned.Get(ctx, ev.Key)
		k.text(old)
		owned.Set(ctx, ev.Key, ev.Key+old[:min(len(old), 5)])
		return err
	}, topology.Writes(owned), topology.Reads(owned))
	l := newLine(t, topo)
	for i := range 60 {
		plain := l.records(50+i, 100)
		b := &kafka.Batch{Topic: plain.Topic, Next: plain.Next}
		for r := range plain.Len() {
			offset := plain.Records[r].Offset
			b.Append(offset, 1, plain.Key(r), plain.Value(r), kafka.AppendHeaders(nil, kafka.Header{Key: fmt.Sprint("h", offset%3), Value: fmt.Appendf(nil, "%d", offset)}))
		}
		l.arrive(b)
		if i%3 == 2 {
			l.seal()
		}
	}
	require.Greater(t, len(k.texts), 10_000)
	require.Greater(t, len(k.bytes), 10_000)
	require.Equal(t, k.copies, k.texts)
	require.Equal(t, k.own, k.bytes)
}
