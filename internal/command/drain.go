package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

const (
	// drainLook is the time between two looks, drainTimeout what one look may take: the committed offsets wait for an
	// open transaction to end.
	drainLook    = 100 * time.Millisecond
	drainTimeout = 30 * time.Second
)

// drain finds out when a topology has nothing left to do. That is exact, not a guess from silence: the group has one
// member, this node, and is stable; nothing is tried again or restoring; and for every source the read-committed end,
// the read-uncommitted end and the committed offset are one, in two looks that are equal. A record that is under way is
// either not committed at its source, or committed together with what came of it, which then is ahead of the offset of
// whoever reads that.
type drain struct {
	plan  *plan.Plan
	admin kafka.Admin
	busy  func() bool
	// stopped says why a partition goes on no more; nil: none is asked.
	stopped func() error
	every   time.Duration // between two looks; defaults to drainLook
}

// look is what one look found: the position at which each source stands.
type look map[kafka.TopicPartition]int64

// wait returns nil when the topology is drained, after fed is closed, or an error when ctx ends or the broker cannot be
// asked.
func (d *drain) wait(ctx context.Context, fed <-chan struct{}) error {
	select {
	case <-fed:
	case <-ctx.Done():
		return ctx.Err()
	}
	if d.every == 0 {
		d.every = drainLook
	}
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	var before look
	for failures := 0; ; {
		now, err := d.look(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			// A broker that is away for a moment is the node's trouble as well, which decides when to give up.
			if failures++; failures > 20 {
				return fmt.Errorf("--drain: %w", err)
			}
			before = nil
		case now != nil && before != nil && maps.Equal(now, before):
			return nil
		default:
			before, failures = now, 0
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look looks once: nil if something is left to do.
func (d *drain) look(ctx context.Context) (look, error) {
	if d.stopped != nil {
		if err := d.stopped(); err != nil {
			return nil, err
		}
	}
	if d.busy() {
		return nil, nil //nolint:nilnil // nothing found and nothing wrong
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	n, stable, err := d.admin.Members(ctx, d.plan.Name)
	if err != nil || n != 1 || !stable {
		return nil, err
	}
	tps, err := sourcePartitions(ctx, d.admin, d.plan)
	if err != nil {
		return nil, err
	}
	// In this order: what a commit before this moment has sent is below the ends asked for after it.
	committed, err := d.admin.CommittedOffsets(ctx, d.plan.Name, tps...)
	if err != nil {
		return nil, err
	}
	stableEnds, err1 := d.admin.Ends(ctx, kafka.ReadCommitted, tps...)
	ends, err2 := d.admin.Ends(ctx, kafka.ReadUncommitted, tps...)
	starts, err3 := d.admin.Starts(ctx, tps...)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	found := look{}
	for _, tp := range tps {
		at, end := offsetOf(committed, tp), ends[tp]
		if stableEnds[tp] != end || at != end && (at >= 0 || starts[tp] != end) {
			return nil, nil //nolint:nilnil // something is left
		}
		found[tp] = end
	}
	if d.busy() {
		return nil, nil //nolint:nilnil // something is left
	}
	return found, nil
}

// offsetOf is the committed offset of a topic-partition, -1 if there is none.
func offsetOf(committed map[kafka.TopicPartition]kafka.Position, tp kafka.TopicPartition) int64 {
	if p, ok := committed[tp]; ok {
		return p.Offset
	}
	return -1
}

// sourcePartitions are all partitions of all topics that agents read, in the order of the plan.
func sourcePartitions(ctx context.Context, admin kafka.Admin, p *plan.Plan) ([]kafka.TopicPartition, error) {
	var names []string
	for _, t := range p.Topics {
		if t.Source {
			names = append(names, t.Name)
		}
	}
	return partitionsOf(ctx, admin, names...)
}

// partitionsOf are all partitions of topics. A topic that does not exist is an error.
func partitionsOf(ctx context.Context, admin kafka.Admin, names ...string) ([]kafka.TopicPartition, error) {
	states, err := admin.Topics(ctx, names...)
	if err != nil {
		return nil, err
	}
	var tps []kafka.TopicPartition
	for _, name := range names {
		state, ok := states[name]
		if !ok {
			return nil, fmt.Errorf("topic %s does not exist on this broker: run the node once, or check --brokers and --data-dir", name)
		}
		for i := range state.Partitions {
			tps = append(tps, kafka.TopicPartition{Topic: name, Partition: i})
		}
	}
	return tps, nil
}
