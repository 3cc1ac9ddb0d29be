package command

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
)

var (
	tp0 = kafka.TopicPartition{Topic: "lines", Partition: 0}
	tp1 = kafka.TopicPartition{Topic: "lines", Partition: 1}
	tp2 = kafka.TopicPartition{Topic: "numbers", Partition: 0}
	tp3 = kafka.TopicPartition{Topic: "numbers", Partition: 1}
)

// drainedAdmin is a cluster on which everything is done.
func drainedAdmin() *fakeAdmin {
	f := newFakeAdmin()
	f.members = 1
	f.ends = map[kafka.TopicPartition]int64{tp0: 5, tp1: 7, tp2: 0, tp3: 0}
	f.stable, f.committed = maps.Clone(f.ends), map[kafka.TopicPartition]int64{tp0: 5, tp1: 7}
	return f
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestDrainNeedsTwoEqualLooks(t *testing.T) {
	t.Parallel()
	admin, looks := drainedAdmin(), 0
	admin.looked = func(f *fakeAdmin) {
		// Between the first two looks something comes and is done.
		if looks++; looks == 2 {
			f.ends[tp0], f.stable[tp0], f.committed[tp0] = 9, 9, 9
		}
	}
	d := drain{plan: wordcount(), admin: admin, busy: func() bool { return false }, every: time.Microsecond}
	require.NoError(t, d.wait(t.Context(), closed()))
	require.Equal(t, 3, looks)
}

func TestNotDrained(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *fakeAdmin, d *drain){
		"a second member":           func(f *fakeAdmin, _ *drain) { f.members = 2 },
		"a rebalance":               func(f *fakeAdmin, _ *drain) { f.unstable = true },
		"not committed":             func(f *fakeAdmin, _ *drain) { f.committed[tp1] = 6 },
		"never committed":           func(f *fakeAdmin, _ *drain) { delete(f.committed, tp1) },
		"a transaction is open":     func(f *fakeAdmin, _ *drain) { f.ends[tp0] = 6 },
		"markers under way":         func(f *fakeAdmin, _ *drain) { f.ends[tp0], f.committed[tp0] = 6, 6 },
		"retrying or not yet there": func(_ *fakeAdmin, d *drain) { d.busy = func() bool { return true } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := drainedAdmin()
			d := &drain{plan: wordcount(), admin: admin, busy: func() bool { return false }}
			found, err := d.look(t.Context())
			require.NoError(t, err)
			require.NotNil(t, found)
			change(admin, d)
			found, err = d.look(t.Context())
			require.NoError(t, err)
			require.Nil(t, found)
		})
	}
}

func TestDrainWaitsForTheFeed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := drain{plan: wordcount(), admin: drainedAdmin(), busy: func() bool { return false }}
	require.ErrorIs(t, d.wait(ctx, make(chan struct{})), context.Canceled)
}
