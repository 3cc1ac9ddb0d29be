//go:build integration

package crashpoints

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
)

// compare says what differs between a plain count of the lines that were sent, less those that are dead letters, and the
// topic of words, the table's changelog, and what `node verify` finds. At-least-once, words may have been sent again, and the table must have
// counted each that is there once.
func (x *trial) compare(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	want := map[string]int64{}
	add := func(line string, n int64) {
		for _, w := range wordcount.Words(line) {
			want[w] += n
		}
	}
	for _, l := range x.lines {
		add(l, 1)
	}
	words, table := map[string]int64{}, map[string]int64{}
	err := x.read(ctx, x.name+"-words", func(r *kgo.Record) error { words[string(r.Key)]++; return nil })
	letters, err2 := x.letters(ctx, func(line string) { add(line, -1) })
	err3 := x.read(ctx, x.name+"-counts-changelog", func(r *kgo.Record) error {
		n, err := codec.Int64.Decode(r.Value)
		table[string(r.Key)] = n
		return err
	})
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	if letters > 0 {
		return fmt.Errorf("%d dead letters, though nothing is wrong with any record", letters)
	}
	for w, n := range want {
		if n == 0 {
			delete(want, w)
		}
	}
	if x.again { // the table has counted what there is, once
		for w, n := range want {
			want[w] = max(n, words[w])
		}
	}
	if err := errors.Join(differ("topic words", want, words), differ("table counts", want, table)); err != nil {
		return err
	}
	out, err := nodes.Run(ctx, x.binary, "verify", "--topology", x.name, "--brokers", x.brokers, "--data-dir", x.data(dir))
	if err != nil {
		return fmt.Errorf("verify: %w\n%s", err, out)
	}
	return nil
}

// letters reads the dead letters, if there are any, and counts them.
func (x *trial) letters(ctx context.Context, each func(line string)) (n int, err error) {
	topic := x.name + "-dead-letters"
	have, err := x.admin.Topics(ctx, topic)
	if err != nil || len(have) == 0 {
		return 0, err
	}
	return n, x.read(ctx, topic, func(r *kgo.Record) error {
		i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == "troupe.topic" })
		if i < 0 || string(r.Headers[i].Value) != x.name+"-lines" {
			return fmt.Errorf("dead letter %d is of no line: %v", r.Offset, r.Headers)
		}
		n++
		each(string(r.Value))
		return nil
	})
}

// differ says briefly how counts differ.
func differ(what string, want, got map[string]int64) error {
	var errs []error
	var sums [2]int64
	for k, n := range want {
		sums[0] += n
		if got[k] != n {
			errs = append(errs, fmt.Errorf("%q is %d, not %d", k, got[k], n))
		}
	}
	for k, n := range got {
		sums[1] += n
		if _, ok := want[k]; !ok {
			errs = append(errs, fmt.Errorf("%q is %d, and should not be there", k, n))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %d keys differ, the sum is %d, not %d: %w", what, len(errs), sums[1], sums[0], errors.Join(errs[:min(5, len(errs))]...))
}

// read reads everything that is committed in a topic: to its end, which no open transaction may hold back.
func (x *trial) read(ctx context.Context, topic string, each func(*kgo.Record) error) error {
	have, err := x.admin.Topics(ctx, topic)
	if err != nil {
		return err
	}
	var tps []kafka.TopicPartition
	for p := range have[topic].Partitions {
		tps = append(tps, kafka.TopicPartition{Topic: topic, Partition: p})
	}
	ends, err := x.admin.Ends(ctx, kafka.ReadUncommitted, tps...)
	if err != nil {
		return err
	}
	from := map[string]map[int32]kgo.Offset{topic: {}}
	left := map[int32]int64{}
	for _, tp := range tps {
		if ends[tp] > 0 {
			from[topic][tp.Partition], left[tp.Partition] = kgo.NewOffset().At(0), ends[tp]
		}
	}
	if len(left) == 0 {
		return nil
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(x.brokers), kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond)) // a transaction's marker shows that its end is reached
	if err != nil {
		return err
	}
	defer c.Close()
	for len(left) > 0 {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			return fmt.Errorf("read %s, of which %v are left: %w", topic, left, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				err = errors.Join(err, each(r))
			}
			if end, ok := left[r.Partition]; ok && r.Offset >= end-1 {
				delete(left, r.Partition)
			}
		})
	}
	return err
}
