package actors

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
)

// shelf is the only changelog of a cluster: three records, and a clock that its reader moves.
type shelf struct {
	Ground
	mu       sync.Mutex
	keep     string
	now      time.Time
	takes    time.Duration // that each record takes to be read
	position int64
}

type (
	shelfAdmin struct {
		kafka.Admin
		shelf *shelf
	}
	shelfReader struct {
		kafka.Reader
		shelf *shelf
	}
)

func (s *shelf) locked() func() { s.mu.Lock(); return s.mu.Unlock }

func (s *shelf) Now() time.Time { defer s.locked()(); return s.now }

func (shelfAdmin) Starts(_ context.Context, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return map[kafka.TopicPartition]int64{tps[0]: 0}, nil
}

func (shelfAdmin) Ends(_ context.Context, _ kafka.Isolation, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	return map[kafka.TopicPartition]int64{tps[0]: 3}, nil
}

func (s shelfAdmin) Topics(_ context.Context, names ...string) (map[string]kafka.TopicState, error) {
	defer s.shelf.locked()()
	config := map[string]string{}
	if s.shelf.keep != "" {
		config["delete.retention.ms"] = s.shelf.keep
	}
	return map[string]kafka.TopicState{names[0]: {Config: config}}, nil
}

func (s shelfReader) Assign(_ kafka.TopicPartition, from int64) error {
	defer s.shelf.locked()()
	s.shelf.position = from
	return nil
}

func (shelfReader) Remove(kafka.TopicPartition) error { return nil }

func (s shelfReader) Poll(time.Duration) (*kafka.Batch, error) {
	defer s.shelf.locked()()
	s.shelf.now = s.shelf.now.Add(s.shelf.takes)
	b := &kafka.Batch{Topic: "t", Next: s.shelf.position + 1}
	b.Append(s.shelf.position, 0, []byte("k"), []byte("v"), nil)
	s.shelf.position++
	return b, nil
}

// open starts a restorer, and a shard that notes what it is told.
func (s *shelf) open(t *testing.T) (ask func(from int64, written time.Time), answer func(located), told <-chan any) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	g := &realGround{log: log}
	s.Ground, s.now = g, time.UnixMilli(1_000_000_000)
	r := &restorer{ground: s, reader: shelfReader{shelf: s}, admin: shelfAdmin{shelf: s}, log: log, inquiries: map[kafka.TopicPartition]inquiry{}, shards: map[kafka.TopicPartition]*restoringShard{}}
	pid := g.Root(r, nil)
	t.Cleanup(g.Close)
	out := make(chan any, 100)
	shard := g.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case rewind, Replay, Restored:
			out <- m
		}
	}))
	about := func(from int64, written time.Time) restore {
		return restore{tp: kafka.TopicPartition{Topic: "t"}, table: "x", from: from, written: written, shard: shardRef{shard, -1}, gauge: new(shardGauge)}
	}
	ask = func(from int64, written time.Time) { g.Send(pid, about(from, written)) }
	return ask, func(m located) { m.restore = about(-1, time.Time{}); g.Send(pid, m) }, out
}

// restoredAs reads what a shard is told up to the end of its restore: the offsets replayed, and -1 where it had to forget them.
func restoredAs(t *testing.T, told <-chan any) (all []int64, why string, err error) {
	t.Helper()
	for {
		select {
		case m := <-told:
			switch m := m.(type) {
			case rewind:
				all, why = append(all, -1), m.reason
			case Replay:
				all = append(all, m.Batch.Next-1)
			case Restored:
				return all, why, m.Err
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the restore does not end")
		}
	}
}

// Deletions stay in a changelog for delete.retention.ms. What is older than that, or gets older while the rest is read, is not gone on from, by
// the setting as it is now: an operator may have changed it since the node began.
func TestRestoreHeedsForgottenDeletions(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		keep  string
		age   time.Duration // of the checkpoint, which ends at offset 1; 0: there is none
		takes time.Duration
		want  []int64
		why   string
		err   string
	}{
		"young enough":         {keep: "60000", age: 40 * time.Second, takes: 10 * time.Second, want: []int64{1, 2}},
		"too old":              {keep: "60000", age: 61 * time.Second, takes: time.Second, want: []int64{-1, 0, 1, 2}, why: "it is older than delete.retention.ms (1m0s)"},
		"gets too old":         {keep: "60000", age: 41 * time.Second, takes: 10 * time.Second, want: []int64{1, 2, -1, 0, 1, 2}, why: "it got older than delete.retention.ms (1m0s)"},
		"from the start":       {keep: "60000", takes: 20 * time.Second, want: []int64{0, 1, 2}},
		"too slow":             {keep: "60000", takes: 21 * time.Second, want: []int64{0, 1, 2}, err: "restore table x/0: reading t took 1m3s, and delete.retention.ms of it is 1m0s"},
		"forgotten at once":    {keep: "0", takes: time.Second, want: []int64{0, 1, 2}, err: "set delete.retention.ms to much more"},
		"too slow both times":  {keep: "60000", age: 20 * time.Second, takes: 21 * time.Second, want: []int64{1, 2, -1, 0, 1, 2}, why: "it got older", err: "took 1m3s"},
		"the broker says none": {age: time.Hour, takes: time.Hour, want: []int64{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &shelf{keep: "86400000", takes: x.takes}
			ask, _, told := s.open(t)
			done := s.locked()
			s.keep = x.keep // since the node began
			done()
			if x.age > 0 {
				ask(1, s.Now().Add(-x.age))
			} else {
				ask(-1, time.Time{})
			}
			all, why, err := restoredAs(t, told)
			require.Equal(t, x.want, all)
			require.Contains(t, why, x.why)
			if x.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, x.err)
			}
		})
	}
}

// The answer to a question that is not the last of its changelog, of a shard that is gone, ends nothing and begins nothing.
func TestRestoreHeedsNoOldAnswer(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	ask, answer, told := s.open(t)
	for range 2 {
		ask(1, s.Now())
		all, _, err := restoredAs(t, told)
		require.NoError(t, err)
		require.Equal(t, []int64{1, 2}, all)
		answer(located{inquiry: 1, err: errors.New("of a shard that is gone")})
		answer(located{inquiry: 1, end: 3})
	}
}
