package actors

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// mishaps fails user code by chance, a few times per record, and always where a record says so.
type mishaps struct {
	rng  *rand.Rand
	rate int // of 100
	hits map[string]int
	seen map[string]int
}

func (x *mishaps) strike(agent, value string) error {
	if strings.HasSuffix(value, "!"+agent) {
		return errors.New("poison")
	}
	// One less than would make a dead letter: a failure of a whole batch counts for its first record.
	at := strings.Replace(agent, "handler", "update", 1) + " " + value
	if x.hits[at] == 4-2 || x.rng.IntN(100) >= x.rate {
		return nil
	}
	x.hits[at]++
	if x.rng.IntN(2) == 0 {
		x.seen["panic"]++
		panic("by chance")
	}
	x.seen["error"]++
	return errors.New("by chance")
}

// fate is a broker that aborts, loses answers, and refuses what is sick.
func (x *mishaps) fate(bundles []*kafka.Bundle) (kafka.Outcome, bool) {
	for _, b := range bundles {
		if slices.ContainsFunc(b.Outputs, refused) {
			x.seen["sick"]++
			return kafka.Outcome{Verdict: kafka.Aborted, Sick: true, Err: errors.New("refused")}, false
		}
	}
	switch x.rng.IntN(100 / max(x.rate, 1)) {
	case 1:
		x.seen["aborted"]++
		return kafka.Outcome{Verdict: kafka.Aborted, Err: errors.New("rebalance")}, false
	case 2:
		x.seen["unknown, lost"]++
		return kafka.Outcome{Verdict: kafka.Unknown, Err: errors.New("timeout")}, false
	case 3:
		x.seen["unknown, landed"]++
		return kafka.Outcome{Verdict: kafka.Unknown, Err: errors.New("timeout")}, true
	}
	return kafka.Outcome{}, true
}

// refused says whether outputs hold what the broker never takes.
func refused(o *kafka.Outputs) bool {
	for i, r := range o.Records {
		if strings.HasSuffix(string(o.Value(i)), "!broker") && r.Topic == 1 {
			return true
		}
	}
	return false
}

// sends is a broker that refuses what is sick, fails, and loses answers.
func (x *mishaps) sends(o *kafka.Outputs) (written bool, err error) {
	if refused(o) {
		x.seen["sick, sent early"]++
		return false, errors.New("refused")
	}
	switch x.rng.IntN(100 / max(x.rate, 1)) {
	case 1:
		x.seen["not sent early"]++
		return false, errors.New("no leader")
	case 2:
		x.seen["sent early, untold"]++
		return true, errors.New("timeout")
	}
	x.seen["sent early"]++
	return true, nil
}

// witness is a topology whose every effect names the record that it is of: agents "row" (inside a shard), "update" and "pair"
// (a table and a topic at once, in batches) read the same topic.
func witness(x *mishaps) *topology.Topology {
	t := topology.New("witness")
	in := topology.NewTopic(t, "in", codec.String, codec.String)
	row := topology.NewTopic(t, "row", codec.String, codec.String)
	pair := topology.NewTopic(t, "pair", codec.String, codec.String)
	rows := topology.NewTable(t, "rows", codec.String, codec.String)
	updates := topology.NewTable(t, "updates", codec.String, codec.String)
	pairs := topology.NewTable(t, "pairs", codec.String, codec.String)
	add := func(old, value string) string { return old + value + " " }
	topology.EachRow(t, "row", in, rows, func(ctx *topology.Context, ev topology.Event[string, string], r *topology.Row[string]) error {
		old, _ := r.Get()
		r.Set(add(old, ev.Value))
		row.Send(ctx, ev.Key, ev.Value)
		return x.strike("row", ev.Value)
	}, topology.Sends(row))
	topology.Each(t, "update", in, func(ctx *topology.Context, ev topology.Event[string, string]) error {
		updates.Update(ctx, ev.Key, func(old string, _ bool) (string, error) { return add(old, ev.Value), x.strike("update", ev.Value) })
		return x.strike("handler", ev.Value)
	}, topology.Writes(updates))
	topology.Agent(t, "pair", in, func(ctx *topology.Context, s topology.Stream[string, string]) error {
		for evs := range s.Batches(3, 0) {
			for _, ev := range evs {
				old, _, err := pairs.Get(ctx, ev.Key)
				if err != nil {
					return err
				}
				pairs.Set(ctx, ev.Key, add(old, ev.Value))
				pair.Send(ctx, ev.Key, ev.Value)
				if err := x.strike("pair", ev.Value); err != nil {
					return err
				}
			}
		}
		return nil
	}, topology.Writes(pairs), topology.Sends(pair))
	return t
}

// TestCommittedIsDone looks after each single message at what is committed: an agent's committed progress covers a record if and
// only if the record's effects are committed, once, or it is a dead letter of the agent.
func TestCommittedIsDone(t *testing.T) {
	t.Parallel()
	committedIsDone(t, false, "panic", "error", "sick", "aborted", "unknown, lost", "unknown, landed", "crash")
}

// TestCommittedIsSent is the same at-least-once: in tables each record's effects are there once, and in topics before it is committed; perhaps more than
// once, but those of a key in order, as often as they are begun anew.
func TestCommittedIsSent(t *testing.T) {
	t.Parallel()
	committedIsDone(t, true, "panic", "error", "sick", "aborted", "unknown, lost", "unknown, landed", "crash",
		"sent early", "sick, sent early", "not sent early", "sent early, untold")
}

func committedIsDone(t *testing.T, again bool, all ...string) {
	t.Helper()
	seen := map[string]int{}
	MeetAll(t, seen, all, func(t *rapid.T) {
		x := &mishaps{
			rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0)), rate: rapid.SampledFrom([]int{0, 5, 20}).Draw(t, "rate"),
			hits: map[string]int{}, seen: seen,
		}
		topo := witness(x)
		topo.OnFailure(topology.Policy{KeyOrder: rapid.Bool().Draw(t, "key order")})
		p, err := topo.Plan()
		require.NoError(t, err)
		require.Equal(t, "row", p.Topics[1].Name)
		s, err := NewSim(p, func(*plan.Topic) int32 { return 2 }, time.UnixMilli(1_700_000_000_000))
		require.NoError(t, err)
		defer s.Close()
		s.Choose, s.Fate = x.rng.IntN, x.fate
		if again {
			s.Sends = x.sends
			require.NoError(t, s.Crash())
		}
		w := &watch{t: t, s: s, p: p, again: again}
		for n := range rapid.IntRange(1, 10).Draw(t, "records") {
			value := fmt.Sprint(n)
			if rapid.IntRange(0, 7).Draw(t, "poisoned") == 0 {
				value += rapid.SampledFrom([]string{"!row", "!update", "!handler", "!pair", "!broker"}).Draw(t, "kind")
			}
			key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
			require.NoError(t, s.Produce(p.Topics[0], p.Topics[0].Partitioner.Hash([]byte(key), 2), int64(1000+n), []byte(key), []byte(value), nil))
			for range rapid.IntRange(0, 40).Draw(t, "steps") {
				s.Step()
				w.look()
			}
			if rapid.IntRange(0, 9).Draw(t, "crash") == 0 {
				seen["crash"]++
				require.NoError(t, s.Crash())
				w.look()
			}
		}
		require.NoError(t, s.Settle())
		w.look()
		w.end()
	})
}

// watch holds what is committed against the log of the source.
type watch struct {
	t     *rapid.T
	s     *Sim
	p     *plan.Plan
	again bool // at-least-once
}

func (w *watch) topic(name string) *plan.Topic {
	for _, x := range w.p.Topics {
		if x.Name == name {
			return x
		}
	}
	w.t.Fatalf("no topic %s", name)
	return nil
}

// marks are the records of a partition that an agent has left committed effects of, in order.
func (w *watch) marks(agent string, part int32) []string {
	table := map[string]string{"row": "rows", "update": "updates", "pair": "pairs"}[agent]
	image := w.image(table, part)
	var inTable []string
	for _, v := range image.All() {
		inTable = append(inTable, strings.Fields(string(v))...)
	}
	if agent == "update" {
		return inTable
	}
	var inTopic []string
	for _, r := range w.s.Log(w.topic(agent), part) {
		inTopic = append(inTopic, string(r.Value))
	}
	if w.again {
		require.Subset(w.t, inTopic, inTable, "agent %s: committed before it is sent", agent)
		return inTable
	}
	require.ElementsMatch(w.t, inTable, inTopic, "agent %s: table and topic are not committed together", agent)
	return inTopic
}

func (w *watch) image(table string, part int32) *tables.Image {
	image := new(tables.Image)
	image.Apply(w.s.batch(w.topic("witness-"+table+"-changelog"), part, 0))
	return image
}

// letters are the dead letters of an agent from a partition.
func (w *watch) letters(agent string, part int32) []string {
	var all []string
	for at := range w.s.Env().Partitions[w.topic("witness-dead-letters").ID] {
		b := w.s.batch(w.topic("witness-dead-letters"), at, 0)
		for i := range b.Records {
			headers := map[string]string{}
			for h := range b.Headers(i) {
				headers[h.Key] = string(h.Value)
			}
			if headers["troupe.agent"] == agent && headers["troupe.partition"] == fmt.Sprint(part) {
				require.Equal(w.t, "4", headers["troupe.attempts"])
				all = append(all, string(b.Value(i)))
			}
		}
	}
	return all
}

func (w *watch) look() {
	for part := range int32(2) {
		pos := w.s.offsets[kafka.TopicPartition{Topic: "in", Partition: part}]
		meta, err := kafka.ParseMeta(pos.Metadata)
		require.NoError(w.t, err)
		for _, agent := range []string{"row", "update", "pair"} {
			done := progressOf(meta.Agents[agent], pos.Offset)
			require.GreaterOrEqual(w.t, done.upTo, pos.Offset)
			var want []string
			for i, r := range w.s.Log(w.topic("in"), part) {
				if done.has(int64(i)) {
					want = append(want, string(r.Value))
				}
			}
			letters := w.letters(agent, part)
			if w.again { // some may be there before it is committed, or twice
				slices.Sort(letters)
				letters = slices.DeleteFunc(slices.Compact(letters), func(v string) bool { return !slices.Contains(want, v) })
			}
			got := append(w.marks(agent, part), letters...)
			require.ElementsMatch(w.t, want, got, "agent %s on %d: committed up to %v", agent, part, done)
		}
	}
}

// end: all is done, in order, the poison records are dead letters and nothing else is, tables are what changelogs say.
func (w *watch) end() {
	chokes := map[string][]string{"row": {"!row", "!broker"}, "update": {"!update", "!handler"}, "pair": {"!pair"}}
	for part := range int32(2) {
		log := w.s.Log(w.topic("in"), part)
		require.Equal(w.t, int64(len(log)), max(w.s.offsets[kafka.TopicPartition{Topic: "in", Partition: part}].Offset, 0))
		for agent, suffixes := range chokes {
			good, bad := map[string]string{}, []string(nil)
			for _, r := range log {
				if v := string(r.Value); strings.Contains(v, "!") && (strings.HasSuffix(v, suffixes[0]) || strings.HasSuffix(v, suffixes[len(suffixes)-1])) {
					bad = append(bad, v)
				} else {
					good[string(r.Key)] += v + " "
				}
			}
			letters := w.letters(agent, part)
			if w.again {
				slices.Sort(letters)
				letters = slices.Compact(letters)
			}
			require.ElementsMatch(w.t, bad, letters)
			if w.again && agent != "update" {
				w.inOrder(agent, part, good)
			}
			table := map[string]string{"row": "rows", "update": "updates", "pair": "pairs"}[agent]
			require.Equal(w.t, good, w.table(table, part), table)
			folded := map[string]string{}
			for k, v := range w.image(table, part).All() {
				folded[string(k)] = string(v)
			}
			require.Equal(w.t, good, folded, "the changelog of %s", table)
		}
	}
}

// inOrder: what was sent of a key, each once, is in order, whether the first of each counts or the last.
func (w *watch) inOrder(agent string, part int32, good map[string]string) {
	first, last := map[string][]string{}, map[string][]string{}
	for _, r := range w.s.Log(w.topic(agent), part) {
		k, v := string(r.Key), string(r.Value)
		if !slices.Contains(first[k], v) {
			first[k] = append(first[k], v)
		}
		last[k] = append(slices.DeleteFunc(last[k], func(x string) bool { return x == v }), v)
	}
	for _, sent := range []map[string][]string{first, last} {
		got := map[string]string{}
		for k, all := range sent {
			got[k] = strings.Join(all, " ") + " "
		}
		require.Equal(w.t, good, got, "what %s has sent", agent)
	}
}

func (w *watch) table(name string, part int32) map[string]string {
	all := map[string]string{}
	for _, tb := range w.p.Tables {
		if tb.Name != name {
			continue
		}
		q := new(tables.Scan[string])
		require.NoError(w.t, w.s.Query(tb, part, q))
		require.NoError(w.t, q.Err)
		for i, k := range q.Keys {
			all[string(k)] = q.Values[i]
		}
	}
	return all
}
