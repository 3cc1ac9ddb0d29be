package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/internal/crashpoint"
)

// pollFor is how long ReadAll lets one Poll wait before it looks at its context again.
const pollFor = 100 * time.Millisecond

// slotRounds is how often SyncSlots appends and reads again before it gives up. Each round that loses to another node
// sees that node's slots, so more than a few mean that the records do not come back.
const slotRounds = 20

// SyncSlots brings the slot map of a topology up to date for the stages of a plan, and returns it: it creates the slots
// topic if there is none, reads the map, appends slots for partitions of stages that have none, reads again until all
// have one, and grows the topic to one partition per slot. Any number of nodes may do it at once; all end with one map.
//
// read returns all records of a topic-partition from its beginning up to the offset end, as ReadAll does. SyncSlots
// blocks until it is done or ctx ends. A plan that contradicts the map is an error that names every contradiction; then
// nothing was written.
//
// patterns are those of the plan: the map tells which of their partitions were found later than the pattern itself was read first (SlotMap.Later).
func SyncSlots(ctx context.Context, admin Admin, read func(ctx context.Context, tp TopicPartition, end int64) ([]*Batch, error), topology string, stages []StageSize, patterns ...SlotPattern) (*SlotMap, error) {
	s := slotSync{admin: admin, read: read, topology: topology, tp: TopicPartition{Topic: SlotsTopic(topology)}}
	m, err := s.sync(ctx, stages, patterns)
	if err != nil {
		return nil, fmt.Errorf("slot map of %s in topic %s: %w", topology, s.tp.Topic, err)
	}
	return m, nil
}

type slotSync struct {
	admin    Admin
	read     func(ctx context.Context, tp TopicPartition, end int64) ([]*Batch, error)
	topology string
	tp       TopicPartition // the partition that has the map
}

func (s slotSync) sync(ctx context.Context, stages []StageSize, patterns []SlotPattern) (*SlotMap, error) {
	if err := s.create(ctx, stages); err != nil {
		return nil, err
	}
	for range slotRounds {
		m, err := s.load(ctx)
		if err != nil {
			return nil, err
		}
		missing, contradictions := m.Plan(stages, patterns...)
		if len(contradictions) > 0 {
			return nil, errors.Join(contradictions...)
		}
		first := m.unbegun(patterns)
		if len(missing)+len(first) == 0 {
			return m, s.grow(ctx, m.Len())
		}
		out := new(Outputs)
		for _, e := range missing {
			key, value := e.Encode()
			out.Append(0, s.tp.Partition, 0, key, value, nil)
		}
		for _, name := range first { // behind its topics: until it is there, all that are found are those of the first start
			key, value := begun(name)
			out.Append(0, s.tp.Partition, 0, key, value, nil)
		}
		if _, err := s.admin.Produce(ctx, []string{s.tp.Topic}, out); err != nil {
			return nil, fmt.Errorf("append %d slots: %w", len(missing), err)
		}
		crashpoint.Hit("create.slots-appended")
	}
	return nil, fmt.Errorf("slots that were appended %d times are still not in it; does another program write this topic?", slotRounds)
}

// create makes the topic if it is missing, and checks one that exists.
func (s slotSync) create(ctx context.Context, stages []StageSize) error {
	have, err := s.admin.Topics(ctx, s.tp.Topic)
	if err != nil {
		return err
	}
	if x, ok := have[s.tp.Topic]; ok {
		return s.check(x)
	}
	n := LeaderSlot + 1
	for _, st := range stages {
		n += st.Partitions
	}
	crashpoint.Hit("create.slots-missing")
	if err := s.admin.Create(ctx, SlotsSpec(s.topology, n)); err != nil {
		return err
	}
	crashpoint.Hit("create.slots-made")
	return nil
}

// SlotsSpec describes the slots topic of a topology: nothing in it is ever deleted.
func SlotsSpec(topology string, partitions int32) TopicSpec {
	config := map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
	return TopicSpec{Name: SlotsTopic(topology), Partitions: partitions, Config: config}
}

// check refuses a topic from which records of the map may vanish: then slots would be numbered anew.
func (s slotSync) check(x TopicState) error {
	for _, want := range []struct{ name, value string }{{"cleanup.policy", "delete"}, {"retention.ms", "-1"}, {"retention.bytes", "-1"}} {
		if got, known := x.Config[want.name]; known && got != want.value {
			return fmt.Errorf("%s is %s, which loses slots; set it with `kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config %s=%s`",
				want.name, got, s.tp.Topic, want.name, want.value)
		}
	}
	return nil
}

// load reads the whole map.
func (s slotSync) load(ctx context.Context) (*SlotMap, error) {
	starts, err := s.admin.Starts(ctx, s.tp)
	if err != nil {
		return nil, err
	}
	if starts[s.tp] > 0 {
		return nil, fmt.Errorf("its first %d records are gone, so who owns what is no longer known; %s", starts[s.tp], StartOver(s.topology))
	}
	ends, err := s.admin.Ends(ctx, ReadUncommitted, s.tp)
	if err != nil {
		return nil, err
	}
	m := NewSlotMap(s.topology)
	if ends[s.tp] == 0 {
		return m, nil
	}
	batches, err := s.read(ctx, s.tp, ends[s.tp])
	if err != nil {
		return nil, err
	}
	for _, b := range batches {
		for i := range b.Records {
			if err := m.Fold(b.Key(i), b.Value(i)); errors.Is(err, ErrResetBegun) {
				return nil, err
			} else if err != nil {
				return nil, fmt.Errorf("offset %d: %w; does another program write this topic?", b.Records[i].Offset, err)
			}
		}
	}
	return m, nil
}

// grow raises the topic's number of partitions to n, unless another node was faster.
func (s slotSync) grow(ctx context.Context, n int32) error {
	for last := error(nil); ; {
		have, err := s.admin.Topics(ctx, s.tp.Topic)
		if err != nil {
			return err
		}
		x, ok := have[s.tp.Topic]
		switch {
		case ok && x.Partitions >= n:
			return nil
		case last != nil:
			return fmt.Errorf("grow it from %d to %d partitions: %w", x.Partitions, n, last)
		case !ok:
			return errors.New("it was deleted meanwhile; start again")
		}
		crashpoint.Hit("create.slots-short")
		if last = s.admin.Grow(ctx, s.tp.Topic, n); last == nil {
			crashpoint.Hit("create.slots-grown")
			return nil
		}
	}
}

// ReadAll reads a topic-partition from one offset up to another: all committed records from offset from on, with nothing
// left out before end; records at end and behind it may come as well. end must be no further than what will be
// committed, or ReadAll waits for it until ctx ends.
//
// Nothing else may be assigned to the reader meanwhile: what comes of other topic-partitions is lost. The batches belong
// to the caller.
func ReadAll(ctx context.Context, r Reader, tp TopicPartition, from, end int64) (batches []*Batch, err error) {
	if from >= end {
		return nil, ctx.Err()
	}
	if err := r.Assign(tp, from); err != nil {
		return nil, fmt.Errorf("read %s/%d from offset %d: %w", tp.Topic, tp.Partition, from, err)
	}
	defer func() { err = errors.Join(err, r.Remove(tp)) }()
	for at := from; at < end; {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read %s/%d: at offset %d of %d: %w", tp.Topic, tp.Partition, at, end, err)
		}
		b, err := r.Poll(pollFor)
		if err != nil {
			return nil, fmt.Errorf("read %s/%d: at offset %d of %d: %w", tp.Topic, tp.Partition, at, end, err)
		}
		if b == nil || b.Topic != tp.Topic || b.Partition != tp.Partition {
			continue
		}
		at = max(at, b.Next)
		if b.Len() > 0 {
			batches = append(batches, b)
		}
	}
	return batches, nil
}
