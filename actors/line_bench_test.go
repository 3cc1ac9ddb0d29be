package actors

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// line is one partition with its agents and shards in one goroutine, from batches that arrive to bundles that are committed: what a
// record costs without a broker and without mailboxes.
type line struct {
	tb       testing.TB
	state    *partitionState
	workers  []*worker
	programs []plan.Program
	works    [][]*Work
	drives   []bool // whether the agent's program runs, and perhaps waits
	shards   []*shardState
	queue    []any // from at on, to be carried out
	at       int
	round    int64
	offset   int64
	bundles  int
	outputs  int
}

// newLine starts the partition of the last stage of a topology, whose source is the topic in.
func newLine(tb testing.TB, topo *topology.Topology) *line {
	tb.Helper()
	p, err := topo.Plan()
	require.NoError(tb, err)
	stage := p.Stages[len(p.Stages)-1]
	env := &plan.Env{Partitions: make([]int32, len(p.Topics)), MaxBytes: make([]int32, len(p.Topics))}
	for i := range env.Partitions {
		env.Partitions[i], env.MaxBytes[i] = 1, 1<<20
	}
	grant := kafka.Grant{Slot: 1, Incarnation: 1, Sources: []kafka.Position{{TopicPartition: kafka.TopicPartition{Topic: "in"}}}}
	l := &line{tb: tb}
	now := time.UnixMilli(1_700_000_000_000)
	l.state, err = newPartitionState(p, stage, 0, grant, env, []startAt{{first: 0, end: 0}}, "test", now, func(plan.Backoff, int) time.Duration { return 0 })
	require.NoError(tb, err)
	for i, t := range stage.Tables {
		l.shards = append(l.shards, &shardState{table: i, state: t.NewShard(tables.Config{Table: t.Name, Changelog: t.Changelog.ID, MaxBytes: 1 << 20}), guard: unguarded})
	}
	for i, a := range stage.Agents {
		w := newWorker(context.Background(), a, i, 0, stage, 0, env, func(m any) { l.queue = append(l.queue, m) })
		w.now = func() time.Time { return now }
		w.await = func() (*Work, bool) {
			if len(l.works[i]) == 0 {
				return nil, false
			}
			x := l.works[i][0]
			l.works[i] = l.works[i][1:]
			return x, true
		}
		w.queued = func() []*Work { return l.works[i] }
		w.wait = func(done <-chan struct{}) error { // for a reply: it comes while all else goes on
			l.settle()
			<-done
			return nil
		}
		l.workers, l.programs, l.works, l.drives = append(l.workers, w), append(l.programs, a.Program()), append(l.works, nil), append(l.drives, false)
	}
	l.do(l.state.start())
	for i := range stage.Tables {
		l.do(l.state.step(ShardReady{Table: i}))
	}
	l.settle()
	return l
}

func (l *line) do(todo []any) { l.queue = append(l.queue, todo...) }

// settle carries out all that is asked for.
func (l *line) settle() {
	for l.at < len(l.queue) {
		l.at++
		l.one(l.queue[l.at-1])
	}
	clear(l.queue)
	l.queue, l.at = l.queue[:0], 0
}

func (l *line) one(x any) {
	switch x := x.(type) {
	case partitionMessage:
		l.do(l.state.step(x))
	case toAgent:
		w := l.workers[x.agent]
		switch m := x.msg.(type) {
		case Begin:
			w.incarnation = m.Incarnation
		case Work:
			l.works[x.agent] = append(l.works[x.agent], &m)
			if !l.drives[x.agent] { // else it takes the work when it has done what is at hand
				l.drives[x.agent] = true
				require.NoError(l.tb, w.drive(l.programs[x.agent]))
				l.drives[x.agent] = false
			}
		case Flush:
			w.flush(m.Round, m.Final)
		case Expire, crashed: // nothing hangs or crashes here
		}
	case toShard:
		if reply := l.shards[x.table].step(x.msg); reply != nil {
			l.do(l.state.step(reply))
		}
	case toCommitter:
		if o, ok := x.msg.(Offer); ok {
			l.bundles++
			for _, out := range o.Bundle.Outputs {
				l.outputs += out.Len()
			}
			l.do(l.state.step(Decided{Seq: o.Bundle.Seq}))
		}
	case report:
		l.tb.Fatalf("a record has failed: %v", x.failure.err)
	}
}

// arrive lets a batch come.
func (l *line) arrive(b *kafka.Batch) {
	l.do(l.state.step(Arrived{0, b}))
	l.settle()
}

// seal seals the epoch and commits its bundle.
func (l *line) seal() {
	l.round++
	l.do(l.state.step(SealRound{l.round}))
	l.settle()
}

// records makes a batch of n records, of so many keys.
func (l *line) records(n, keys int) *kafka.Batch {
	b := &kafka.Batch{Topic: "in", Next: l.offset, Records: make([]kafka.Record, 0, n), Arena: make([]byte, 0, 28*n)}
	var key [20]byte
	for range n {
		b.Append(l.offset, 1, fmt.Appendf(key[:0], "key-%016d", l.offset*7919%int64(keys)), []byte("8 bytes."), nil)
		l.offset++
	}
	return b
}

// steps are what is measured, each with the table or topic that it goes to.
var steps = []struct {
	name   string
	define func(t *topology.Topology, in *topology.Topic[string, []byte])
}{
	{"update", func(t *topology.Topology, in *topology.Topic[string, []byte]) {
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, "count", in, func(ctx *topology.Context, ev topology.Event[string, []byte]) error {
			counts.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
			return nil
		}, topology.Writes(counts))
	}},
	{"row", func(t *topology.Topology, in *topology.Topic[string, []byte]) {
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.EachRow(t, "count", in, counts, func(_ *topology.Context, _ topology.Event[string, []byte], row *topology.Row[int64]) error {
			n, _ := row.Get()
			row.Set(n + 1)
			return nil
		})
	}},
	{"get-set", func(t *topology.Topology, in *topology.Topic[string, []byte]) { // which is asked ahead
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, "count", in, getSet(counts), topology.Reads(counts), topology.Writes(counts))
	}},
	{"get-set-shared", func(t *topology.Topology, in *topology.Topic[string, []byte]) { // which is not: another may write, too
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, "count", in, getSet(counts), topology.Reads(counts), topology.Writes(counts))
		topology.Each(t, "reset", in, func(*topology.Context, topology.Event[string, []byte]) error { return nil }, topology.Writes(counts))
	}},
	{"ttl", func(t *topology.Topology, in *topology.Topic[string, []byte]) {
		seen := topology.NewTable(t, "seen", codec.String, codec.Int64, topology.TTL(time.Hour, topology.EventTime))
		topology.Each(t, "see", in, func(ctx *topology.Context, ev topology.Event[string, []byte]) error {
			seen.Set(ctx, ev.Key, ev.Offset())
			return nil
		}, topology.Writes(seen))
	}},
	{"channel", func(t *topology.Topology, in *topology.Topic[string, []byte]) {
		parts := topology.NewChannel[string, []byte](t, "parts")
		topology.Each(t, "split", in, func(ctx *topology.Context, ev topology.Event[string, []byte]) error {
			parts.Send(ctx, ev.Key, ev.Value)
			return nil
		}, topology.Sends(parts))
		topology.Count(topology.GroupByKey(topology.From(parts)), topology.NewTable(t, "counts", codec.String, codec.Int64))
	}},
	{"count", func(t *topology.Topology, in *topology.Topic[string, []byte]) {
		f := topology.Filter(topology.From(in), func(e topology.Event[string, []byte]) bool { return len(e.Value) > 0 })
		topology.Count(topology.GroupByKey(f), topology.NewTable(t, "counts", codec.String, codec.Int64))
	}},
	{"map-to", func(t *topology.Topology, in *topology.Topic[string, []byte]) {
		topology.To(topology.Map(topology.From(in), func(v []byte) []byte { return v }), topology.NewTopic(t, "out", codec.String, codec.Bytes))
	}},
	{"split-count", func(t *topology.Topology, in *topology.Topic[string, []byte]) {
		f := topology.FlatMap(topology.From(in), func(v []byte) [][]byte { return [][]byte{v[:4], v[4:]} })
		topology.Count(topology.GroupByKey(f), topology.NewTable(t, "counts", codec.String, codec.Int64))
	}},
	{"json", func(t *topology.Topology, in *topology.Topic[string, []byte]) {
		totals := topology.NewTable(t, "totals", codec.String, codec.JSON[sum]())
		topology.Aggregate(topology.GroupByKey(topology.From(in)), totals, func() sum { return sum{} }, func(acc sum, ev topology.Event[string, []byte]) sum {
			return sum{acc.Count + 1, acc.Bytes + len(ev.Value)}
		})
	}},
	{"join", func(t *topology.Topology, in *topology.Topic[string, []byte]) {
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Count(topology.GroupByKey(topology.From(in)), counts)
		joined := topology.Join(topology.From(in), counts, func(v []byte, _ int64) []byte { return v })
		topology.To(joined, topology.NewTopic(t, "out", codec.String, codec.Bytes))
	}},
}

// getSet counts as a handler does that knows of nothing better than Get and Set.
func getSet(counts *topology.Table[string, int64]) func(*topology.Context, topology.Event[string, []byte]) error {
	return func(ctx *topology.Context, ev topology.Event[string, []byte]) error {
		n, _, err := counts.Get(ctx, ev.Key)
		if err == nil {
			counts.Set(ctx, ev.Key, n+1)
		}
		return err
	}
}

// sum is a value of JSON.
type sum struct{ Count, Bytes int }

// BenchmarkLine measures batches of 1,000 records, each tenth with a seal. One operation is a batch.
func BenchmarkLine(b *testing.B) {
	const batch, keys = 1000, 25_000
	for _, x := range steps {
		b.Run(x.name, func(b *testing.B) {
			t := topology.New("line")
			x.define(t, topology.NewTopic(t, "in", codec.String, codec.Bytes))
			l := newLine(b, t)
			for range 3 * keys / batch {
				l.arrive(l.records(batch, keys))
			}
			l.seal()
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				b.StopTimer()
				r := l.records(batch, keys)
				b.StartTimer()
				l.arrive(r)
				if n++; n%10 == 0 {
					l.seal()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*batch), "ns/record")
		})
	}
}
