package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/kafka/confluent"
)

// partitions of topics, unless a suite says something else.
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
func (c *cluster) topic(ctx context.Context, name string, parts int, config map[string]string) error {
	return c.admin.Create(ctx, kafka.TopicSpec{Name: name, Partitions: int32(parts), Config: config})
}

// drop deletes the topics whose names begin so.
func (c *cluster) drop(ctx context.Context, prefix string) error {
	all, err := c.admin.AllTopics(ctx)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, prefix) })
	if len(all) == 0 {
		return nil
	}
	return c.admin.Delete(ctx, all...)
}

// allOf are the partitions of a topic.
func allOf(topic string, parts int) (all []kafka.TopicPartition) {
	for p := range int32(parts) {
		all = append(all, kafka.TopicPartition{Topic: topic, Partition: p})
	}
	return all
}

// read calls f for each committed record of a topic, up to the end that it has now.
func (c *cluster) read(ctx context.Context, topic string, parts int, f func(*kgo.Record) error) error {
	ends := map[int32]int64{}
	at, err := c.admin.Ends(ctx, kafka.ReadUncommitted, allOf(topic, parts)...)
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

// checkCounts checks that the changelog of a table of counts ends with all records of a source, each counted once and for its own key, and
// returns how many records it has: a fast wrong count is worth nothing.
func (c *cluster) checkCounts(ctx context.Context, changelog string, src source, decode func([]byte) (int64, error)) (journaled int, err error) {
	want := src.counts()
	got := make([]int64, len(want))
	if err := c.read(ctx, changelog, src.parts(), func(r *kgo.Record) error {
		journaled++
		n, err := numberOf(r.Key)
		if err != nil || n >= len(got) {
			return errors.Join(err, fmt.Errorf("%s has the key %q", changelog, r.Key))
		}
		if got[n] = 0; r.Value != nil {
			got[n], err = decode(r.Value)
		}
		return err
	}); err != nil {
		return 0, err
	}
	return journaled, compare(got, want)
}

// compare tells what was counted wrongly.
func compare(got, want []int64) error {
	wrong, first := 0, -1
	for i, n := range want {
		if got[i] != n {
			if wrong++; first < 0 {
				first = i
			}
		}
	}
	if wrong == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d keys are counted wrongly, such as key %d: %d times in place of %d", wrong, len(want), first, got[first], want[first])
}

// checkMapped checks that a topic holds the numbers from 1 to so many, each once, in values of the source's size; at-least-once too, since
// nothing has failed.
func (c *cluster) checkMapped(ctx context.Context, topic string, src source) error {
	n, came := 0, make([]bool, src.records)
	if err := c.read(ctx, topic, src.parts(), func(r *kgo.Record) error {
		if len(r.Value) != max(src.size, 8) {
			return fmt.Errorf("a value of %d bytes", len(r.Value))
		}
		x := binary.BigEndian.Uint64(r.Value) - 1
		if x >= uint64(len(came)) || came[x] {
			return fmt.Errorf("the number %d, which was not written or has come before", x+1)
		}
		n, came[x] = n+1, true
		return nil
	}); err != nil {
		return err
	}
	if n != len(came) {
		return fmt.Errorf("%d records were written; there are %d, and none with %d", len(came), n, slices.Index(came, false)+1)
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
