package confluent

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
)

// What ListOffsets takes instead of a timestamp.
const (
	latest   = -1
	earliest = -2
)

// Ends returns the first offset behind the log of each topic-partition, by isolation level.
func (a *admin) Ends(ctx context.Context, level kafka.Isolation, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	isolation := int8(0)
	if level == kafka.ReadCommitted {
		isolation = 1
	}
	return a.listOffsets(ctx, isolation, latest, tps)
}

// Starts returns the first offset in the log of each topic-partition.
func (a *admin) Starts(ctx context.Context, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return a.listOffsets(ctx, 0, earliest, tps)
}

// Since returns the first offset of a record with a time or a later one.
func (a *admin) Since(ctx context.Context, at int64, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return a.listOffsets(ctx, 1, max(at, 0), tps)
}

func (a *admin) listOffsets(ctx context.Context, isolation int8, timestamp int64, tps []kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	found := make(map[kafka.TopicPartition]int64, len(tps))
	if len(tps) == 0 {
		return found, nil
	}
	err := a.retry(ctx, func(ctx context.Context) error {
		rq := kmsg.NewPtrListOffsetsRequest()
		rq.IsolationLevel = isolation
		for topic, ps := range byTopic(tps) {
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = topic
			for _, p := range ps {
				x := kmsg.NewListOffsetsRequestTopicPartition()
				x.Partition, x.Timestamp = p, timestamp
				t.Partitions = append(t.Partitions, x)
			}
			rq.Topics = append(rq.Topics, t)
		}
		r, err := rq.RequestWith(ctx, a.raw)
		if err != nil {
			return err
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err)
				}
				found[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = p.Offset
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	for _, tp := range tps {
		if _, ok := found[tp]; !ok {
			return nil, fmt.Errorf("list offsets: the broker says nothing of %s/%d", tp.Topic, tp.Partition)
		}
	}
	return found, nil
}

// CommittedOffsets returns what a group has committed, waiting for transactions that are open on the offsets.
func (a *admin) CommittedOffsets(ctx context.Context, group string, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	return a.committed(ctx, group, true, tps)
}

// Marks returns the texts of the marks of slots. It waits for no transaction: no mark is ever in one.
func (a *admin) Marks(ctx context.Context, topology string, slots ...int32) (map[int32]string, error) {
	tps := make([]kafka.TopicPartition, len(slots))
	for i, s := range slots {
		tps[i] = kafka.TopicPartition{Topic: kafka.SlotsTopic(topology), Partition: s}
	}
	got, err := a.committed(ctx, topology, false, tps)
	if err != nil {
		return nil, fmt.Errorf("read marks of slots: %w", err)
	}
	texts := make(map[int32]string, len(slots))
	for tp, pos := range got {
		texts[tp.Partition] = pos.Metadata
	}
	return texts, nil
}

func (a *admin) committed(ctx context.Context, group string, stable bool, tps []kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	found := make(map[kafka.TopicPartition]kafka.Position, len(tps))
	if len(tps) == 0 {
		return found, nil
	}
	unstable := false
	err := a.retry(ctx, func(ctx context.Context) error {
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		for topic, ps := range byTopic(tps) {
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic, t.Partitions = topic, ps
			g.Topics = append(g.Topics, t)
		}
		rq := kmsg.NewPtrOffsetFetchRequest()
		rq.RequireStable = stable
		rq.Groups = []kmsg.OffsetFetchRequestGroup{g}
		r, err := rq.RequestWith(ctx, a.raw)
		if err != nil {
			return err
		}
		for _, g := range r.Groups {
			if err := kerr.ErrorForCode(g.ErrorCode); errors.Is(err, kerr.GroupIDNotFound) {
				continue // nobody has committed anything yet
			} else if err != nil {
				return err
			}
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						unstable = errors.Is(err, kerr.UnstableOffsetCommit)
						return fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err)
					}
					pos := kafka.Position{TopicPartition: kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}, Offset: p.Offset}
					if p.Metadata != nil {
						pos.Metadata = *p.Metadata
					}
					found[pos.TopicPartition] = pos
				}
			}
		}
		return nil
	})
	if err != nil && unstable { // whatever ended the waiting
		err = errors.Join(kafka.ErrOpenTransaction, err)
	}
	if err != nil {
		return nil, fmt.Errorf("committed offsets of group %s: %w", group, err)
	}
	for _, tp := range tps {
		if _, ok := found[tp]; !ok {
			found[tp] = kafka.Position{TopicPartition: tp, Offset: -1}
		}
	}
	return found, nil
}

// SetOffsets commits positions for a group that has no members; to one that has, the broker says UNKNOWN_MEMBER_ID.
func (a *admin) SetOffsets(ctx context.Context, group string, positions ...kafka.Position) error {
	if len(positions) == 0 {
		return nil
	}
	err := a.retry(ctx, func(ctx context.Context) error {
		rq := kmsg.NewPtrOffsetCommitRequest()
		rq.Group, rq.Generation = group, -1
		at := map[string]int{}
		for _, pos := range positions {
			i, ok := at[pos.Topic]
			if !ok {
				i = len(rq.Topics)
				at[pos.Topic] = i
				t := kmsg.NewOffsetCommitRequestTopic()
				t.Topic = pos.Topic
				rq.Topics = append(rq.Topics, t)
			}
			x := kmsg.NewOffsetCommitRequestTopicPartition()
			x.Partition, x.Offset, x.Metadata = pos.Partition, pos.Offset, &pos.Metadata
			rq.Topics[i].Partitions = append(rq.Topics[i].Partitions, x)
		}
		r, err := rq.RequestWith(ctx, a.raw)
		if err != nil {
			return err
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("commit offsets for group %s: %w", group, err)
	}
	return nil
}

// Members returns how many members a group has, and whether no rebalance of it is under way. A group that does not exist
// has none and is stable.
func (a *admin) Members(ctx context.Context, group string) (n int, stable bool, err error) {
	g, err := a.Group(ctx, group)
	return len(g.Members), g.Stable, err
}

// DeleteRecords deletes what lies before the given offsets. Where the log begins at one or behind it, there is nothing to do.
func (a *admin) DeleteRecords(ctx context.Context, before map[kafka.TopicPartition]int64) error {
	if len(before) == 0 {
		return nil
	}
	tps := make([]kafka.TopicPartition, 0, len(before))
	for tp := range before {
		tps = append(tps, tp)
	}
	starts, err := a.Starts(ctx, tps...)
	if err != nil {
		return fmt.Errorf("delete records: %w", err)
	}
	tps = tps[:0]
	for tp, offset := range before {
		if starts[tp] < offset {
			tps = append(tps, tp)
		}
	}
	if len(tps) == 0 {
		return nil
	}
	return a.retry(ctx, func(ctx context.Context) error {
		rq := kmsg.NewPtrDeleteRecordsRequest()
		rq.TimeoutMillis = int32(brokerTimeout.Milliseconds())
		for topic, ps := range byTopic(tps) {
			t := kmsg.NewDeleteRecordsRequestTopic()
			t.Topic = topic
			for _, p := range ps {
				x := kmsg.NewDeleteRecordsRequestTopicPartition()
				x.Partition, x.Offset = p, before[kafka.TopicPartition{Topic: topic, Partition: p}]
				t.Partitions = append(t.Partitions, x)
			}
			rq.Topics = append(rq.Topics, t)
		}
		r, err := rq.RequestWith(ctx, a.raw)
		if err != nil {
			return fmt.Errorf("delete records: %w", err)
		}
		var faults []error
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					offset := before[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}]
					faults = append(faults, fmt.Errorf("delete records of %s/%d before offset %d: %w", t.Topic, p.Partition, offset, err))
				}
			}
		}
		return errors.Join(faults...)
	})
}

func byTopic(tps []kafka.TopicPartition) map[string][]int32 {
	m := map[string][]int32{}
	for _, tp := range tps {
		m[tp.Topic] = append(m[tp.Topic], tp.Partition)
	}
	return m
}
