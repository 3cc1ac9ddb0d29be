package actors

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
)

// shelf is a cluster with one changelog of three records a partition, and a clock that goes on when it is asked where that ends, and with each record that is
// read. Its reader hands out a record only when it is told to, of the partition that is least far.
type shelf struct {
	Ground
	mu       sync.Mutex
	now      time.Time
	locating time.Duration
	takes    time.Duration
	position map[int32]int64 // by partition, of those that are read
	ready    chan struct{}   // nil: at once
	held     map[int]chan struct{}
	asked    int
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

// Ends answers when it may.
func (s shelfAdmin) Ends(_ context.Context, _ kafka.Isolation, tps ...kafka.TopicPartition) (map[kafka.TopicPartition]int64, error) {
	done := s.shelf.locked()
	s.shelf.now = s.shelf.now.Add(s.shelf.locating)
	held := s.shelf.held[s.shelf.asked]
	s.shelf.asked++
	done()
	if held != nil {
		<-held
	}
	return map[kafka.TopicPartition]int64{tps[0]: 3}, nil
}

func (s shelfReader) Assign(tp kafka.TopicPartition, from int64) error {
	defer s.shelf.locked()()
	s.shelf.position[tp.Partition] = from
	return nil
}

func (s shelfReader) Remove(tp kafka.TopicPartition) error {
	defer s.shelf.locked()()
	delete(s.shelf.position, tp.Partition)
	return nil
}

func (s shelfReader) Poll(wait time.Duration) (*kafka.Batch, error) {
	if s.shelf.ready != nil {
		select {
		case <-s.shelf.ready:
		case <-time.After(wait):
			return nil, nil //nolint:nilnil // as kafka.Reader says
		}
	}
	defer s.shelf.locked()()
	least := int32(-1)
	for p, at := range s.shelf.position {
		if least < 0 || at < s.shelf.position[least] || at == s.shelf.position[least] && p < least {
			least = p
		}
	}
	if least < 0 {
		return nil, nil //nolint:nilnil // as kafka.Reader says
	}
	s.shelf.now = s.shelf.now.Add(s.shelf.takes)
	at := s.shelf.position[least]
	b := &kafka.Batch{Topic: "t", Partition: least, Next: at + 1}
	b.Append(at, 0, []byte("k"), []byte("v"), nil)
	s.shelf.position[least]++
	return b, nil
}

// told is what a shard is told.
type told struct {
	shard string
	what  any
}

// desk is a restorer under test.
type desk struct {
	*shelf
	deletions *deletions
	pid       *actor.PID
	ground    *realGround
	out       chan told
	shards    map[string]*actor.PID
}

func openRestorer(t *testing.T, s *shelf) *desk {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	g := &realGround{log: log}
	s.Ground, s.now, s.position = g, time.UnixMilli(1_000_000_000), map[int32]int64{}
	x := &desk{shelf: s, deletions: newDeletions(), ground: g, out: make(chan told, 100), shards: map[string]*actor.PID{}}
	x.pid = g.Root(&restorer{
		ground: s, reader: shelfReader{shelf: s}, admin: shelfAdmin{shelf: s}, deletions: x.deletions, log: log,
		inquiries: map[kafka.TopicPartition]inquiry{}, shards: map[kafka.TopicPartition]*restoringShard{},
	}, nil)
	t.Cleanup(g.Close)
	return x
}

// ask asks for a shard of partition 0.
func (x *desk) ask(shard string, from int64, written time.Time, kept time.Duration) {
	x.askFor(0, shard, from, written, kept)
}

func (x *desk) askFor(partition int32, shard string, from int64, written time.Time, kept time.Duration) {
	if x.shards[shard] == nil {
		x.shards[shard] = x.ground.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			switch m := c.Message().(type) {
			case rewind, Replay, Restored:
				x.out <- told{shard, m}
			}
		}))
	}
	x.ground.Send(x.pid, restore{tp: kafka.TopicPartition{Topic: "t", Partition: partition}, table: "x", from: from, written: written, kept: kept, shard: shardRef{x.shards[shard], -1}, gauge: new(shardGauge)})
}

// next is the next thing that a shard is told.
func (x *desk) next(t *testing.T) told {
	t.Helper()
	select {
	case m := <-x.out:
		return m
	case <-time.After(30 * time.Second):
		t.Fatal("nothing comes")
		return told{}
	}
}

// end reads what a shard is told up to the end of its restore: the offsets replayed, and -1 where it had to forget them.
func (x *desk) end(t *testing.T, shard string) (all []int64, why string, err error) {
	t.Helper()
	for {
		m := x.next(t)
		require.Equal(t, shard, m.shard)
		switch m := m.what.(type) {
		case rewind:
			all, why = append(all, -1), m.reason
		case Replay:
			all = append(all, m.Batch.Next-1)
		case Restored:
			return all, why, m.Err
		}
	}
}

const day = 24 * time.Hour

// Deletions stay in a changelog for delete.retention.ms. What is older than that, or gets older while the rest is read, is not gone on from; a read
// from the start that takes longer is an error. The setting may have been another one when the checkpoint was written, or since the node began.
func TestRestoreHeedsForgottenDeletions(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		kept     time.Duration // noted with the checkpoint
		keeps    []string      // what the broker has said, one an hour, the last now; the first before the node began
		age      time.Duration // of the checkpoint, which ends at offset 1; 0: there is none
		takes    time.Duration // to read a record
		locating time.Duration
		want     []int64
		why      string
		err      string
	}{
		"young enough":                        {kept: day, keeps: []string{"60000"}, age: 40 * time.Second, takes: 10 * time.Second, want: []int64{1, 2}},
		"too old":                             {kept: day, keeps: []string{"60000"}, age: 61 * time.Second, want: []int64{-1, 0, 1, 2}, why: "it is older than delete.retention.ms (1m0s)"},
		"too old when it was written":         {kept: time.Minute, keeps: []string{"86400000"}, age: 61 * time.Second, want: []int64{-1, 0, 1, 2}, why: "it is older than delete.retention.ms (1m0s)"},
		"lowered for an hour since":           {kept: day, keeps: []string{"86400000", "60000", "86400000"}, age: 2 * time.Hour, want: []int64{-1, 0, 1, 2}, why: "it is older than"},
		"lowered for an hour, long before":    {kept: day, keeps: []string{"86400000", "60000", "86400000", "86400001"}, age: 20 * time.Minute, want: []int64{1, 2}},
		"gets too old":                        {kept: day, keeps: []string{"60000"}, age: 41 * time.Second, takes: 10 * time.Second, want: []int64{1, 2, -1, 0, 1, 2}, why: "it got older than delete.retention.ms (1m0s)"},
		"from the start":                      {kept: forever, keeps: []string{"60000"}, takes: 20 * time.Second, want: []int64{0, 1, 2}},
		"too slow":                            {kept: forever, keeps: []string{"60000"}, takes: 21 * time.Second, want: []int64{0, 1, 2}, err: "restore table x/0: reading t took 1m3s, and delete.retention.ms of it is 1m0s"},
		"too slow, with the question for it":  {kept: forever, keeps: []string{"60000"}, takes: 20 * time.Second, locating: time.Second, want: []int64{0, 1, 2}, err: "took 1m1s"},
		"too slow, before the setting was so": {kept: forever, keeps: []string{"60000", "86400000"}, takes: 21 * time.Second, want: []int64{0, 1, 2}},
		"forgotten at once":                   {kept: forever, keeps: []string{"0"}, takes: time.Second, want: []int64{0, 1, 2}, err: "set delete.retention.ms to much more"},
		"too slow both times":                 {kept: day, keeps: []string{"60000"}, age: 20 * time.Second, takes: 21 * time.Second, want: []int64{1, 2, -1, 0, 1, 2}, why: "it got older", err: "took 1m3s"},
		"the broker does not say":             {kept: forever, age: time.Hour, takes: time.Hour, want: []int64{1, 2}},
		"never":                               {kept: forever, keeps: []string{"-1", "9223372036854775807"}, age: time.Hour, takes: time.Hour, want: []int64{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := openRestorer(t, &shelf{takes: x.takes, locating: x.locating})
			for i, keep := range x.keeps {
				r.deletions.note(r.now.Add(-time.Duration(len(x.keeps)-1-i)*time.Hour), map[string]kafka.TopicState{"t": {Config: map[string]string{"delete.retention.ms": keep}}})
			}
			if x.age > 0 {
				r.ask("one", 1, r.Now().Add(-x.age), x.kept)
			} else {
				r.ask("one", -1, time.Time{}, x.kept)
			}
			all, why, err := r.end(t, "one")
			require.Equal(t, x.want, all)
			require.Contains(t, why, x.why)
			if x.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, x.err)
			var slow *slowRestoreError
			require.ErrorAs(t, err, &slow)
		})
	}
}

// The setting is lowered while a changelog is read: what counts is the least since the read began.
func TestRestoreHeedsASettingThatIsLowered(t *testing.T) {
	t.Parallel()
	r := openRestorer(t, &shelf{takes: time.Minute, ready: make(chan struct{})})
	note := func(keep string) {
		r.deletions.note(r.Now(), map[string]kafka.TopicState{"t": {Config: map[string]string{"delete.retention.ms": keep}}})
	}
	note("86400000")
	r.ask("one", -1, time.Time{}, forever)
	r.ready <- struct{}{}
	require.IsType(t, Replay{}, r.next(t).what)
	note("60000")
	r.ready <- struct{}{}
	require.IsType(t, Replay{}, r.next(t).what)
	note("86400000")
	r.ready <- struct{}{}
	_, _, err := r.end(t, "one")
	require.ErrorContains(t, err, "delete.retention.ms of it is 1m0s")
}

// asking waits until so many questions have been asked.
func (x *desk) asking(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { defer x.locked()(); return x.asked == n }, 30*time.Second, time.Millisecond)
}

// Partitions are restored side by side: the reader has all of them before anything is read, and each shard gets what is read of its own.
func TestRestoresOfPartitionsAreUnderWayAtOnce(t *testing.T) {
	t.Parallel()
	r := openRestorer(t, &shelf{ready: make(chan struct{})})
	shards := []string{"a", "b", "c"}
	for i, s := range shards {
		r.askFor(int32(i), s, -1, time.Time{}, day)
	}
	require.Eventually(t, func() bool { defer r.locked()(); return len(r.position) == len(shards) }, 30*time.Second, time.Millisecond)
	close(r.ready)
	got, over := map[string][]int64{}, map[string]bool{}
	for len(over) < len(shards) {
		switch m := r.next(t); what := m.what.(type) {
		case Replay:
			require.Equal(t, shards[what.Batch.Partition], m.shard)
			got[m.shard] = append(got[m.shard], what.Batch.Next-1)
		case Restored:
			require.NoError(t, what.Err)
			over[m.shard] = true
		}
	}
	for _, s := range shards {
		require.Equal(t, []int64{0, 1, 2}, got[s], s)
	}
}

// A shard that is gone has asked, and been forgotten before that. Its successor asks while that question, or its read, is under way: the successor is restored,
// and the old question, or read, comes to nothing.
func TestRestoreIsOfTheLastWhoAsked(t *testing.T) {
	t.Parallel()
	restored := func(t *testing.T, r *desk) {
		t.Helper()
		all, _, err := r.end(t, "next")
		require.NoError(t, err)
		require.Equal(t, []int64{1, 2}, all)
	}
	t.Run("beside its question", func(t *testing.T) {
		t.Parallel()
		old, own := make(chan struct{}), make(chan struct{})
		r := openRestorer(t, &shelf{held: map[int]chan struct{}{0: old, 1: own}})
		r.ask("gone", -1, time.Time{}, forever)
		r.asking(t, 1)
		r.ask("next", 1, r.Now(), forever)
		r.asking(t, 2)
		close(old)
		time.AfterFunc(50*time.Millisecond, func() { close(own) }) // for the old answer to do harm
		restored(t, r)
	})
	t.Run("beside its read, which gets too old", func(t *testing.T) {
		t.Parallel()
		question := make(chan struct{})
		r := openRestorer(t, &shelf{held: map[int]chan struct{}{1: question}, ready: make(chan struct{}), takes: time.Minute})
		r.deletions.note(r.Now(), map[string]kafka.TopicState{"t": {Config: map[string]string{"delete.retention.ms": "150000"}}})
		r.ask("gone", 0, r.Now().Add(-time.Second), forever)
		r.ready <- struct{}{}
		require.Equal(t, "gone", r.next(t).shard)
		r.ask("next", 1, r.Now(), forever)
		r.asking(t, 2)
		close(r.ready)
		time.AfterFunc(50*time.Millisecond, func() { close(question) }) // for the old read to do harm
		restored(t, r)
	})
	t.Run("after it was forgotten", func(t *testing.T) {
		t.Parallel()
		old := make(chan struct{})
		r := openRestorer(t, &shelf{held: map[int]chan struct{}{0: old}})
		r.ask("gone", -1, time.Time{}, forever)
		r.asking(t, 1)
		r.ground.Send(r.pid, forget{r.shards["gone"]})
		close(old)
		time.AfterFunc(50*time.Millisecond, func() { r.ask("next", 1, r.Now(), forever) })
		restored(t, r)
	})
}

// A machine that sleeps stops one of a process's clocks; the other tells.
func TestRestoreHeedsAMachineThatSlept(t *testing.T) {
	t.Parallel()
	d := newDeletions()
	d.note(time.Time{}, map[string]kafka.TopicState{"t": {Config: map[string]string{"delete.retention.ms": "60000"}}})
	require.Equal(t, time.Minute, d.least("t", time.Now()))
	require.Equal(t, forever, d.least("other", time.Now()))
	began := time.Now()
	woken := began.Round(0).Add(2 * time.Minute) // by the clock on the wall alone
	require.Equal(t, 2*time.Minute, elapsed(began, woken).Round(time.Second))
	require.Equal(t, 2*time.Minute, elapsed(began, began.Add(2*time.Minute)))
}
