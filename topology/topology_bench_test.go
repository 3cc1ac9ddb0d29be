package topology_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// endless hands out one batch again and again, and drops what is asked for: the cost of programs alone.
type endless struct {
	recs    []plan.Rec
	next    int
	effects plan.Effects
	env     plan.Env
}

func (e *endless) Next() (plan.Rec, bool) {
	e.effects.Out.Reset()
	for _, ops := range e.effects.Ops {
		if ops != nil {
			ops.Reset()
		}
	}
	if e.next == len(e.recs) {
		e.next = 0
		return plan.Rec{}, false
	}
	e.next++
	return e.recs[e.next-1], true
}

func (e *endless) NextMany(int, time.Duration) []plan.Rec  { return nil }
func (e *endless) Effects() *plan.Effects                  { return &e.effects }
func (e *endless) Context() context.Context                { return context.Background() }
func (e *endless) Ask(_ *plan.Table, _ tables.Query) error { return nil }
func (e *endless) Now() time.Time                          { return time.Time{} }
func (e *endless) Partition() int32                        { return 0 }
func (e *endless) Env() *plan.Env                          { return &e.env }

func bench(b *testing.B, topo *topology.Topology, agent string) {
	b.Helper()
	p, err := topo.Plan()
	if err != nil {
		b.Fatal(err)
	}
	in := &endless{effects: plan.Effects{Out: new(kafka.Outputs), Ops: make([]tables.Ops, len(p.Tables))}}
	for range p.Topics {
		in.env.Partitions, in.env.MaxBytes = append(in.env.Partitions, 1), append(in.env.MaxBytes, 1<<20)
	}
	batch := &kafka.Batch{Topic: "in"}
	for i := range 1000 {
		batch.Append(int64(i), int64(i), fmt.Append(nil, "key", i%100), []byte("some value"), nil)
		in.recs = append(in.recs, plan.Rec{B: batch, I: i})
	}
	for _, a := range p.Agents {
		if a.Name != agent {
			continue
		}
		program := a.Program()
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if err := program.Run(in); err != nil {
				b.Fatal(err)
			}
			n += len(in.recs)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
	}
}

// One operation is a run of 1000 records.
func BenchmarkPrograms(b *testing.B) {
	b.Run("each-send", func(b *testing.B) {
		topo := topology.New("bench")
		x := topicsOf(topo, "in", "out")
		topology.Each(topo, "each", x[0], func(ctx ctxOf, ev event) error { x[1].Send(ctx, ev.Key, ev.Value); return nil }, topology.Sends(x[1]))
		bench(b, topo, "each")
	})
	b.Run("each-row", func(b *testing.B) {
		topo := topology.New("bench")
		table := topology.NewTable(topo, "rows", codec.String, codec.Int64)
		topology.EachRow(topo, "each", topicsOf(topo, "in")[0], table, func(ctxOf, event, *topology.Row[int64]) error { return nil })
		bench(b, topo, "each")
	})
	b.Run("flow-count", func(b *testing.B) {
		topo := topology.New("bench")
		f := topology.Filter(topology.From(topicsOf(topo, "in")[0]), func(e event) bool { return e.Value != "" })
		topology.Count(topology.GroupByKey(f), topology.NewTable(topo, "rows", codec.String, codec.Int64))
		bench(b, topo, "count-rows")
	})
	b.Run("flow-to", func(b *testing.B) {
		topo := topology.New("bench")
		x := topicsOf(topo, "in", "out")
		topology.To(topology.Map(topology.From(x[0]), func(s string) string { return s }), x[1])
		bench(b, topo, "to-out")
	})
}
