package command

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// fakeDriver gives one reader over batches made by hand.
type fakeDriver struct {
	kafka.Driver
	admin  *fakeAdmin
	reader *fakeReader
}

func (d *fakeDriver) OpenAdmin() (kafka.Admin, error) { return d.admin, nil }

func (d *fakeDriver) OpenReader() (kafka.Reader, error) { return d.reader, nil }

// fakeReader gives its batches in order, to whoever has assigned their partition, and then nothing.
type fakeReader struct {
	batches  []*kafka.Batch
	assigned map[kafka.TopicPartition]int64
	closed   bool
	err      error
	dry      func() // called when there is nothing to give
}

func (r *fakeReader) Assign(tp kafka.TopicPartition, from int64) error {
	if r.assigned == nil {
		r.assigned = map[kafka.TopicPartition]int64{}
	}
	r.assigned[tp] = from
	return nil
}

func (r *fakeReader) Remove(tp kafka.TopicPartition) error {
	delete(r.assigned, tp)
	return nil
}

func (r *fakeReader) Poll(time.Duration) (*kafka.Batch, error) {
	if len(r.batches) == 0 {
		if r.dry != nil {
			r.dry()
		}
		return nil, r.err
	}
	b := r.batches[0]
	r.batches = r.batches[1:]
	return b, nil
}

func (r *fakeReader) Close() error {
	r.closed = true
	return nil
}

func (f *fakeAdmin) Close() error { return nil }

// batch makes a batch of records: key, value, key, value. A value "-" is null.
func batch(partition int32, from, next int64, texts ...string) *kafka.Batch {
	b := &kafka.Batch{Topic: changelog, Partition: partition}
	for i := 0; i+1 < len(texts); i += 2 {
		value := []byte(texts[i+1])
		if texts[i+1] == "-" {
			value = nil
		}
		b.Append(from+int64(i/2), 0, []byte(texts[i]), value, nil)
	}
	b.Next = next
	return b
}

const changelog = "wordcount-counts-changelog"

var (
	log0 = kafka.TopicPartition{Topic: changelog, Partition: 0}
	log1 = kafka.TopicPartition{Topic: changelog, Partition: 1}
)

func TestReadToTheEnd(t *testing.T) {
	t.Parallel()
	admin := newFakeAdmin()
	admin.ends = map[kafka.TopicPartition]int64{log0: 4, log1: 0}
	reader := &fakeReader{batches: []*kafka.Batch{
		batch(0, 0, 2, "a", "1", "b", "2"),
		batch(0, 2, 3, "a", "3"),
		batch(0, 0, 4), // a control record
		batch(0, 4, 5, "late", "1"),
	}}
	image := tableImage{}
	whole, err := reading{driver: &fakeDriver{reader: reader}, admin: admin}.through(t.Context(), map[kafka.TopicPartition]int64{log0: 0, log1: 0}, image.take(&plan.Table{}))
	require.NoError(t, err)
	require.True(t, whole)
	require.True(t, reader.closed)
	require.Equal(t, []row{{[]byte("a"), []byte("3"), 0}, {[]byte("b"), []byte("2"), 0}}, image.all())
	require.Len(t, reader.batches, 1, "what is written meanwhile is left")
}

// A transaction that stays open does not hold up a reading for ever, and a broker that gives nothing is an error.
func TestReadToAnOpenTransaction(t *testing.T) {
	t.Parallel()
	admin := newFakeAdmin()
	admin.ends = map[kafka.TopicPartition]int64{log0: 9}
	admin.stable = map[kafka.TopicPartition]int64{log0: 1}
	r := reading{driver: &fakeDriver{reader: &fakeReader{batches: []*kafka.Batch{batch(0, 0, 1, "a", "1")}}}, admin: admin, wait: time.Millisecond}
	n := 0
	whole, err := r.through(t.Context(), map[kafka.TopicPartition]int64{log0: 0}, func(b *kafka.Batch) error {
		n += b.Len()
		return nil
	})
	require.NoError(t, err)
	require.False(t, whole)
	require.Equal(t, 1, n)

	admin.stable[log0] = 9
	_, err = reading{driver: &fakeDriver{reader: new(fakeReader)}, admin: admin, wait: time.Millisecond}.through(t.Context(), map[kafka.TopicPartition]int64{log0: 0}, nil)
	require.ErrorContains(t, err, "nothing came")

	_, err = reading{driver: &fakeDriver{reader: &fakeReader{err: errors.New("gone")}}, admin: admin}.through(t.Context(), map[kafka.TopicPartition]int64{log0: 0}, nil)
	require.ErrorContains(t, err, "gone")
}

func TestShow(t *testing.T) {
	t.Parallel()
	p := wordcount()
	admin := newFakeAdmin()
	admin.topics[changelog] = kafka.TopicState{Partitions: 2}
	admin.ends = map[kafka.TopicPartition]int64{log0: 3, log1: 0}
	reader := &fakeReader{batches: []*kafka.Batch{batch(0, 3, 6, "a", "1", "b", "-", "c", "x")}}
	var out buffer
	c := &cli{app: &App{Out: &out}}
	s := newShow(c, p.Tables[0])
	require.NoError(t, s.open(t.Context(), &host.Cluster{Driver: &fakeDriver{admin: admin, reader: reader}, Admin: admin}))
	ctx, cancel := context.WithCancel(t.Context())
	reader.dry = cancel
	require.NoError(t, s.follow(ctx))
	require.Equal(t, map[kafka.TopicPartition]int64{log0: 3, log1: 0}, reader.assigned, "from the end at start")
	require.Equal(t, "a\t1\nb\t(deleted)\nc\t(not an int64: \"x\")\n", out.String())

	// What is committed while the node stops is shown too.
	admin.ends = map[kafka.TopicPartition]int64{log0: 6, log1: 2}
	reader.batches = []*kafka.Batch{batch(1, 0, 2, "z", "9")}
	require.NoError(t, s.finish(t.Context(), admin))
	require.Contains(t, out.String(), "\nz\t9\n")
	s.close()
	require.True(t, reader.closed)
}
