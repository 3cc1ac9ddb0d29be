package tables_test

import (
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

func timerSpec() *tables.Spec[tables.Timer] {
	return &tables.Spec[tables.Timer]{Name: "timers", Codec: tables.TimerCodec{}, Timer: func(t tables.Timer) tables.Timer { return t }}
}

// What is due follows all that happens to a shard: writes, undos, commits, and a restore from what was journaled.
func TestTimersAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := timerSpec()
		s := tables.New(spec, tables.Config{Table: "timers"})
		var states []map[string]tables.Timer // by epoch
		now := map[string]tables.Timer{}
		epoch, committed := int64(1), int64(0)
		states = append(states, map[string]tables.Timer{})
		log := new(kafka.Batch)
		journal := map[int64]*kafka.Outputs{}
		copyOf := func(m map[string]tables.Timer) map[string]tables.Timer {
			c := map[string]tables.Timer{}
			maps.Copy(c, m)
			return c
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"", "a", "b", "c", "d"}).Draw(t, "key")
			ops := tables.NewOps(spec)
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1:
				v := tables.Timer{Due: int64(rapid.IntRange(0, 9).Draw(t, "due")), Payload: fmt.Sprint(epoch)}
				require.NoError(t, ops.Set([]byte(key), v))
				now[key] = v
			case 2:
				ops.Delete([]byte(key))
				delete(now, key)
			case 3:
				out := new(kafka.Outputs)
				require.NoError(t, s.Seal(epoch, out))
				journal[epoch] = out
				states = append(states, copyOf(now))
				epoch++
			case 4:
				to := int64(rapid.IntRange(int(committed), int(epoch-1)).Draw(t, "to"))
				s.Undo(to)
				states, now, epoch = states[:to+1], copyOf(states[to]), to+1
			case 5:
				upTo := int64(rapid.IntRange(int(committed), int(epoch-1)).Draw(t, "up to"))
				for ; committed < upTo; committed++ {
					for i := range journal[committed+1].Records {
						log.Append(log.Next, 0, journal[committed+1].Key(i), journal[committed+1].Value(i), nil)
						log.Next++
					}
				}
				s.Committed(committed)
			}
			require.NoError(t, s.Apply(epoch, ops, new(kafka.Outputs)))
			checkDue(t, s, now)
		}
		again := tables.New(spec, tables.Config{Table: "timers"})
		err := again.Replay(log)
		require.NoError(t, err)
		checkDue(t, again, states[committed])
	})
}

func checkDue(t *rapid.T, s tables.Shard, want map[string]tables.Timer) {
	keys := make([]string, 0, len(want))
	for k := range want {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(want[a].Due, want[b].Due), cmp.Compare(a, b)) })
	first := int64(tables.NeverDue)
	if len(keys) > 0 {
		first = want[keys[0]].Due
	}
	require.Equal(t, first, s.NextDue())
	upTo, n := int64(rapid.IntRange(0, 9).Draw(t, "collect up to")), rapid.IntRange(1, 5).Draw(t, "at most")
	b := s.CollectDue(upTo, n)
	i := 0
	for ; i < b.Len(); i++ {
		require.Equal(t, keys[i], string(b.Key(i)))
		require.NotNil(t, b.Key(i))
		require.Equal(t, want[keys[i]].Payload, string(b.Value(i)))
		require.Equal(t, want[keys[i]].Due, b.Records[i].Timestamp)
	}
	require.True(t, i == n || i == len(keys) || want[keys[i]].Due > upTo)
}

func TestTimerCodec(t *testing.T) {
	t.Parallel()
	for _, x := range []tables.Timer{{}, {Due: 1 << 62, Payload: "x"}} {
		b, err := tables.TimerCodec{}.Append(nil, x)
		require.NoError(t, err)
		got, err := tables.TimerCodec{}.Decode(b)
		require.NoError(t, err)
		require.Equal(t, x, got)
	}
	_, err := tables.TimerCodec{}.Decode([]byte("short"))
	require.Error(t, err)
}

// pendingTimers is a shard with so many timers, due one after the other, and what sets and commits one of them anew.
func pendingTimers(tb testing.TB, n int) (s *tables.ShardOf[tables.Timer], apply func(ops *tables.OpsOf[tables.Timer])) {
	tb.Helper()
	spec := timerSpec()
	s = tables.New(spec, tables.Config{Table: "timers"})
	log := new(kafka.Batch)
	for i := range n {
		value, err := tables.TimerCodec{}.Append(nil, tables.Timer{Due: int64(i), Payload: "payload"})
		require.NoError(tb, err)
		log.Append(int64(i), 1, timerKey(i), value, nil)
	}
	err := s.Replay(log)
	require.NoError(tb, err)
	epoch := int64(0)
	return s, func(ops *tables.OpsOf[tables.Timer]) {
		epoch++
		require.NoError(tb, s.Apply(epoch, ops, new(kafka.Outputs)))
		s.Committed(epoch)
	}
}

func timerKey(i int) []byte { return fmt.Appendf(nil, "key-%016d", i) }

// BenchmarkPendingTimers is what timers cost while so many are pending: a wake with nothing due, setting one anew, and calling one (it is collected,
// deleted, and set again for the end). memory reports the bytes of memory that each of them takes.
func BenchmarkPendingTimers(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("pending=%d/wake", n), func(b *testing.B) {
			s, _ := pendingTimers(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if s.NextDue() != 0 || s.CollectDue(-1, 256).Len() != 0 {
					b.Fatal("something is due")
				}
			}
		})
		b.Run(fmt.Sprintf("pending=%d/set", n), func(b *testing.B) {
			s, apply := pendingTimers(b, n)
			ops := tables.NewOps(timerSpec())
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				ops.Reset()
				_ = ops.Set(timerKey(i*7919%n), tables.Timer{Due: int64(n + i), Payload: "payload"})
				apply(ops)
			}
			require.Equal(b, n, s.Stats().Entries)
		})
		b.Run(fmt.Sprintf("pending=%d/call", n), func(b *testing.B) {
			s, apply := pendingTimers(b, n)
			ops := tables.NewOps(timerSpec())
			b.ReportAllocs()
			i := n
			for b.Loop() {
				due := s.CollectDue(s.NextDue(), 1)
				ops.Reset()
				ops.Delete(due.Key(0))
				_ = ops.Set(due.Key(0), tables.Timer{Due: int64(i), Payload: "payload"})
				apply(ops)
				i++
			}
			require.Equal(b, n, s.Stats().Entries)
		})
		b.Run(fmt.Sprintf("pending=%d/memory", n), func(b *testing.B) {
			used := func() float64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return float64(m.HeapAlloc)
			}
			for b.Loop() {
				before := used()
				s, _ := pendingTimers(b, n)
				b.ReportMetric((used()-before)/float64(n), "B/timer")
				runtime.KeepAlive(s)
			}
		})
	}
}
