package actors

import (
	"context"
	"maps"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// purge deletes from repartition topics the records below the committed offsets, as Kafka Streams does: nobody will read
// them again, and time must not delete those above. Any number of nodes may do it at once.
type purge struct {
	group string
	tps   []kafka.TopicPartition
	done  map[kafka.TopicPartition]int64
}

func newPurge(p *plan.Plan, top *topics) *purge {
	x := &purge{group: p.Name, done: map[kafka.TopicPartition]int64{}}
	for _, t := range p.Topics {
		for part := range top.env.Partitions[t.ID] {
			if t.Kind == plan.Repartition {
				x.tps = append(x.tps, kafka.TopicPartition{Topic: t.Name, Partition: part})
			}
		}
	}
	return x
}

func (x *purge) run(ctx context.Context, admin kafka.Admin) error {
	if len(x.tps) == 0 {
		return nil
	}
	at, err := admin.CommittedOffsets(ctx, x.group, x.tps...)
	if err != nil {
		return err
	}
	starts, err := admin.Starts(ctx, x.tps...)
	if err != nil {
		return err
	}
	before := map[kafka.TopicPartition]int64{}
	for tp, p := range at {
		if p.Offset > x.done[tp] && p.Offset > starts[tp] {
			before[tp] = p.Offset
		}
	}
	if len(before) == 0 {
		return nil
	}
	if err := admin.DeleteRecords(ctx, before); err != nil {
		return err
	}
	maps.Copy(x.done, before)
	return nil
}
