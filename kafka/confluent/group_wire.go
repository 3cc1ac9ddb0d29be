package confluent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/protocol"
)

// askTimeout bounds each question to the broker.
const askTimeout = 10 * time.Second

// retryEvery is how long to wait before asking again for what will be there in some milliseconds.
const retryEvery = 2 * time.Millisecond

// groupWire implements protocol.Wire: it speaks for one group to its coordinator, where librdkafka does not.
type groupWire struct {
	raw   *requester
	group string
}

var _ protocol.Wire = groupWire{}

// transactionalID is that of an instance's producer.
func transactionalID(group, instance string) string { return group + "-" + instance }

// Commit implements protocol.Wire: the broker refuses it if the group has moved past the member's generation.
// The member {Generation: -1} commits for a group that has no members.
func (w groupWire) Commit(ctx context.Context, as kafka.Member, positions []kafka.Position) error {
	if len(positions) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	rq := kmsg.NewPtrOffsetCommitRequest()
	rq.Group, rq.Generation, rq.MemberID = w.group, as.Generation, as.ID
	if as.Instance != "" {
		rq.InstanceID = &as.Instance
	}
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
	r, err := rq.RequestWith(ctx, w.raw)
	if err != nil {
		return classify(fmt.Errorf("commit offsets of group %s: %w", w.group, err))
	}
	for _, t := range r.Topics {
		for _, x := range t.Partitions {
			if e := kerr.ErrorForCode(x.ErrorCode); e != nil {
				err = errors.Join(err, fmt.Errorf("commit offset of %s/%d in group %s: %w", t.Topic, x.Partition, w.group, e))
			}
		}
	}
	return classify(err)
}

// Offsets implements protocol.Wire.
func (w groupWire) Offsets(ctx context.Context, tps []kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	return w.fetch(ctx, true, tps)
}

// fetch returns committed positions. With stable set, it waits for open transactions on them.
func (w groupWire) fetch(ctx context.Context, stable bool, tps []kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	if len(tps) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for {
		got, err := w.fetchOnce(ctx, stable, tps)
		if !errors.Is(err, kerr.UnstableOffsetCommit) {
			return got, err
		}
		if !pause(ctx, retryEvery) {
			return nil, fmt.Errorf("%w: %w", err, kafka.ErrOpenTransaction)
		}
	}
}

func (w groupWire) fetchOnce(ctx context.Context, stable bool, tps []kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = w.group
	at := map[string]int{}
	for _, tp := range tps {
		i, ok := at[tp.Topic]
		if !ok {
			i = len(g.Topics)
			at[tp.Topic] = i
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic = tp.Topic
			g.Topics = append(g.Topics, t)
		}
		g.Topics[i].Partitions = append(g.Topics[i].Partitions, tp.Partition)
	}
	rq := kmsg.NewPtrOffsetFetchRequest()
	rq.RequireStable, rq.Groups = stable, []kmsg.OffsetFetchRequestGroup{g}
	r, err := rq.RequestWith(ctx, w.raw)
	if err != nil {
		return nil, fmt.Errorf("read committed offsets of group %s: %w", w.group, err)
	}
	got := make(map[kafka.TopicPartition]kafka.Position, len(tps))
	for _, g := range r.Groups {
		if e := kerr.ErrorForCode(g.ErrorCode); e != nil {
			err = errors.Join(err, fmt.Errorf("read committed offsets of group %s: %w", w.group, e))
		}
		for _, t := range g.Topics {
			for _, x := range t.Partitions {
				if e := kerr.ErrorForCode(x.ErrorCode); e != nil {
					err = errors.Join(err, fmt.Errorf("read committed offset of %s/%d in group %s: %w", t.Topic, x.Partition, w.group, e))
				}
				pos := kafka.Position{TopicPartition: kafka.TopicPartition{Topic: t.Topic, Partition: x.Partition}, Offset: x.Offset}
				if x.Metadata != nil {
					pos.Metadata = *x.Metadata
				}
				got[pos.TopicPartition] = pos
			}
		}
	}
	if err == nil && len(got) < len(tps) {
		err = fmt.Errorf("read committed offsets of group %s: the broker answered for %d of %d partitions", w.group, len(got), len(tps))
	}
	return got, err
}

// Mark implements protocol.Wire.
func (w groupWire) Mark(ctx context.Context, as kafka.Member, marks map[int32]kafka.Mark) error {
	positions := make([]kafka.Position, 0, len(marks))
	for _, slot := range slices.Sorted(maps.Keys(marks)) {
		positions = append(positions, kafka.Position{TopicPartition: kafka.TopicPartition{Topic: protocol.SlotsTopic(w.group), Partition: slot}, Metadata: marks[slot].String()})
	}
	if err := w.Commit(ctx, as, positions); err != nil {
		return fmt.Errorf("mark slots: %w", err)
	}
	return nil
}

// Marks implements protocol.Wire.
func (w groupWire) Marks(ctx context.Context, slots []int32) (map[int32]string, error) {
	tps := make([]kafka.TopicPartition, len(slots))
	for i, s := range slots {
		tps[i] = kafka.TopicPartition{Topic: protocol.SlotsTopic(w.group), Partition: s}
	}
	got, err := w.fetch(ctx, false, tps)
	if err != nil {
		return nil, fmt.Errorf("read marks of slots: %w", err)
	}
	texts := make(map[int32]string, len(slots))
	for tp, pos := range got {
		texts[tp.Partition] = pos.Metadata
	}
	return texts, nil
}

// Fence implements protocol.Wire, in some 5 ms. The instance's producer, if it still lives, can commit nothing any more.
func (w groupWire) Fence(ctx context.Context, instance string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	id := transactionalID(w.group, instance)
	rq := kmsg.NewPtrInitProducerIDRequest()
	rq.TransactionalID, rq.TransactionTimeoutMillis, rq.ProducerID, rq.ProducerEpoch = &id, transactionTimeoutMs, -1, -1
	for {
		r, err := rq.RequestWith(ctx, w.raw)
		if err == nil {
			err = kerr.ErrorForCode(r.ErrorCode)
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) || !pause(ctx, retryEvery) {
			return fmt.Errorf("end the transactions of %s: %w", id, err)
		}
	}
}

// Describe implements protocol.Wire.
func (w groupWire) Describe(ctx context.Context) (protocol.GroupState, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	state := protocol.GroupState{}
	topic := kmsg.NewMetadataRequestTopic()
	name := protocol.SlotsTopic(w.group)
	topic.Topic = &name
	about := kmsg.NewPtrMetadataRequest()
	about.Topics = []kmsg.MetadataRequestTopic{topic}
	meta, err := about.RequestWith(ctx, w.raw)
	if err != nil {
		return state, fmt.Errorf("look at topic %s: %w", name, err)
	}
	for _, t := range meta.Topics {
		state.Slots = int32(len(t.Partitions)) //nolint:gosec // a number of partitions
	}
	rq := kmsg.NewPtrDescribeGroupsRequest()
	rq.Groups = []string{w.group}
	r, err := rq.RequestWith(ctx, w.raw)
	if err != nil {
		return state, fmt.Errorf("describe group %s: %w", w.group, err)
	}
	for _, g := range r.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return state, fmt.Errorf("describe group %s: %w", w.group, err)
		}
		state.Stable = g.State == "Stable"
		for _, m := range g.Members {
			x := protocol.MemberState{ID: m.MemberID}
			if m.InstanceID != nil {
				x.Instance = *m.InstanceID
			}
			var assigned kmsg.ConsumerMemberAssignment
			if len(m.MemberAssignment) == 0 { // it joins, and has none yet
				state.Members = append(state.Members, x)
				continue
			}
			if err := assigned.ReadFrom(m.MemberAssignment); err != nil {
				return state, fmt.Errorf("describe group %s: the assignment of member %s: %w", w.group, m.MemberID, err)
			}
			for _, t := range assigned.Topics {
				if t.Topic == name {
					x.Slots = append(x.Slots, t.Partitions...)
				}
			}
			state.Members = append(state.Members, x)
		}
	}
	return state, nil
}

// Leave implements protocol.Wire.
func (w groupWire) Leave(ctx context.Context, who kafka.Member) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID = who.ID, &who.Instance
	rq := kmsg.NewPtrLeaveGroupRequest()
	rq.Group, rq.Members = w.group, []kmsg.LeaveGroupRequestMember{m}
	r, err := rq.RequestWith(ctx, w.raw)
	if err != nil {
		return fmt.Errorf("leave group %s: %w", w.group, err)
	}
	err = kerr.ErrorForCode(r.ErrorCode)
	for _, x := range r.Members {
		err = errors.Join(err, kerr.ErrorForCode(x.ErrorCode))
	}
	if err != nil {
		return fmt.Errorf("leave group %s: %w", w.group, err)
	}
	return nil
}
