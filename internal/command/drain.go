package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

const (
	// drainLook is the time between two looks, drainTimeout what one look may take: the committed offsets wait for an
	// open transaction to end.
	drainLook    = 100 * time.Millisecond
	drainTimeout = 30 * time.Second
	// drainSay is how often at most it is said what is waited for.
	drainSay = 5 * time.Second
)

// drain finds out when a topology has nothing left to do, on this node or another. That is exact, not a guess from silence: the
// group is stable and has members; on this node nothing is tried again or restoring; and for every source, whoever owns it, the
// read-committed end, the read-uncommitted end and the committed offset are one, in two looks that are equal. A record
// that is under way is either not committed at its source, or committed together with what came of it, which then is
// ahead of the offset of whoever reads that. What others feed later is not waited for.
type drain struct {
	plan  *plan.Plan
	admin kafka.Admin
	// busy says what this node holds back; empty: nothing.
	busy func() string
	// stopped says why a partition goes on no more; nil: none is asked.
	stopped func() error
	// say is told what is waited for, now and then; nil: nobody.
	say   func(waits string)
	now   func() time.Time // defaults to time.Now
	every time.Duration    // between two looks; defaults to drainLook
}

// look is what one look found: the position at which each source stands, or what is left to do.
type look struct {
	at    map[kafka.TopicPartition]int64
	waits string // empty: nothing is left
}

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
	if d.now == nil {
		d.now = time.Now
	}
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	before := look{waits: "the first look"}
	said := d.now()
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
			now.waits = oneLine(err)
		case now.waits == "" && before.waits == "" && maps.Equal(now.at, before.at):
			return nil
		default:
			failures = 0
		}
		before = now
		if now.waits != "" && d.say != nil && d.now().Sub(said) >= drainSay {
			d.say(now.waits)
			said = d.now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look looks once.
func (d *drain) look(ctx context.Context) (look, error) {
	if d.stopped != nil {
		if err := d.stopped(); err != nil {
			return look{}, err
		}
	}
	if waits := d.busy(); waits != "" {
		return look{waits: waits}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	n, stable, err := d.admin.Members(ctx, d.plan.Name)
	switch {
	case err != nil:
		return look{}, err
	case n == 0 || !stable:
		return look{waits: fmt.Sprintf("group %s rebalances", d.plan.Name)}, nil
	}
	found, err := d.lag(ctx, n)
	if err != nil || found.waits != "" {
		return found, err
	}
	if waits := d.busy(); waits != "" {
		return look{waits: waits}, nil
	}
	return found, nil
}

// lag compares what is committed with where the logs end; members is how many nodes may own what is left.
func (d *drain) lag(ctx context.Context, members int) (look, error) {
	tps, err := sourcePartitions(ctx, d.admin, d.plan)
	if err != nil {
		return look{}, err
	}
	// In this order: what a commit before this moment has sent is below the ends asked for after it.
	committed, err := d.admin.CommittedOffsets(ctx, d.plan.Name, tps...)
	if err != nil {
		return look{}, err
	}
	stableEnds, err1 := d.admin.Ends(ctx, kafka.ReadCommitted, tps...)
	ends, err2 := d.admin.Ends(ctx, kafka.ReadUncommitted, tps...)
	starts, err3 := d.admin.Starts(ctx, tps...)
	if err := errors.Join(err1, err2, err3); err != nil {
		return look{}, err
	}
	found := look{at: map[kafka.TopicPartition]int64{}}
	var left []string
	for _, tp := range tps {
		at, end := offsetOf(committed, tp), ends[tp]
		switch {
		case at != end && (at >= 0 || starts[tp] != end):
			left = append(left, fmt.Sprintf("%s/%d is done up to %d of %d", tp.Topic, tp.Partition, max(at, starts[tp]), end))
		case stableEnds[tp] != end:
			left = append(left, fmt.Sprintf("a transaction is open in %s/%d", tp.Topic, tp.Partition))
		}
		found.at[tp] = end
	}
	if n := len(left); n > 0 {
		found.waits = left[0]
		if n > 1 {
			found.waits += fmt.Sprintf(", and %s more", count(n-1, "partition", "partitions"))
		}
		if members > 1 {
			found.waits += fmt.Sprintf(" (%d nodes run; node status shows which has it)", members)
		}
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

// sourcePartitions are all partitions of all topics that agents read, those that match patterns too, in the order of the plan.
func sourcePartitions(ctx context.Context, admin kafka.Admin, p *plan.Plan) ([]kafka.TopicPartition, error) {
	p, _, err := actors.Resolve(ctx, p, admin)
	if err != nil {
		return nil, err
	}
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
