package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// transactionTimeout is when the broker ends a transaction by itself: less than a node may stand still.
const transactionTimeout = 900 * time.Millisecond

// wire implements protocol.Wire.
type wire struct {
	d     *Driver
	group string
}

var _ protocol.Wire = (*wire)(nil)

func transactionalID(group, instance string) string { return group + "-" + instance }

// Marks implements protocol.Wire.
func (w *wire) Marks(ctx context.Context, slots []int32) (map[int32]string, error) {
	tps := make([]kafka.TopicPartition, len(slots))
	for i, s := range slots {
		tps[i] = kafka.TopicPartition{Topic: protocol.SlotsTopic(w.group), Partition: s}
	}
	got, err := again(ctx, w.d, "OffsetFetch", func() (map[kafka.TopicPartition]kafka.Position, error) {
		return w.d.net.B.OffsetFetch(w.group, false, tps...)
	})
	if err != nil {
		return nil, kind(err)
	}
	texts := map[int32]string{}
	for tp, pos := range got {
		texts[tp.Partition] = pos.Metadata
	}
	return texts, nil
}

// Mark implements protocol.Wire.
func (w *wire) Mark(ctx context.Context, as kafka.Member, marks map[int32]kafka.Mark) error {
	var positions []kafka.Position
	for _, slot := range slices.Sorted(maps.Keys(marks)) {
		positions = append(positions, kafka.Position{TopicPartition: kafka.TopicPartition{Topic: protocol.SlotsTopic(w.group), Partition: slot}, Metadata: marks[slot].String()})
	}
	return w.Commit(ctx, as, positions)
}

// Commit implements protocol.Wire.
func (w *wire) Commit(ctx context.Context, as kafka.Member, positions []kafka.Position) error {
	_, err := again(ctx, w.d, "OffsetCommit", func() (done, error) {
		return done{}, w.d.net.B.OffsetCommit(w.group, as, positions)
	})
	return kind(err)
}

// Offsets implements protocol.Wire.
func (w *wire) Offsets(ctx context.Context, tps []kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	end := w.d.net.S.Now().Add(askTimeout)
	for {
		got, err := again(ctx, w.d, "OffsetFetch", func() (map[kafka.TopicPartition]kafka.Position, error) {
			return w.d.net.B.OffsetFetch(w.group, true, tps...)
		})
		if !errors.Is(err, broker.UnstableOffsetCommit) {
			return got, kind(err)
		}
		if !w.d.net.S.Sleep(ctx, backoff) || w.d.net.S.Now().After(end) {
			return nil, fmt.Errorf("a transaction stays open: %w", err)
		}
	}
}

// Fence implements protocol.Wire.
func (w *wire) Fence(ctx context.Context, instance string) error {
	id := transactionalID(w.group, instance)
	_, err := again(ctx, w.d, "InitProducerId", ofTxn(w.d, id, "InitProducerId", func() (broker.Producer, error) {
		return w.d.net.B.InitProducerID(id, transactionTimeout)
	}))
	return kind(err)
}

// Describe implements protocol.Wire.
func (w *wire) Describe(ctx context.Context) (protocol.GroupState, error) {
	return again(ctx, w.d, "DescribeGroups", func() (protocol.GroupState, error) {
		members, stable := w.d.net.B.DescribeGroup(w.group)
		st, _ := w.d.net.B.Describe(protocol.SlotsTopic(w.group))
		state := protocol.GroupState{Stable: stable, Slots: st.Partitions}
		for _, m := range members {
			state.Members = append(state.Members, protocol.MemberState{ID: m.ID, Instance: m.Instance, Slots: m.Owned})
		}
		return state, nil
	})
}

// Leave implements protocol.Wire.
func (w *wire) Leave(ctx context.Context, who kafka.Member) error {
	_, err := again(ctx, w.d, "LeaveGroup", func() (done, error) {
		return done{}, w.d.net.B.Leave(w.group, who.ID, who.Instance)
	})
	return kind(err)
}
