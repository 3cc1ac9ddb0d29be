package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/troupe-stream/troupe/integration/simulate/broker"
	"github.com/troupe-stream/troupe/kafka"
)

// admin implements kafka.Admin.
type admin struct{ d *Driver }

var _ kafka.Admin = (*admin)(nil)

// Topics implements kafka.Admin.
func (a *admin) Topics(ctx context.Context, names ...string) (map[string]kafka.TopicState, error) {
	return again(ctx, a.d, "Metadata", func() (map[string]kafka.TopicState, error) {
		found := map[string]kafka.TopicState{}
		for _, n := range names {
			if st, ok := a.d.net.B.Describe(n); ok {
				found[n] = st
			}
		}
		return found, nil
	})
}

// AllTopics implements kafka.Admin.
func (a *admin) AllTopics(ctx context.Context) ([]string, error) {
	return again(ctx, a.d, "Metadata", func() ([]string, error) { return slices.Clone(a.d.net.B.Topics()), nil })
}

// Create implements kafka.Admin.
func (a *admin) Create(ctx context.Context, specs ...kafka.TopicSpec) error {
	for _, x := range specs {
		_, err := again(ctx, a.d, "CreateTopics", func() (done, error) {
			return done{}, a.d.net.B.Create(x.Name, x.Partitions, x.Config)
		})
		if err != nil && !errors.Is(err, broker.TopicExists) {
			return err
		}
	}
	return nil
}

// Grow implements kafka.Admin.
func (a *admin) Grow(ctx context.Context, topic string, partitions int32) error {
	_, err := again(ctx, a.d, "CreatePartitions", func() (done, error) { return done{}, a.d.net.B.Grow(topic, partitions) })
	return err
}

// Delete implements kafka.Admin.
func (a *admin) Delete(ctx context.Context, topics ...string) error {
	for _, t := range topics {
		if _, err := again(ctx, a.d, "DeleteTopics", func() (done, error) { return done{}, a.d.net.B.Delete(t) }); err != nil {
			return err
		}
	}
	return nil
}

// Ends implements kafka.Admin.
func (a *admin) Ends(ctx context.Context, level kafka.Isolation, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return a.offsets(ctx, tps, func(tp kafka.TopicPartition) (int64, error) { return a.d.net.B.End(tp, level) })
}

// Starts implements kafka.Admin.
func (a *admin) Starts(ctx context.Context, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return a.offsets(ctx, tps, a.d.net.B.Start)
}

// Since implements kafka.Admin.
func (a *admin) Since(ctx context.Context, at int64, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return a.offsets(ctx, tps, func(tp kafka.TopicPartition) (int64, error) { return a.d.net.B.Since(tp, at) })
}

func (a *admin) offsets(ctx context.Context, tps []kafka.TopicPartition, f func(kafka.TopicPartition) (int64, error)) (map[kafka.TopicPartition]int64, error) {
	return again(ctx, a.d, "ListOffsets", func() (map[kafka.TopicPartition]int64, error) {
		found := map[kafka.TopicPartition]int64{}
		for _, tp := range tps {
			at, err := f(tp)
			if err != nil {
				return nil, err
			}
			found[tp] = at
		}
		return found, nil
	})
}

// CommittedOffsets implements kafka.Admin.
func (a *admin) CommittedOffsets(ctx context.Context, group string, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]kafka.Position, error) {
	return (&wire{a.d, group}).Offsets(ctx, tps)
}

// Members implements kafka.Admin.
func (a *admin) Members(_ context.Context, group string) (n int, stable bool, err error) {
	n, stable = a.d.net.B.Members(group)
	return n, stable, nil
}

// DeleteRecords implements kafka.Admin.
func (a *admin) DeleteRecords(ctx context.Context, before map[kafka.TopicPartition]int64) error {
	for tp, at := range before {
		if _, err := again(ctx, a.d, "DeleteRecords", func() (done, error) { return done{}, a.d.net.B.DeleteRecords(tp, at) }); err != nil {
			return err
		}
	}
	return nil
}

// Produce implements kafka.Admin. Its producer is idempotent: what was written and not acknowledged is not written again.
func (a *admin) Produce(ctx context.Context, names []string, out *kafka.Outputs) ([]int64, error) {
	var offsets []int64
	for i, r := range out.Records {
		tp := kafka.TopicPartition{Topic: names[r.Topic], Partition: r.Partition}
		written := int64(-1)
		at, err := again(ctx, a.d, "Produce", func() (int64, error) {
			if written >= 0 {
				return written, nil
			}
			at, err := a.d.net.B.Produce(tp, []broker.Record{{Timestamp: r.Timestamp, Key: out.Key(i), Value: out.Value(i), RawHeaders: out.RawHeaders(i)}})
			if err == nil {
				written = at
			}
			return at, err
		})
		if err != nil {
			return offsets, err
		}
		offsets = append(offsets, at)
	}
	return offsets, nil
}

// Close implements kafka.Admin.
func (a *admin) Close() error { return nil }

// reader implements kafka.Reader.
type reader struct {
	d       *Driver
	sources []*fetched
	turn    int
}

var _ kafka.Reader = (*reader)(nil)

// Assign implements kafka.Reader.
func (r *reader) Assign(tp kafka.TopicPartition, from int64) error {
	r.sources = append(r.sources, &fetched{tp: tp, at: from})
	return nil
}

// Remove implements kafka.Reader.
func (r *reader) Remove(tp kafka.TopicPartition) error {
	r.sources = slices.DeleteFunc(r.sources, func(f *fetched) bool { return f.tp == tp })
	return nil
}

// Poll implements kafka.Reader.
func (r *reader) Poll(wait time.Duration) (*kafka.Batch, error) {
	s := r.d.net.S
	s.Yield()
	if r.next() == nil {
		over := false
		cancel := s.After(r.d.proc, wait, func() { over = true })
		s.Wait(func() bool { return over || r.next() != nil })
		cancel()
	}
	f := r.next()
	if f == nil {
		return nil, nil
	}
	r.turn++
	entries, next, err := r.d.net.B.Fetch(f.tp, f.at, kafka.ReadCommitted, 1+s.Rand().IntN(fetchMax))
	if err != nil {
		return nil, err
	}
	f.at = next
	return batchOf(f.tp, entries, next), nil
}

// next is a source with something to read.
func (r *reader) next() *fetched {
	for i := range r.sources {
		if f := r.sources[(i+r.turn)%len(r.sources)]; r.d.net.B.LSO(f.tp) > f.at {
			return f
		}
	}
	return nil
}

// Close implements kafka.Reader.
func (r *reader) Close() error { return nil }
