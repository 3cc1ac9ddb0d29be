package conformance

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

func (c *requests) initProducer(id string, timeout time.Duration) (broker.Producer, error) {
	c.coordinator(1, id)
	rq := kmsg.NewPtrInitProducerIDRequest()
	rq.TransactionalID, rq.TransactionTimeoutMillis, rq.ProducerID, rq.ProducerEpoch = &id, int32(timeout.Milliseconds()), -1, -1 //nolint:gosec // small
	r, err := ask(c, rq, func(r *kmsg.InitProducerIDResponse) int16 { return r.ErrorCode })
	return broker.Producer{ID: id, PID: r.ProducerID, Epoch: r.ProducerEpoch}, err
}

func (c *requests) addPartitions(p broker.Producer, tps ...kafka.TopicPartition) error {
	rq := kmsg.NewPtrAddPartitionsToTxnRequest()
	rq.TransactionalID, rq.ProducerID, rq.ProducerEpoch = p.ID, p.PID, p.Epoch
	for _, tp := range tps {
		x := kmsg.NewAddPartitionsToTxnRequestTopic()
		x.Topic, x.Partitions = tp.Topic, []int32{tp.Partition}
		rq.Topics = append(rq.Topics, x)
	}
	_, err := ask(c, rq, func(r *kmsg.AddPartitionsToTxnResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return err
}

func (c *requests) produce(p broker.Producer, tp kafka.TopicPartition, seq int32, records ...record) error {
	rq := kmsg.NewPtrProduceRequest()
	if p.ID != "" {
		rq.TransactionID = &p.ID
	} else {
		p.PID, p.Epoch, seq = -1, -1, -1
	}
	rq.Acks, rq.TimeoutMillis = -1, 10_000
	x, y := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	y.Partition, y.Records = tp.Partition, batchOf(p, seq, records)
	x.Topic, x.Partitions = tp.Topic, append(x.Partitions, y)
	rq.Topics = append(rq.Topics, x)
	_, err := ask(c, rq, func(r *kmsg.ProduceResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return err
}

// batchOf makes the bytes of a batch.
func batchOf(p broker.Producer, seq int32, records []record) []byte {
	const lengthAt, crcAt, crcFrom, transactional = 8, 17, 21, 0x10
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(len(records) - 1), FirstTimestamp: now, MaxTimestamp: now, //nolint:gosec // few
		ProducerID: p.PID, ProducerEpoch: p.Epoch, FirstSequence: seq, NumRecords: int32(len(records)), //nolint:gosec // few
	}
	if p.ID != "" {
		b.Attributes = transactional
	}
	for i, r := range records {
		x := kmsg.Record{OffsetDelta: int32(i), Key: []byte(r.key), Value: []byte(r.value)} //nolint:gosec // few
		if r.null {
			x.Value = nil
		}
		body := x.AppendTo(nil)[1:] // its length is 0, of one byte
		b.Records = append(binary.AppendVarint(b.Records, int64(len(body))), body...)
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[lengthAt:], uint32(len(raw)-lengthAt-4)) //nolint:gosec // small
	binary.BigEndian.PutUint32(raw[crcAt:], crc32.Checksum(raw[crcFrom:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func (c *requests) addOffsets(p broker.Producer, group string) error {
	c.coordinator(0, group)
	rq := kmsg.NewPtrAddOffsetsToTxnRequest()
	rq.TransactionalID, rq.ProducerID, rq.ProducerEpoch, rq.Group = p.ID, p.PID, p.Epoch, group
	_, err := ask(c, rq, func(r *kmsg.AddOffsetsToTxnResponse) int16 { return r.ErrorCode })
	return err
}

func (c *requests) txnCommit(p broker.Producer, group string, as kafka.Member, positions ...kafka.Position) error {
	rq := kmsg.NewPtrTxnOffsetCommitRequest()
	rq.TransactionalID, rq.ProducerID, rq.ProducerEpoch, rq.Group = p.ID, p.PID, p.Epoch, group
	rq.Generation, rq.MemberID, rq.InstanceID = as.Generation, as.ID, instance(as)
	for _, pos := range positions {
		x, y := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
		y.Partition, y.Offset, y.Metadata = pos.Partition, pos.Offset, &pos.Metadata
		x.Topic, x.Partitions = pos.Topic, append(x.Partitions, y)
		rq.Topics = append(rq.Topics, x)
	}
	_, err := ask(c, rq, func(r *kmsg.TxnOffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return err
}

func instance(as kafka.Member) *string {
	if as.Instance == "" {
		return nil
	}
	return &as.Instance
}

func (c *requests) endTxn(p broker.Producer, commit bool) error {
	rq := kmsg.NewPtrEndTxnRequest()
	rq.TransactionalID, rq.ProducerID, rq.ProducerEpoch, rq.Commit = p.ID, p.PID, p.Epoch, commit
	_, err := ask(c, rq, func(r *kmsg.EndTxnResponse) int16 { return r.ErrorCode })
	return err
}

func (c *requests) fetch(tp kafka.TopicPartition, from int64, level kafka.Isolation) (found []record, next int64, err error) {
	o := kgo.ProcessFetchPartitionOpts{Topic: tp.Topic, Partition: tp.Partition, IsolationLevel: kgo.ReadUncommitted()}
	if level == kafka.ReadCommitted {
		o.IsolationLevel = kgo.ReadCommitted()
	}
	for next = from; ; next = o.Offset {
		o.Offset = next
		rq := kmsg.NewPtrFetchRequest()
		rq.IsolationLevel, rq.MaxBytes, rq.MaxWaitMillis = isolation(level), 1<<20, 1
		x, y := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		y.Partition, y.FetchOffset, y.PartitionMaxBytes = tp.Partition, next, 1<<20
		x.Topic, x.Partitions = tp.Topic, append(x.Partitions, y)
		rq.Topics = append(rq.Topics, x)
		r, err := ask(c, rq, func(r *kmsg.FetchResponse) int16 {
			if r.ErrorCode != 0 {
				return r.ErrorCode
			}
			return r.Topics[0].Partitions[0].ErrorCode
		})
		if err != nil {
			return found, next, err
		}
		require.NotEmpty(c.t, r.Topics)
		part, behind := kgo.ProcessFetchPartition(o, &r.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
		require.NoError(c.t, part.Err)
		for _, x := range part.Records {
			found = append(found, record{offset: x.Offset, key: string(x.Key), value: string(x.Value), null: x.Value == nil})
		}
		if behind <= next {
			return found, next, nil
		}
		o.Offset = behind
	}
}

func (c *requests) commit(group string, as kafka.Member, positions ...kafka.Position) error {
	c.coordinator(0, group)
	rq := kmsg.NewPtrOffsetCommitRequest()
	rq.Group, rq.Generation, rq.MemberID, rq.InstanceID = group, as.Generation, as.ID, instance(as)
	for _, pos := range positions {
		x, y := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
		y.Partition, y.Offset, y.Metadata = pos.Partition, pos.Offset, &pos.Metadata
		x.Topic, x.Partitions = pos.Topic, append(x.Partitions, y)
		rq.Topics = append(rq.Topics, x)
	}
	_, err := ask(c, rq, func(r *kmsg.OffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return err
}

func (c *requests) committed(group string, stable bool, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	c.coordinator(0, group)
	rq := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, rq.RequireStable = group, stable
	for _, tp := range tps {
		x := kmsg.NewOffsetFetchRequestGroupTopic()
		x.Topic, x.Partitions = tp.Topic, []int32{tp.Partition}
		g.Topics = append(g.Topics, x)
	}
	rq.Groups = append(rq.Groups, g)
	r, err := ask(c, rq, func(r *kmsg.OffsetFetchResponse) int16 {
		codes := []int16{r.Groups[0].ErrorCode}
		for _, x := range r.Groups[0].Topics {
			codes = append(codes, x.Partitions[0].ErrorCode)
		}
		return slices.Max(codes)
	})
	if err != nil {
		return nil, err
	}
	found := map[kafka.TopicPartition]kafka.Position{}
	for _, x := range r.Groups[0].Topics {
		for _, y := range x.Partitions {
			pos := kafka.Position{TopicPartition: kafka.TopicPartition{Topic: x.Topic, Partition: y.Partition}, Offset: y.Offset}
			if y.Metadata != nil {
				pos.Metadata = *y.Metadata
			}
			found[pos.TopicPartition] = pos
		}
	}
	return found, nil
}
