package actors_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// trouble decides, for each call of user code, whether it fails this time.
type trouble struct {
	t     *rapid.T
	rate  int // of 100
	calls int
	hits  int
	done  map[string]bool // has failed by chance already: one more failure each must not make a dead letter
}

// strike fails or panics now and then, and always for poison of its kind.
func (x *trouble) strike(value, kind string) error {
	if strings.Contains(value, "poison-"+kind) {
		return fmt.Errorf("poison %q", value)
	}
	x.calls++
	if x.rate == 0 || x.done[kind+value] || rapid.IntRange(0, 99).Draw(x.t, "trouble") >= x.rate {
		return nil
	}
	x.hits++
	x.done[kind+value] = true
	if x.calls%2 == 0 {
		panic("by chance")
	}
	return errors.New("by chance")
}

// shop is a topology with everything that a partition has to keep in order: two stages, two tables in one agent, two agents
// on one topic, batches, a row handler that sends, a handler that reads what it writes, operators.
func shop(x *trouble) *topology.Topology {
	t := topology.New("shop")
	in := topology.NewTopic(t, "in", codec.String, codec.String)
	mid := topology.NewTopic(t, "mid", codec.String, codec.String)
	out := topology.NewTopic(t, "out", codec.String, codec.String)
	copies := topology.NewTopic(t, "copies", codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	lists := topology.NewTable(t, "lists", codec.String, codec.JSON[[]string](), topology.Ordered())
	rows := topology.NewTable(t, "rows", codec.String, codec.Int64)
	total := topology.NewTable(t, "total", codec.String, codec.Int64)

	topology.Each(t, "forward", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		mid.Send(ctx, ev.Key, ev.Value)
		return x.strike(ev.Value, "forward")
	}, topology.Sends(mid))
	topology.Agent(t, "copy", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
		for evs := range s.Batches(3, time.Second) {
			for _, ev := range evs {
				copies.Send(ctx, ev.Key, ev.Value)
				if err := x.strike(ev.Value, "copy"); err != nil {
					return err
				}
			}
		}
		return nil
	}, topology.Sends(copies))
	topology.Agent(t, "both", mid, func(ctx *topology.Context, s topology.Stream[string, string]) error {
		for ev := range s.All() {
			counts.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, x.strike(ev.Value, "update") })
			list, _, err := lists.Get(ctx, ev.Key)
			if err != nil {
				return err
			}
			lists.Set(ctx, ev.Key, append(list, ev.Value))
			again, ok, err := lists.Get(ctx, ev.Key)
			if err != nil {
				return err
			}
			if !ok || len(again) != len(list)+1 {
				panic(fmt.Sprintf("a handler does not see its own write: %v after %v", again, list))
			}
			if err := x.strike(ev.Value, "both"); err != nil {
				return err
			}
		}
		return nil
	}, topology.Writes(counts, lists))
	topology.EachRow(t, "row", mid, rows, func(ctx *topology.Context, ev topology.Event[string, string], row *topology.Row[int64]) error {
		n, _ := row.Get()
		row.Set(n + 1)
		out.Send(ctx, ev.Key, fmt.Sprint(n+1, " ", ev.Value))
		return x.strike(ev.Value, "row")
	}, topology.Sends(out))
	topology.Count(topology.GroupBy(topology.From(copies), func(v string) string { return v }), total)
	return t
}

// agentOf says which agent chokes on poison of a kind.
var agentOf = map[string]string{"forward": "forward", "copy": "copy", "update": "both", "both": "both", "row": "row"}

// TestPartitionAnyOrder runs the state machines of a node with messages delivered in any order that mailboxes allow, handlers
// that fail by chance and for good, commits that are aborted or have an unknown outcome, and crashes at any moment; the
// end must be what a plain loop over the input makes.
func TestPartitionAnyOrder(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	actors.MeetAll(t, seen, []string{"sick", "aborted", "unknown, not committed", "unknown, committed", "failures by chance", "poison", "crash"}, func(t *rapid.T) {
		x := &trouble{t: t, done: map[string]bool{}, rate: rapid.SampledFrom([]int{0, 0, 2, 10}).Draw(t, "rate")}
		p, err := shop(x).Plan()
		require.NoError(t, err)
		sim, err := actors.NewSim(p, func(*plan.Topic) int32 { return 2 }, time.UnixMilli(1_700_000_000_000))
		require.NoError(t, err)
		defer sim.Close()
		sim.Choose = func(n int) int {
			if n == 1 {
				return 0
			}
			return rapid.IntRange(0, n-1).Draw(t, "next")
		}
		unlucky := rapid.SampledFrom([]int{0, 20}).Draw(t, "unlucky")
		sim.Fate = func(bundles []*kafka.Bundle) (kafka.Outcome, bool) {
			if sick(p, bundles) {
				seen["sick"]++
				return kafka.Outcome{Verdict: kafka.Aborted, Sick: true, Err: errors.New("refused")}, false
			}
			if rapid.IntRange(0, 99).Draw(t, "fate") >= unlucky {
				return kafka.Outcome{}, true
			}
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				seen["aborted"]++
				return kafka.Outcome{Verdict: kafka.Aborted, Err: errors.New("rebalance")}, false
			case 1:
				seen["unknown, not committed"]++
				return kafka.Outcome{Verdict: kafka.Unknown, Err: errors.New("timeout")}, false
			}
			seen["unknown, committed"]++
			return kafka.Outcome{Verdict: kafka.Unknown, Err: errors.New("timeout")}, true
		}
		r := &run{t: t, p: p, sim: sim, x: x}
		r.drive(seen)
		r.compare()
		if x.hits > 0 {
			seen["failures by chance"]++
		}
	})
}

// sick says whether bundles hold a record that the broker refuses.
func sick(p *plan.Plan, bundles []*kafka.Bundle) bool {
	for _, b := range bundles {
		for _, o := range b.Outputs {
			for i, rec := range o.Records {
				if p.Topics[rec.Topic].Name == "out" && strings.Contains(string(o.Value(i)), "poison-sick") {
					return true
				}
			}
		}
	}
	return false
}

// run is one history.
type run struct {
	t    *rapid.T
	p    *plan.Plan
	sim  *actors.Sim
	x    *trouble
	sent []string // value of each record, in order per key
	keys []string
}

func (r *run) topic(name string) *plan.Topic {
	for _, x := range r.p.Topics {
		if x.Name == name {
			return x
		}
	}
	r.t.Fatalf("no topic %s", name)
	return nil
}

func (r *run) drive(seen map[string]int) {
	in := r.topic("in")
	for n := range rapid.IntRange(1, 12).Draw(r.t, "records") {
		key, value := fmt.Sprint("k", rapid.IntRange(0, 3).Draw(r.t, "key")), fmt.Sprint("v", n)
		if rapid.IntRange(0, 9).Draw(r.t, "poisoned") == 0 {
			value += "poison-" + rapid.SampledFrom([]string{"forward", "copy", "update", "both", "row", "sick"}).Draw(r.t, "kind")
			seen["poison"]++
		}
		r.sent, r.keys = append(r.sent, value), append(r.keys, key)
		require.NoError(r.t, r.sim.Produce(in, in.Partitioner.Hash([]byte(key), 2), int64(1000+n), []byte(key), []byte(value), nil))
		for range rapid.IntRange(0, 12).Draw(r.t, "steps") {
			r.sim.Step()
		}
		if rapid.IntRange(0, 14).Draw(r.t, "crash") == 0 {
			seen["crash"]++
			require.NoError(r.t, r.sim.Crash())
		}
	}
	if err := r.sim.Settle(); err != nil {
		f := r.sim.Failures()
		r.t.Fatalf("%v; last failures: %v", err, f[max(0, len(f)-8):])
	}
}

// compare holds the end against a plain fold.
func (r *run) compare() {
	want := struct {
		counts, rows, total map[string]int64
		lists               map[string][]string
		letters             map[string]int
		out, copies         map[string][]string
	}{map[string]int64{}, map[string]int64{}, map[string]int64{}, map[string][]string{}, map[string]int{}, map[string][]string{}, map[string][]string{}}
	for i, v := range r.sent {
		k := r.keys[i]
		bad := func(kinds ...string) bool {
			for _, kind := range kinds {
				if strings.Contains(v, "poison-"+kind) {
					want.letters[agentOr(kind)+" "+v]++
					return true
				}
			}
			return false
		}
		if !bad("copy") {
			want.copies[k] = append(want.copies[k], v)
			want.total[v]++
		}
		if bad("forward") {
			continue
		}
		if !bad("update", "both") {
			want.counts[k]++
			want.lists[k] = append(want.lists[k], v)
		}
		if !bad("row", "sick") {
			want.rows[k]++
			want.out[k] = append(want.out[k], fmt.Sprint(want.rows[k], " ", v))
		}
	}
	for _, err := range r.sim.Failures() {
		r.t.Logf("failure: %v", err)
	}
	require.Equal(r.t, want.counts, table[int64](r, "counts"))
	require.Equal(r.t, want.rows, table[int64](r, "rows"))
	require.Equal(r.t, want.total, table[int64](r, "total"))
	require.Equal(r.t, want.lists, table[[]string](r, "lists"))
	require.Equal(r.t, want.out, r.log("out"))
	require.Equal(r.t, want.copies, r.log("copies"))
	letters := map[string]int{}
	for _, rec := range r.records("shop-dead-letters") {
		b := new(kafka.Batch)
		b.Append(0, 0, rec.Key, rec.Value, rec.RawHeaders)
		for h := range b.Headers(0) {
			if h.Key == "troupe.agent" {
				letters[string(h.Value)+" "+string(rec.Value)]++
			}
		}
	}
	require.Equal(r.t, want.letters, letters)
	r.changelogs()
}

func agentOr(kind string) string {
	if kind == "sick" {
		return "row"
	}
	return agentOf[kind]
}

func (r *run) records(topic string) (all []actors.SimRecord) {
	x := r.topic(topic)
	for part := range r.sim.Env().Partitions[x.ID] {
		all = append(all, r.sim.Log(x, part)...)
	}
	return all
}

func (r *run) log(topic string) map[string][]string {
	all := map[string][]string{}
	for _, rec := range r.records(topic) {
		all[string(rec.Key)] = append(all[string(rec.Key)], string(rec.Value))
	}
	return all
}

func table[V any](r *run, name string) map[string]V {
	all := map[string]V{}
	for _, tb := range r.p.Tables {
		for part := range r.sim.Env().Partitions[tb.Changelog.ID] {
			if tb.Name != name {
				continue
			}
			q := new(tables.Scan[V])
			require.NoError(r.t, r.sim.Query(tb, part, q))
			require.NoError(r.t, q.Err)
			for i, k := range q.Keys {
				all[string(k)] = q.Values[i]
			}
		}
	}
	return all
}

// changelogs: what the changelogs say is what the tables hold.
func (r *run) changelogs() {
	for _, tb := range r.p.Tables {
		for part := range r.sim.Env().Partitions[tb.Changelog.ID] {
			image := new(tables.Image)
			b := &kafka.Batch{}
			for _, rec := range r.sim.Log(tb.Changelog, part) {
				b.Append(rec.Offset, rec.Timestamp, rec.Key, rec.Value, rec.RawHeaders)
			}
			image.Apply(b)
			n := 0
			if tb.Name == "lists" {
				q := new(tables.Scan[[]string])
				require.NoError(r.t, r.sim.Query(tb, part, q))
				n = len(q.Keys)
			} else {
				q := new(tables.Scan[int64])
				require.NoError(r.t, r.sim.Query(tb, part, q))
				n = len(q.Keys)
			}
			require.Equal(r.t, n, image.Len(), "%s/%d", tb.Name, part)
		}
	}
}
