package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/integration/bench/rdbatch"
	"github.com/troupe-stream/troupe/kafka"
)

// The kinds of sources.
const (
	uniform = "uniform" // keys come in turns, each as often as the others
	zipf    = "zipf"    // few keys come often
	lines   = "lines"   // of words
	orders  = "json"
)

// source says what is in a topic that contenders read.
type source struct {
	kind       string
	records    int
	keys       int
	partitions int // 0: partitions
	size       int // of values, in bytes; 0: what the kind says
}

func (s source) topic() string {
	name := fmt.Sprintf("%s-%d-%d", s.kind, s.records, s.keys)
	if s.partitions > 0 {
		name += fmt.Sprintf("-%dp", s.partitions)
	}
	if s.size > 0 {
		name += fmt.Sprintf("-%db", s.size)
	}
	return name
}

func (s source) parts() int {
	if s.partitions > 0 {
		return s.partitions
	}
	return partitions
}

// zipfExponent makes the first of a million keys come in some 8 % of all records. Sources are the same each time.
const zipfExponent, zipfSeed = 1.1, 7

// numbers returns what tells the number of each record's key in turn.
func (s source) numbers() func() int {
	if s.kind == zipf {
		z := rand.NewZipf(rand.New(rand.NewPCG(zipfSeed, zipfSeed)), zipfExponent, 1, uint64(s.keys-1)) //nolint:gosec // the same each time
		return func() int { return int(z.Uint64()) }                                                    //nolint:gosec // below keys
	}
	i := -1
	return func() int {
		i++
		return i * 7919 % s.keys
	}
}

// counts are how often each key is to be counted.
func (s source) counts() []int64 {
	if s.kind == lines {
		s.records *= wordsInLine
	}
	out := make([]int64, s.keys)
	next := s.numbers()
	for range s.records {
		out[next()]++
	}
	return out
}

// appendKey appends the key of a number: 20 bytes.
func appendKey(dst []byte, n int) []byte {
	var digits [16]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(append(dst, "key-"...), digits[:]...)
}

// numberOf is the number in a key or word.
func numberOf(key []byte) (n int, err error) {
	from, to := 0, len(key)
	for from < to && (key[from] < '0' || key[from] > '9') {
		from++
	}
	for from < to && (key[to-1] < '0' || key[to-1] > '9') { // quotes of peers that encode keys as JSON
		to--
	}
	if n, err = strconv.Atoi(string(key[from:to])); err != nil {
		return 0, fmt.Errorf("the key %q: %w", key, err)
	}
	return n, nil
}

// Lines have so many words, of a language with so many.
const (
	wordsInLine = 10
	vocabulary  = 10_000
)

// appendValue appends that of record i: its number, or what its kind says.
func (s source) appendValue(dst []byte, i int) []byte {
	switch s.kind {
	case lines:
		for w := range wordsInLine {
			if w > 0 {
				dst = append(dst, ' ')
			}
			dst = fmt.Appendf(dst, "word%d", (i*wordsInLine+w)*7919%vocabulary)
		}
		return dst
	case orders:
		return fmt.Appendf(dst, `{"user":"user-%08d","amount":%d,"note":"what the customer has to say"}`, i, i%1000)
	}
	end := len(dst) + s.size
	dst = binary.BigEndian.AppendUint64(dst, uint64(i))
	for at := uint64(i); len(dst) < end; { // letters that no compression makes much of
		at = at*6364136223846793005 + 1442695040888963407
		dst = append(dst, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[at>>58])
	}
	return dst
}

// Records are handed to the client in runs of so many, or of so many bytes; so many wait at the most.
const (
	fillRun   = 5000
	fillBytes = 1 << 20
	fillMost  = 500_000
)

// fill makes a source unless it is there.
func (c *cluster) fill(ctx context.Context, s source) error {
	if c.filled[s.topic()] {
		return nil
	}
	if err := c.topic(ctx, s.topic(), s.parts(), nil); err != nil {
		return err
	}
	p, err := c.producer(nil)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := s.write(p, s.topic(), s.appendValue); err != nil {
		return err
	}
	c.filled[s.topic()] = true
	return nil
}

// hidden writes a source to an empty topic, with records that nobody sees until show is called: they are in a transaction.
func (c *cluster) hidden(ctx context.Context, s source, topic string) (show func() error, err error) {
	p, err := c.producer(rdk.ConfigMap{"transactional.id": topic, "transaction.timeout.ms": 300_000})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err := p.InitTransactions(ctx); err != nil {
		return nil, err
	}
	if err := p.BeginTransaction(); err != nil {
		return nil, err
	}
	if err := s.write(p, topic, s.appendValue); err != nil {
		return nil, err
	}
	if n, err := c.end(ctx, topic, s.parts()); err != nil || n != s.records {
		return nil, errors.Join(err, fmt.Errorf("%s has %d records of %d", topic, n, s.records))
	}
	return func() error {
		defer p.Close()
		return p.CommitTransaction(ctx)
	}, nil
}

// end is how many offsets of a topic are taken.
func (c *cluster) end(ctx context.Context, topic string, parts int) (n int, err error) {
	ends, err := c.admin.Ends(ctx, kafka.ReadUncommitted, allOf(topic, parts)...)
	for _, end := range ends {
		n += int(end)
	}
	return n, err
}

// changelog writes what Kafka Streams' changelog of a table of counts holds after one record of each key.
func (c *cluster) changelog(ctx context.Context, s source, topic string) error {
	if err := c.topic(ctx, topic, s.parts(), map[string]string{"cleanup.policy": "compact"}); err != nil {
		return err
	}
	p, err := c.producer(nil)
	if err != nil {
		return err
	}
	defer p.Close()
	return s.write(p, topic, func(dst []byte, _ int) []byte { return binary.BigEndian.AppendUint64(dst, 1) })
}

func (c *cluster) producer(more rdk.ConfigMap) (*rdk.Producer, error) {
	settings := rdk.ConfigMap{
		"bootstrap.servers": c.brokers, "go.delivery.reports": false, "linger.ms": 20, "batch.num.messages": 10000,
		"queue.buffering.max.messages": 2 * fillMost, "compression.type": "lz4", "enable.idempotence": true, "log_level": 3,
	}
	maps.Copy(settings, more)
	return rdk.NewProducer(&settings)
}

// write writes all records of the source, and waits until the broker has them.
func (s source) write(p *rdk.Producer, topic string, value func(dst []byte, i int) []byte) error {
	w, err := rdbatch.NewWriter(p, topic)
	if err != nil {
		return err
	}
	defer w.Close()
	// A batch for a topic that librdkafka does not know yet adds a partition to the transaction that is none.
	if _, err := p.GetMetadata(&topic, false, 10_000); err != nil {
		return fmt.Errorf("%s: %w", topic, err)
	}
	hash, next, parts := kafka.Murmur2().Hash, s.numbers(), int32(s.parts())
	var metas []rdbatch.Meta
	var arena []byte
	for i := range s.records {
		before := len(arena)
		arena = appendKey(arena, next())
		key := arena[before:]
		arena = value(arena, i)
		metas = append(metas, rdbatch.Meta{Partition: hash(key, parts), KeyLen: int32(len(key)), ValueLen: int32(len(arena) - before - len(key))})
		if len(metas) < fillRun && len(arena) < fillBytes && i < s.records-1 {
			continue
		}
		for p.Len() > fillMost || s.size > 0 && p.Len()*s.size > 64*fillBytes {
			p.Flush(10)
		}
		if err := w.Write(metas, arena); err != nil {
			return fmt.Errorf("%s: %w", topic, err)
		}
		metas, arena = metas[:0], arena[:0]
	}
	if left := p.Flush(60_000); left > 0 {
		return fmt.Errorf("%d records of %s were not written", left, topic)
	}
	return nil
}
