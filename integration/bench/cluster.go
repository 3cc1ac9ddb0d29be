package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
)

// partitions of every topic.
const partitions = 4

// cluster is the broker, and what is in it.
type cluster struct {
	brokers string
	admin   kafka.Admin
	filled  map[string]bool
}

func newCluster(brokers string) (*cluster, error) {
	d, err := confluent.New(confluent.Config{Brokers: []string{brokers}})
	if err != nil {
		return nil, err
	}
	admin, err := d.OpenAdmin()
	return &cluster{brokers: brokers, admin: admin, filled: map[string]bool{}}, err
}

// topic makes a topic.
func (c *cluster) topic(ctx context.Context, name string, config map[string]string) error {
	return c.admin.Create(ctx, kafka.TopicSpec{Name: name, Partitions: partitions, Config: config})
}

// source says what is in a topic that contenders read.
type source struct {
	kind    string
	records int
	keys    int
}

func (s source) topic() string { return fmt.Sprintf("%s-%d-%d", s.kind, s.records, s.keys) }

// distinct is how many keys it really has.
func (s source) distinct() int { return min(s.records, s.keys) }

func (s source) key(dst []byte, i int) []byte {
	return fmt.Appendf(dst, "key-%016d", (i*7919)%s.keys)
}

// Lines have so many words, of a language with so many.
const (
	wordsInLine = 10
	vocabulary  = 10_000
)

// value is that of record i: its number, or what its kind says.
func (s source) value(dst []byte, i int) []byte {
	switch s.kind {
	case "lines":
		for w := range wordsInLine {
			if w > 0 {
				dst = append(dst, ' ')
			}
			dst = fmt.Appendf(dst, "word%d", (i*wordsInLine+w)*7919%vocabulary)
		}
		return dst
	case "json":
		return fmt.Appendf(dst, `{"user":"user-%08d","amount":%d,"note":"what the customer has to say"}`, i, i%1000)
	}
	return binary.BigEndian.AppendUint64(dst, uint64(i))
}

// fill makes a source unless it is there.
func (c *cluster) fill(ctx context.Context, s source) error {
	if c.filled[s.topic()] {
		return nil
	}
	if err := c.topic(ctx, s.topic(), nil); err != nil {
		return err
	}
	p, err := rdk.NewProducer(&rdk.ConfigMap{
		"bootstrap.servers": c.brokers, "go.delivery.reports": false, "linger.ms": 20, "batch.num.messages": 10000,
		"queue.buffering.max.messages": 500000, "compression.type": "lz4", "enable.idempotence": true, "log_level": 3,
	})
	if err != nil {
		return err
	}
	defer p.Close()
	hash, topic := kafka.Murmur2().Hash, s.topic()
	var key, value []byte
	for i := range s.records {
		key, value = s.key(key[:0], i), s.value(value[:0], i)
		m := rdk.Message{TopicPartition: rdk.TopicPartition{Topic: &topic, Partition: hash(key, partitions)}, Key: key, Value: value}
		err := p.Produce(&m, nil)
		for full := (rdk.Error{}); errors.As(err, &full) && full.Code() == rdk.ErrQueueFull; err = p.Produce(&m, nil) {
			p.Flush(10)
		}
		if err != nil {
			return err
		}
	}
	if left := p.Flush(60_000); left > 0 {
		return fmt.Errorf("%d records of %s were not written", left, topic)
	}
	c.filled[topic] = true
	return nil
}

// read calls f for each committed record of a topic, up to the end that it has now.
func (c *cluster) read(ctx context.Context, topic string, f func(*kgo.Record) error) error {
	ends := map[int32]int64{}
	var tps []kafka.TopicPartition
	for p := range int32(partitions) {
		tps = append(tps, kafka.TopicPartition{Topic: topic, Partition: p})
	}
	at, err := c.admin.Ends(ctx, kafka.ReadUncommitted, tps...)
	if err != nil {
		return err
	}
	from := map[int32]kgo.Offset{}
	for tp, end := range at {
		if end > 0 {
			ends[tp.Partition], from[tp.Partition] = end, kgo.NewOffset().AtStart()
		}
	}
	if len(ends) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return err
	}
	defer cl.Close()
	for len(ends) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
			if !r.Attrs.IsControl() {
				err = errors.Join(err, f(r))
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkCounts checks that the changelog of a table of counts ends with all records of a source, each counted once, and returns how many records it has: a fast wrong
// count is worth nothing.
func (c *cluster) checkCounts(ctx context.Context, changelog string, records, keys int, decode func([]byte) (int64, error)) (journaled int, err error) {
	counts := make(map[string]int64, keys)
	if err := c.read(ctx, changelog, func(r *kgo.Record) error {
		if journaled++; r.Value == nil {
			delete(counts, string(r.Key))
			return nil
		}
		n, err := decode(r.Value)
		counts[string(r.Key)] = n
		return err
	}); err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, n := range counts {
		sum += n
	}
	if sum != int64(records) || len(counts) != keys {
		return 0, fmt.Errorf("counted %d records of %d keys; there are %d of %d", sum, len(counts), records, keys)
	}
	return journaled, nil
}

// checkMapped checks that a topic holds the numbers from 1 to so many, each once; at-least-once too, since nothing has failed.
func (c *cluster) checkMapped(ctx context.Context, topic string, records int) error {
	n, sum := 0, uint64(0)
	if err := c.read(ctx, topic, func(r *kgo.Record) error {
		if len(r.Value) != 8 {
			return fmt.Errorf("a value of %d bytes", len(r.Value))
		}
		n, sum = n+1, sum+binary.BigEndian.Uint64(r.Value)
		return nil
	}); err != nil {
		return err
	}
	if want := uint64(records) * uint64(records+1) / 2; n != records || sum != want {
		return fmt.Errorf("%d records with the sum %d were written; there are %d with %d", n, sum, records, want)
	}
	return nil
}

// changelog is where a contender journals its table of counts, and decoder how it writes them.
func (c contender) changelog(name string) string {
	if c.kind == kindGoka {
		return name + "-table"
	}
	return name + "-counts-changelog"
}

func (c contender) decode(b []byte) (int64, error) {
	if c.kind == kindGoka || c.kind == kindFaust {
		return strconv.ParseInt(string(b), 10, 64)
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("a count of %d bytes", len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}
