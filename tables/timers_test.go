package tables_test

import (
	"cmp"
	"fmt"
	"maps"
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
		_, err := again.Replay(log)
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

// What a million pending timers cost: setting one anew, and asking what is due.
func BenchmarkTimers(b *testing.B) {
	spec := timerSpec()
	s := tables.New(spec, tables.Config{Table: "timers"})
	const n = 1_000_000
	epoch := int64(0)
	set := func(i, due int) {
		epoch++
		ops := tables.NewOps(spec)
		require.NoError(b, ops.Set(fmt.Appendf(nil, "key%d", i%n), tables.Timer{Due: int64(due), Payload: "payload"}))
		require.NoError(b, s.Apply(epoch, ops, new(kafka.Outputs)))
		s.Committed(epoch)
	}
	for i := range n {
		set(i, i)
	}
	b.ReportAllocs()
	i := n
	for b.Loop() {
		set(i*7919, i)
		s.CollectDue(s.NextDue()-1, 1)
		i++
	}
}
