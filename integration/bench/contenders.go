package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	rdk "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
	"github.com/troupe-stream/troupe/topology/plan"
)

const (
	source      = "bench"
	changelog   = "bench-changelog"
	partitions  = 4
	commitEvery = 100 * time.Millisecond
)

func contenders() map[string]func(context.Context, settings) (result, error) {
	return map[string]func(context.Context, settings) (result, error){
		"bare count":          bareCount,
		"bare consume":        bareConsume,
		"count at-least-once": func(ctx context.Context, s settings) (result, error) { return count(ctx, s, true) },
		"count exactly-once":  func(ctx context.Context, s settings) (result, error) { return count(ctx, s, false) },
		"restore":             restore,
	}
}

// cpu is the processor time that this process has used.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	at := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return at(u.Utime) + at(u.Stime)
}

func driver(s settings) (*confluent.Driver, error) {
	return confluent.New(confluent.Config{Brokers: []string{s.brokers}, Logger: slog.New(slog.DiscardHandler)})
}

// fill makes the topics and writes the records: a key of 20 bytes and a value of 8.
func fill(ctx context.Context, s settings) error {
	d, err := driver(s)
	if err != nil {
		return err
	}
	admin, err := d.OpenAdmin()
	if err != nil {
		return err
	}
	defer admin.Close() //nolint:errcheck // nothing is lost by that
	if err := admin.Create(ctx, kafka.TopicSpec{Name: source, Partitions: partitions}, kafka.TopicSpec{Name: changelog, Partitions: partitions}); err != nil {
		return err
	}
	p, err := rdk.NewProducer(&rdk.ConfigMap{
		"bootstrap.servers": s.brokers, "go.delivery.reports": false, "linger.ms": 20, "batch.num.messages": 10000,
		"queue.buffering.max.messages": 500000, "compression.type": "lz4", "enable.idempotence": true,
	})
	if err != nil {
		return err
	}
	defer p.Close()
	hash := kafka.Murmur2().Hash
	topic := source
	value := make([]byte, 8)
	for i := range s.records {
		key := fmt.Appendf(nil, "key-%016d", (i*7919)%s.keys)
		binary.BigEndian.PutUint64(value, uint64(i))
		m := rdk.Message{TopicPartition: rdk.TopicPartition{Topic: &topic, Partition: hash(key, partitions)}, Key: key, Value: value}
		for {
			err := p.Produce(&m, nil)
			var full rdk.Error
			if errors.As(err, &full) && full.Code() == rdk.ErrQueueFull {
				p.Flush(10)
				continue
			}
			if err != nil {
				return err
			}
			break
		}
	}
	if left := p.Flush(60_000); left > 0 {
		return fmt.Errorf("%d records were not written", left)
	}
	return nil
}

// consumer makes a bare consumer of all partitions of a topic from the beginning, with the engine's own fetch settings.
func consumer(s settings, topic string) (*rdk.Consumer, error) {
	c, err := rdk.NewConsumer(&rdk.ConfigMap{
		"bootstrap.servers": s.brokers, "group.id": "bare-" + topic, "enable.auto.commit": false, "isolation.level": "read_committed",
		"fetch.queue.backoff.ms": 5, "fetch.wait.max.ms": 50, "enable.partition.eof": true,
	})
	if err != nil {
		return nil, err
	}
	var tps []rdk.TopicPartition
	for p := range int32(partitions) {
		tps = append(tps, rdk.TopicPartition{Topic: &topic, Partition: p, Offset: rdk.OffsetBeginning})
	}
	return c, c.Assign(tps)
}

// bareCount is the loop that a careful user of the client writes: consume, count in a map, write what has changed to a
// changelog and commit the offsets every 100 ms.
func bareCount(_ context.Context, s settings) (result, error) {
	c, err := consumer(s, source)
	if err != nil {
		return result{}, err
	}
	defer c.Close() //nolint:errcheck // nothing is lost by that
	p, err := rdk.NewProducer(&rdk.ConfigMap{
		"bootstrap.servers": s.brokers, "go.delivery.reports": false, "linger.ms": "0.5", "queue.buffering.max.messages": 500000,
		"compression.type": "lz4", "enable.idempotence": true,
	})
	if err != nil {
		return result{}, err
	}
	defer p.Close()
	b := bare{c: c, p: p, counts: map[string]*tally{}}
	began, used := time.Now(), cpu()
	for last := began; b.n < s.records; {
		switch e := c.Poll(100).(type) {
		case *rdk.Message:
			b.count(e)
		case rdk.Error:
			return result{}, e
		}
		if b.n%256 == 0 && time.Since(last) >= commitEvery {
			if err := b.commit(); err != nil {
				return result{}, err
			}
			last = time.Now()
		}
	}
	if err := b.commit(); err != nil {
		return result{}, err
	}
	return result{int64(b.n), time.Since(began).Seconds(), cpu() - used}, nil
}

type tally struct {
	n         int64
	partition int32
	dirty     bool
}

type bare struct {
	c      *rdk.Consumer
	p      *rdk.Producer
	counts map[string]*tally
	dirty  []string
	next   [partitions]rdk.Offset
	n      int
}

func (b *bare) count(m *rdk.Message) {
	t := b.counts[string(m.Key)]
	if t == nil {
		t = &tally{partition: m.TopicPartition.Partition}
		b.counts[string(m.Key)] = t
	}
	if t.n++; !t.dirty {
		t.dirty = true
		b.dirty = append(b.dirty, string(m.Key))
	}
	b.next[m.TopicPartition.Partition] = m.TopicPartition.Offset + 1
	b.n++
}

func (b *bare) commit() error {
	topic, from := changelog, source
	for _, k := range b.dirty {
		t := b.counts[k]
		t.dirty = false
		m := rdk.Message{TopicPartition: rdk.TopicPartition{Topic: &topic, Partition: t.partition}, Key: []byte(k), Value: binary.BigEndian.AppendUint64(nil, uint64(t.n))}
		if err := b.p.Produce(&m, nil); err != nil {
			return err
		}
	}
	b.dirty = b.dirty[:0]
	for b.p.Len() > 0 {
		b.p.Flush(1)
	}
	var tps []rdk.TopicPartition
	for p, o := range b.next {
		tps = append(tps, rdk.TopicPartition{Topic: &from, Partition: int32(p), Offset: o})
	}
	_, err := b.c.CommitOffsets(tps)
	return err
}

// bareConsume reads the changelog that the exactly-once count has left, and keeps the last value of each key. It checks their
// sum: a fast wrong count is worth nothing.
func bareConsume(_ context.Context, s settings) (result, error) {
	c, err := consumer(s, "count-exactly-once-counts-changelog")
	if err != nil {
		return result{}, err
	}
	defer c.Close() //nolint:errcheck // nothing is lost by that
	counts := map[string]int64{}
	began, used, n := time.Now(), cpu(), int64(0)
	for ends := 0; ends < partitions; {
		switch e := c.Poll(100).(type) {
		case *rdk.Message:
			counts[string(e.Key)] = int64(binary.BigEndian.Uint64(e.Value))
			n++
		case rdk.PartitionEOF:
			ends++
		case rdk.Error:
			return result{}, e
		}
	}
	r := result{n, time.Since(began).Seconds(), cpu() - used}
	sum := int64(0)
	for _, v := range counts {
		sum += v
	}
	if sum != int64(s.records) {
		return r, fmt.Errorf("the exactly-once count has counted %d of %d records", sum, s.records)
	}
	return r, nil
}

// countTopology counts the records of each key.
func countTopology(name string) (*plan.Plan, error) {
	t := topology.New(name)
	in := topology.NewTopic(t, source, codec.String, codec.Bytes)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Each(t, "count", in, func(ctx *topology.Context, ev topology.Event[string, []byte]) error {
		counts.Update(ctx, ev.Key, func(n int64, _ bool) (int64, error) { return n + 1, nil })
		return nil
	}, topology.Writes(counts))
	return t.Plan()
}

func names(atLeastOnce bool) string {
	if atLeastOnce {
		return "count-at-least-once"
	}
	return "count-exactly-once"
}

// node starts a node of the count with an empty data directory.
func node(ctx context.Context, s settings, atLeastOnce bool, dir string) (*actors.Node, kafka.Admin, error) {
	p, err := countTopology(names(atLeastOnce))
	if err != nil {
		return nil, nil, err
	}
	d, err := driver(s)
	if err != nil {
		return nil, nil, err
	}
	admin, err := d.OpenAdmin()
	if err != nil {
		return nil, nil, err
	}
	n, err := actors.NewNode(p, d, actors.Config{
		DataDir: filepath.Join(s.dir, dir), Instance: dir, Nonce: fmt.Sprint(os.Getpid()), AtLeastOnce: atLeastOnce, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, nil, err
	}
	return n, admin, n.Start(ctx)
}

// count runs a node until all of the source is committed.
func count(ctx context.Context, s settings, atLeastOnce bool) (result, error) {
	began, used := time.Now(), cpu()
	n, admin, err := node(ctx, s, atLeastOnce, names(atLeastOnce))
	if err != nil {
		return result{}, err
	}
	var tps []kafka.TopicPartition
	for p := range int32(partitions) {
		tps = append(tps, kafka.TopicPartition{Topic: source, Partition: p})
	}
	err = poll(ctx, n, func() (bool, error) {
		at, err := admin.CommittedOffsets(ctx, names(atLeastOnce), tps...)
		sum := int64(0)
		for _, p := range at {
			sum += max(p.Offset, 0)
		}
		return sum >= int64(s.records), err
	})
	r := result{int64(s.records), time.Since(began).Seconds(), cpu() - used}
	return r, errors.Join(err, n.Stop(ctx), admin.Close())
}

// restore starts a node of the exactly-once count without its files and waits until its table is there.
func restore(ctx context.Context, s settings) (result, error) {
	began, used := time.Now(), cpu()
	n, admin, err := node(ctx, s, false, "restored")
	if err != nil {
		return result{}, err
	}
	err = poll(ctx, n, func() (bool, error) {
		st, err := n.Status()
		running := slices.DeleteFunc(st.Partitions, func(p actors.PartitionStatus) bool { return p.State != "running" })
		return len(running) == partitions+1, err
	})
	r := result{0, time.Since(began).Seconds(), cpu() - used}
	var tps []kafka.TopicPartition
	for p := range int32(partitions) {
		tps = append(tps, kafka.TopicPartition{Topic: "count-exactly-once-counts-changelog", Partition: p})
	}
	ends, err2 := admin.Ends(ctx, kafka.ReadUncommitted, tps...)
	for _, e := range ends {
		r.Records += e
	}
	return r, errors.Join(err, err2, n.Stop(ctx), admin.Close())
}

// poll asks until the answer is yes, some twenty times a second.
func poll(ctx context.Context, n *actors.Node, ask func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-n.Done():
			return errors.Join(n.Err(), errors.New("the node ended"))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
