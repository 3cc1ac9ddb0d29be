package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/troupe-stream/troupe/kafka"
)

const (
	// openWait is how long a reading waits for a transaction that is open at the end of a log: those of a running node end
	// within a moment, that of a killed one when it times out.
	openWait = 5 * time.Second
)

// reading reads logs to where they end.
type reading struct {
	driver kafka.Driver
	admin  kafka.Admin
	wait   time.Duration // for an open transaction; defaults to openWait
	stable bool          // read no further than to the first open transaction: do not wait for it
	reader kafka.Reader  // to read with, left open; defaults to one that is opened and closed for each call
}

// through reads topic-partitions from the given offsets to where they end now, committed records only, and gives the batches
// to take, in order for each partition. The end is that of all that is written, transactions in flight included,
// so what was committed before the call is seen for certain. whole is false if a transaction stayed open.
func (r reading) through(ctx context.Context, from map[kafka.TopicPartition]int64, take func(*kafka.Batch) error) (whole bool, err error) {
	tps := make([]kafka.TopicPartition, 0, len(from))
	for tp := range from {
		tps = append(tps, tp)
	}
	level := kafka.ReadUncommitted
	if r.stable {
		level = kafka.ReadCommitted
	}
	ends, err := r.admin.Ends(ctx, level, tps...)
	if err != nil {
		return false, err
	}
	reader := r.reader
	if reader == nil {
		if reader, err = r.driver.OpenReader(); err != nil {
			return false, err
		}
		defer reader.Close() //nolint:errcheck // it has been read
	}
	at := make(map[kafka.TopicPartition]int64, len(from))
	for tp, offset := range from {
		if offset >= ends[tp] {
			continue // nothing to read
		}
		at[tp] = offset
		if err := reader.Assign(tp, offset); err != nil {
			return false, err
		}
	}
	defer func() { // for who reads on with it
		for tp := range at {
			err = errors.Join(err, reader.Remove(tp))
		}
	}()
	wait := cmp.Or(r.wait, openWait)
	last := time.Now()
	for len(at) > 0 {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		b, err := reader.Poll(pollWait)
		if err != nil {
			return false, err
		}
		if b == nil {
			if quiet := time.Since(last); quiet > wait {
				return false, r.stalled(ctx, at, quiet)
			}
			continue
		}
		last = time.Now()
		tp := kafka.TopicPartition{Topic: b.Topic, Partition: b.Partition}
		if _, ok := at[tp]; !ok {
			continue // written behind the end meanwhile
		}
		if err := take(b); err != nil {
			return false, err
		}
		if at[tp] = b.Next; b.Next >= ends[tp] {
			delete(at, tp)
			if err := reader.Remove(tp); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// stalled tells an open transaction, which is no error, from a broker that does not answer.
func (r reading) stalled(ctx context.Context, at map[kafka.TopicPartition]int64, quiet time.Duration) error {
	tps := make([]kafka.TopicPartition, 0, len(at))
	for tp := range at {
		tps = append(tps, tp)
	}
	ends, err := r.admin.Ends(ctx, kafka.ReadCommitted, tps...)
	if err != nil {
		return err
	}
	for tp, offset := range at {
		if offset < ends[tp] {
			return fmt.Errorf("read %s/%d: nothing came for %s at offset %d of %d", tp.Topic, tp.Partition, quiet.Round(time.Second), offset, ends[tp])
		}
	}
	return nil
}

// allFrom is where each partition of a topic begins.
func allFrom(ctx context.Context, admin kafka.Admin, topic string) (map[kafka.TopicPartition]int64, error) {
	tps, err := partitionsOf(ctx, admin, topic)
	if err != nil {
		return nil, err
	}
	return admin.Starts(ctx, tps...)
}
