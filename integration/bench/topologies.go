package main

import (
	"fmt"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

// The tasks.
const (
	taskCount = "count"
)

type event = topology.Event[string, []byte]

// topologyOf is the engine's program for a task.
func topologyOf(j job) (*plan.Plan, error) {
	t := topology.New(j.Name)
	in := topology.NewTopic(t, j.Source, codec.String, codec.Bytes)
	switch j.Task {
	case taskCount:
		counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
		topology.Each(t, "count", in, func(ctx *topology.Context, ev event) error {
			first()
			counts.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
			return nil
		}, topology.Writes(counts))
	default:
		return nil, fmt.Errorf("the engine has no program for the task %q", j.Task)
	}
	return t.Plan()
}
