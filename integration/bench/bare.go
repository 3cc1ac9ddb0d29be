package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/integration/bench/rdbatch"
	"github.com/troupe-stream/troupe/kafka/confluent"
)

// commitEvery is how often bare loops commit, and the engine by default.
const commitEvery = 100 * time.Millisecond

// readMost is how many messages the batched loop reads at a time.
const readMost = 10_000

// bare is the loop that a careful user of the client writes: consume, count in a map, write what has changed to a changelog and
// commit the offsets every 100 ms.
type bare struct {
	job    job
	c      *rdk.Consumer
	p      *rdk.Producer
	reader *rdbatch.Reader // nil: the public API
	writer *rdbatch.Writer

	index  map[string]int32
	keys   []string
	counts []tally
	dirty  []int32
	next   []rdk.Offset
	n      int
	metas  []rdbatch.Meta
	arena  []byte
}

type tally struct {
	n         int64
	partition int32
	dirty     bool
}

// bareLoop runs the task count. Its variants: public at-least-once, batched at-least-once, batched exactly-once.
func bareLoop(ctx context.Context, j job) (err error) {
	b := &bare{job: j, index: map[string]int32{}, next: make([]rdk.Offset, j.parts())}
	if j.Task != taskCount {
		return fmt.Errorf("the bare loop has no program for the task %q", j.Task)
	}
	if b.c, err = rdk.NewConsumer(&rdk.ConfigMap{
		"bootstrap.servers": j.Brokers, "group.id": j.Name, "enable.auto.commit": false, "isolation.level": "read_committed",
		"fetch.queue.backoff.ms": 5, "fetch.wait.max.ms": 50, "log_level": 3,
	}); err != nil {
		return err
	}
	defer b.c.Close() //nolint:errcheck // nothing is lost by that
	settings := rdk.ConfigMap{
		"bootstrap.servers": j.Brokers, "go.delivery.reports": false, "linger.ms": "0.5", "queue.buffering.max.messages": 1_000_000,
		"compression.type": "lz4", "enable.idempotence": true, "log_level": 3,
	}
	if j.Variant == exactlyOnce {
		settings["transactional.id"] = j.Name
	}
	if b.p, err = rdk.NewProducer(&settings); err != nil {
		return err
	}
	defer b.p.Close()
	if j.Variant == exactlyOnce {
		if err := b.p.InitTransactions(ctx); err != nil {
			return err
		}
	}
	var tps []rdk.TopicPartition
	for p := range int32(j.parts()) {
		tps = append(tps, rdk.TopicPartition{Topic: &j.Source, Partition: p, Offset: rdk.OffsetBeginning})
	}
	if err := b.c.Assign(tps); err != nil {
		return err
	}
	if j.Client == confluent.Batched {
		if b.reader, err = rdbatch.NewReader(b.c, readMost); err != nil {
			return err
		}
		defer b.reader.Close()
		if b.writer, err = rdbatch.NewWriter(b.p, j.changelog()); err != nil {
			return err
		}
		defer b.writer.Close()
	}
	say("client %s", j.Client)
	if err := b.run(ctx); err != nil {
		return err
	}
	finish()
	return nil
}

// changelog is a bare loop's changelog topic.
func (j *job) changelog() string { return j.Name + "-counts-changelog" }

func (b *bare) run(ctx context.Context) error {
	for last := time.Now(); b.n < b.job.Records && ctx.Err() == nil; {
		if err := b.read(); err != nil {
			return err
		}
		if time.Since(last) >= commitEvery {
			if err := b.commit(ctx); err != nil {
				return err
			}
			last = time.Now()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.commit(ctx)
}

// read takes some records: a batch, or up to 256 through the public API.
func (b *bare) read() error {
	if b.reader != nil {
		metas, arena := b.reader.Read(20)
		pos := int32(0)
		for i := range metas {
			m := &metas[i]
			if m.Err != 0 {
				return rdk.NewError(rdk.ErrorCode(m.Err), "consume", false)
			}
			b.count(arena[pos:pos+m.KeyLen], m.Partition, rdk.Offset(m.Offset))
			pos += m.KeyLen + m.ValueLen
		}
		return nil
	}
	for range 256 {
		switch e := b.c.Poll(20).(type) {
		case *rdk.Message:
			b.count(e.Key, e.TopicPartition.Partition, e.TopicPartition.Offset)
		case rdk.Error:
			return e
		case nil:
			return nil
		}
	}
	return nil
}

func (b *bare) count(key []byte, partition int32, offset rdk.Offset) {
	first()
	i, ok := b.index[string(key)]
	if !ok {
		i = int32(len(b.counts))
		k := string(key)
		b.index[k] = i
		b.keys, b.counts = append(b.keys, k), append(b.counts, tally{partition: partition})
	}
	t := &b.counts[i]
	if t.n++; !t.dirty {
		t.dirty = true
		b.dirty = append(b.dirty, i)
	}
	b.next[partition] = offset + 1
	b.n++
}

// commit writes what has changed, once per key, and then the offsets; exactly-once in a transaction.
func (b *bare) commit(ctx context.Context) error {
	if b.n == 0 {
		return nil
	}
	if b.job.Variant == exactlyOnce {
		if err := b.p.BeginTransaction(); err != nil {
			return err
		}
	}
	if err := b.produce(); err != nil {
		return err
	}
	var tps []rdk.TopicPartition
	for p, o := range b.next {
		if o > 0 {
			tps = append(tps, rdk.TopicPartition{Topic: &b.job.Source, Partition: int32(p), Offset: o})
		}
	}
	if b.job.Variant == exactlyOnce {
		group, err := b.c.GetConsumerGroupMetadata()
		if err != nil {
			return err
		}
		if err := b.p.SendOffsetsToTransaction(ctx, tps, group); err != nil {
			return err
		}
		return b.p.CommitTransaction(ctx)
	}
	for b.p.Len() > 0 {
		b.p.Flush(1)
	}
	_, err := b.c.CommitOffsets(tps)
	return err
}

func (b *bare) produce() error {
	topic := b.job.changelog()
	b.metas, b.arena = b.metas[:0], b.arena[:0]
	for _, i := range b.dirty {
		t, key := &b.counts[i], b.keys[i]
		t.dirty = false
		if b.writer != nil {
			b.metas = append(b.metas, rdbatch.Meta{Partition: t.partition, KeyLen: int32(len(key)), ValueLen: 8})
			b.arena = binary.BigEndian.AppendUint64(append(b.arena, key...), uint64(t.n))
			continue
		}
		m := rdk.Message{TopicPartition: rdk.TopicPartition{Topic: &topic, Partition: t.partition}, Key: []byte(key), Value: binary.BigEndian.AppendUint64(nil, uint64(t.n))}
		if err := b.p.Produce(&m, nil); err != nil {
			return err
		}
	}
	b.dirty = b.dirty[:0]
	if b.writer != nil {
		return b.writer.Write(b.metas, b.arena)
	}
	return nil
}
