package tables_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

// Entries expire and are indexed, by what they are modulo three, through everything that may happen to a shard.
func TestExpiryAndIndexAnyOrder(t *testing.T) {
	t.Parallel()
	of := func(n int64) []byte { return []byte{byte(n % 3)} }
	t.Run("event time", func(t *testing.T) {
		t.Parallel()
		f := fixture[int64]{
			&tables.Spec[int64]{Name: "t", Codec: int64Codec{}, Ordered: true, TTL: &tables.TTL{After: 10 * time.Millisecond}},
			ints.make, ints.number, ints.mutate,
		}
		f.spec.Indexes = []*tables.Index[int64]{{Name: "i", Of: func(_ []byte, v int64) ([]byte, error) { return of(v), nil }}}
		rapid.Check(t, besideAnyOrder(f))
	})
	t.Run("wall time", func(t *testing.T) {
		t.Parallel()
		f := fixture[map[string]int64]{
			&tables.Spec[map[string]int64]{Name: "t", Codec: jsonCodec[map[string]int64]{}, TTL: &tables.TTL{Wall: true}},
			mapsOf.make, mapsOf.number, mapsOf.mutate,
		}
		f.spec.Indexes = []*tables.Index[map[string]int64]{{Name: "i", Of: func(_ []byte, v map[string]int64) ([]byte, error) {
			n := v["n"]
			v["n"] = -99 // it is a value of its own
			return of(n), nil
		}}}
		rapid.Check(t, besideAnyOrder(f))
	})
}

// timed is what a table with a clock holds.
type timed struct {
	clock int64
	rows  map[string]timedRow
}

type timedRow struct{ n, expires int64 } // 0: never

func (s timed) clone() timed { return timed{s.clock, maps.Clone(s.rows)} }

// seen is what a reader sees, purge what is left once the dead are gone.
func (s timed) seen() state {
	all := state{}
	for k, r := range s.rows {
		if r.expires == 0 || r.expires > s.clock {
			all[k] = r.n
		}
	}
	return all
}

func (s timed) purge() {
	maps.DeleteFunc(s.rows, func(_ string, r timedRow) bool { return r.expires != 0 && r.expires <= s.clock })
}

type beside[V any] struct {
	f         fixture[V]
	shard     *tables.ShardOf[V]
	epochs    []int64
	states    []timed
	sealed    map[int64]*kafka.Outputs
	committed timed
	log       *kafka.Batch
	next      int64
	failed    bool
	path      string
	check     *tables.Checkpoint
	writing   bool
	end       int64
	wall      int64
}

var expiring = tables.Identity{Table: "t", Expiring: true}

func besideAnyOrder[V any](f fixture[V]) func(*rapid.T) {
	return func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "shard")
		require.NoError(t, err)
		defer os.RemoveAll(dir) //nolint:errcheck // a leftover does no harm
		m := &beside[V]{f: f, committed: timed{0, map[string]timedRow{}}, log: &kafka.Batch{Topic: "c"}, sealed: map[int64]*kafka.Outputs{}, next: 1, path: filepath.Join(dir, "t.db"), wall: 1}
		m.shard = tables.New(f.spec, tables.Config{Table: "t"})
		m.check, err = tables.OpenCheckpoint(tables.Files{}, m.path, expiring, quiet)
		require.NoError(t, err)
		defer func() { require.NoError(t, m.check.Close()) }()
		t.Repeat(map[string]func(*rapid.T){
			"apply": m.apply, "fail": m.fail, "seal": m.seal, "undo": m.undo, "commit": m.commit, "own": m.own, "checkpoint": m.checkpoint, "restart": m.restart,
			"": m.compare,
		})
	}
}

func (m *beside[V]) now() timed {
	if n := len(m.states); n > 0 {
		return m.states[n-1]
	}
	return m.committed
}

// draw makes operations, and does to a state what they do.
func (m *beside[V]) draw(t *rapid.T, s *timed) *tables.OpsOf[V] {
	ops := tables.NewOps(m.f.spec)
	at, after := s.clock, m.f.spec.TTL.After.Milliseconds()
	if m.f.spec.TTL.Wall {
		m.wall += rapid.Int64Range(0, 6).Draw(t, "elapsed")
		ops.Tick(m.wall)
		s.clock = max(s.clock, m.wall)
		at = s.clock
	}
	for range rapid.IntRange(1, 6).Draw(t, "ops") {
		if ts := rapid.Int64Range(0, 40).Draw(t, "time"); !m.f.spec.TTL.Wall && ts < 35 {
			ts += s.clock / 2 // late ones, too
			ops.Time(ts)
			if at = ts; ts == 0 {
				at = s.clock
			}
			s.clock = max(s.clock, ts)
		}
		key := fmt.Sprint("k", rapid.IntRange(0, 9).Draw(t, "key"))
		n := rapid.Int64Range(1, 50).Draw(t, "n")
		old := s.seen()[key]
		put := func(v, ms int64) {
			r := timedRow{v, 0}
			if ms > 0 {
				r.expires = at + ms
			}
			s.rows[key] = r
		}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			require.NoError(t, ops.Set([]byte(key), m.f.make(n)))
			put(n, after)
		case 1:
			ops.Delete([]byte(key))
			delete(s.rows, key)
		case 2:
			require.NoError(t, ops.SetTTL([]byte(key), m.f.make(n), time.Duration(n)*time.Millisecond))
			put(n, n)
		case 3:
			ops.Update([]byte(key), func(v V, _ bool) (V, error) { return m.f.make(m.f.number(v) + n), nil })
			put(old+n, after)
		case 4:
			ops.Row([]byte(key), int32(n), func(r *tables.Row[V], arg int32) error {
				v, _ := r.Get()
				r.SetTTL(m.f.make(m.f.number(v)+int64(arg)), time.Duration(arg)*time.Millisecond)
				return nil
			})
			put(old+n, n)
		}
	}
	return ops
}

func (m *beside[V]) filling() *timed {
	if n := len(m.epochs); n == 0 || m.sealed[m.epochs[n-1]] != nil {
		m.epochs, m.states = append(m.epochs, m.next), append(m.states, m.now().clone())
		m.next++
	}
	return &m.states[len(m.states)-1]
}

func (m *beside[V]) apply(t *rapid.T) {
	if m.failed {
		t.Skip("failed")
	}
	s := m.filling()
	require.NoError(t, m.shard.Apply(m.epochs[len(m.epochs)-1], m.draw(t, s), new(kafka.Outputs)))
	s.purge()
}

func (m *beside[V]) fail(t *rapid.T) {
	if m.failed {
		t.Skip("failed")
	}
	s := m.filling().clone()
	ops := m.draw(t, &s)
	ops.Update([]byte("k1"), func(V, bool) (v V, err error) { return v, errors.New("no") })
	require.ErrorContains(t, m.shard.Apply(m.epochs[len(m.epochs)-1], ops, new(kafka.Outputs)), "no")
	m.failed = true
}

func (m *beside[V]) seal(t *rapid.T) {
	n := len(m.epochs)
	if m.failed || n == 0 || m.sealed[m.epochs[n-1]] != nil {
		t.Skip("nothing to seal")
	}
	out := new(kafka.Outputs)
	require.NoError(t, m.shard.Seal(m.epochs[n-1], out))
	m.sealed[m.epochs[n-1]] = out
	require.Equal(t, m.states[n-1].clock, m.shard.Clock())
}

func (m *beside[V]) undo(t *rapid.T) {
	n := len(m.epochs)
	keep := rapid.IntRange(0, n).Draw(t, "keep")
	if m.failed && keep == n {
		keep--
	}
	to := int64(0)
	if keep > 0 {
		to = m.epochs[keep-1]
	} else if n > 0 {
		to = m.epochs[0] - 1
	}
	m.shard.Undo(to)
	for _, e := range m.epochs[keep:] {
		delete(m.sealed, e)
	}
	m.epochs, m.states, m.failed = m.epochs[:keep], m.states[:keep], false
}

func (m *beside[V]) commit(t *rapid.T) {
	if len(m.epochs) == 0 || m.sealed[m.epochs[0]] == nil {
		t.Skip("nothing to commit")
	}
	e := m.epochs[0]
	m.shard.Committed(e)
	b := m.sealed[e]
	for i := range b.Records {
		m.log.Append(int64(m.log.Len()), 1, b.Key(i), b.Value(i), b.RawHeaders(i))
	}
	m.committed = m.states[0]
	delete(m.sealed, e)
	m.epochs, m.states = m.epochs[1:], m.states[1:]
}

func (m *beside[V]) own(t *rapid.T) {
	if m.failed {
		t.Skip("failed")
	}
	s := m.now().clone()
	q := &tables.Get[V]{Key: []byte("k3"), Own: m.draw(t, &s)}
	if m.f.spec.TTL.Wall {
		q.Own.(*tables.OpsOf[V]).Reset() // what is the agent's own has no clock
		s = m.now().clone()
	}
	m.shard.Answer(q)
	require.NoError(t, q.Err)
	n, ok := s.seen()["k3"]
	require.Equal(t, ok, q.OK)
	if ok {
		require.Equal(t, n, m.f.number(q.Value))
	}
}

func (m *beside[V]) checkpoint(t *rapid.T) {
	if !m.writing {
		m.end = int64(m.log.Len())
	}
	more, err := m.check.Write(m.shard, m.end, rapid.SampledFrom([]int{1, 5, 1000}).Draw(t, "pages"))
	require.NoError(t, err)
	if m.writing = more; !more {
		require.NoError(t, m.check.Mark(m.shard, time.Now(), 24*time.Hour))
	}
}

func (m *beside[V]) restart(t *rapid.T) {
	require.NoError(t, m.check.Close())
	var err error
	m.check, err = tables.OpenCheckpoint(tables.Files{}, m.path, expiring, quiet)
	require.NoError(t, err)
	require.Empty(t, m.check.Dropped())
	m.shard = tables.New(m.f.spec, tables.Config{Table: "t", Clock: m.committed.clock})
	require.NoError(t, m.check.Load(m.shard))
	from, _, ok := m.check.Offset()
	if !ok {
		from = 0
	}
	err = m.shard.Replay(&kafka.Batch{Arena: m.log.Arena, Records: m.log.Records[from:]})
	require.NoError(t, err)
	m.epochs, m.states, m.sealed, m.failed, m.writing = nil, nil, map[int64]*kafka.Outputs{}, false, false
	// The file alone, and the log alone, say the same.
	whole := new(tables.Image)
	whole.Apply(m.log)
	require.Equal(t, len(m.committed.rows), whole.Len(), "the dead are gone from the changelog")
}

func (m *beside[V]) compare(t *rapid.T) {
	m.compareWith(t, m.committed.seen(), true)
	if !m.failed {
		m.compareWith(t, m.now().seen(), false)
		require.Equal(t, m.now().clock, m.shard.Clock())
	}
}

func (m *beside[V]) compareWith(t *rapid.T, want state, committed bool) {
	q := &tables.Scan[V]{Committed: committed}
	m.shard.Answer(q)
	require.NoError(t, q.Err)
	got := state{}
	for i, k := range q.Keys {
		got[string(k)] = m.f.number(q.Values[i])
	}
	require.Equal(t, want, got, "committed: %v", committed)
	c := &tables.Count[V]{Committed: committed}
	m.shard.Answer(c)
	require.Equal(t, len(want), c.N)
	for mod := range int64(3) {
		var expected, found []string
		for k, n := range want {
			if n%3 == mod {
				expected = append(expected, k)
			}
		}
		slices.Sort(expected)
		q := &tables.Lookup[V]{Value: []byte{byte(mod)}, Committed: committed, Limit: rapid.IntRange(0, 3).Draw(t, "limit")}
		for more := true; more; more, q.After, q.Keys, q.Values = q.More, q.Next, nil, nil {
			m.shard.Answer(q)
			require.NoError(t, q.Err)
			for i, k := range q.Keys {
				found = append(found, string(k))
				require.Equal(t, want[string(k)], m.f.number(q.Values[i]))
			}
		}
		require.Equal(t, expected, found, "index %d, committed: %v", mod, committed)
	}
}
