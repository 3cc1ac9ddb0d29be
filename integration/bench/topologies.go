package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// The tasks.
const (
	taskCount     = "count"     // count by key
	taskMap       = "map"       // another value for each, to another topic
	taskWordcount = "wordcount" // split lines, count words: two stages
	taskJSON      = "json"      // add up amounts by key
	taskRow       = "row"       // count by key in a handler with the row of the key
	taskGetSet    = "getset"    // count by key in a handler that reads and writes its state
	taskPass      = "pass"      // count by key and pass the record on, without end
	taskRestore   = "restore"   // nothing but to bring back the table of count
	taskEndless   = "endless"   // count by key, without end
	taskNothing   = "nothing"   // nothing is started: what the source has is the output
	taskPlain     = "plain"     // count by key in memory and nothing else, without Kafka
)

type event = topology.Event[string, []byte]

// order is what the task json reads, total what it keeps.
type (
	order struct {
		User   string `json:"user"`
		Amount int64  `json:"amount"`
		Note   string `json:"note"`
	}
	total struct {
		Count  int64 `json:"count"`
		Amount int64 `json:"amount"`
	}
)

// program is the engine's program for a task.
type program struct {
	plan   *plan.Plan
	source string // what must be committed before all is done
	last   func() []int64
}

// programOf makes it.
func programOf(j job) (*program, error) {
	t := topology.New(j.Name)
	x := &program{source: j.Source}
	switch j.Task {
	case taskCount, taskRestore, taskEndless:
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, "count", input(t, j), func(ctx *topology.Context, ev event) error {
			first()
			counts.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
			return nil
		}, topology.Writes(counts))
	case taskMap:
		out := topology.NewTopic(t, j.Out, codec.String, codec.Bytes)
		topology.To(topology.Map(topology.From(input(t, j)), func(v []byte) []byte {
			first()
			return append(binary.BigEndian.AppendUint64(make([]byte, 0, len(v)), binary.BigEndian.Uint64(v)+1), v[8:]...)
		}), out)
	case taskWordcount:
		wordcount(t, j, x)
	case taskJSON:
		in := topology.NewTopic(t, j.Source, codec.String, codec.JSON[order]())
		totals := topology.NewTable(t, "counts", codec.String, codec.JSON[total]())
		topology.Aggregate(topology.GroupByKey(topology.From(in)), totals, func() total { return total{} }, func(t total, ev topology.Event[string, order]) total {
			first()
			return total{t.Count + 1, t.Amount + ev.Value.Amount}
		})
	case taskRow:
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.EachRow(t, "count", input(t, j), counts, func(_ *topology.Context, _ event, row *topology.Row[int64]) error {
			first()
			n, _ := row.Get()
			row.Set(n + 1)
			return nil
		})
	case taskGetSet:
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, "count", input(t, j), func(ctx *topology.Context, ev event) error {
			first()
			n, _, err := counts.Get(ctx, ev.Key)
			counts.Set(ctx, ev.Key, n+1)
			return err
		}, topology.Writes(counts))
	case taskPass:
		out := topology.NewTopic(t, j.Out, codec.String, codec.Bytes)
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.EachRow(t, "count", input(t, j), counts, func(ctx *topology.Context, ev event, row *topology.Row[int64]) error {
			first()
			n, _ := row.Get()
			row.Set(n + 1)
			out.Send(ctx, ev.Key, ev.Value)
			return nil
		}, topology.Sends(out))
	default:
		return nil, fmt.Errorf("the engine has no program for the task %q", j.Task)
	}
	var err error
	x.plan, err = t.Plan()
	return x, err
}

func input(t *topology.Topology, j job) *topology.Topic[string, []byte] {
	return topology.NewTopic(t, j.Source, codec.String, codec.Bytes)
}

// wordcount has its words in a topic of its own: how far it is read says when all is done.
func wordcount(t *topology.Topology, j job, x *program) {
	lines := topology.NewTopic(t, j.Source, codec.String, codec.String)
	words := topology.NewTopic(t, j.Out, codec.String, codec.String)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Each(t, "split", lines, func(ctx *topology.Context, line topology.Event[string, string]) error {
		for w := range strings.SplitSeq(line.Value, " ") {
			words.Send(ctx, w, "")
		}
		return nil
	}, topology.Sends(words))
	var seen atomic.Int64
	var last [partitions]atomic.Int64
	topology.Each(t, "count", words, func(ctx *topology.Context, w topology.Event[string, string]) error {
		first()
		last[w.Partition()].Store(w.Offset() + 1)
		seen.Add(1)
		counts.Update(ctx, w.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(counts))
	x.source = j.Out
	x.last = func() (at []int64) {
		if seen.Load() < int64(j.Records) {
			return nil
		}
		for i := range last {
			at = append(at, last[i].Load())
		}
		return at
	}
}
