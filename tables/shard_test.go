package tables_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
)

type int64Codec struct{}

func (int64Codec) Append(b []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(b, uint64(v)), nil
}

func (int64Codec) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, errors.New("not 8 bytes")
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Append(b []byte, v T) ([]byte, error) {
	x, err := json.Marshal(v)
	return append(b, x...), err
}

func (jsonCodec[T]) Decode(b []byte) (v T, err error) { return v, json.Unmarshal(b, &v) }

// fixture makes values of one type for the model test, and mutates them as a careless user would.
type fixture[V any] struct {
	spec   *tables.Spec[V]
	make   func(n int64) V
	number func(V) int64
	mutate func(V) // changes what V refers to
}

var (
	ints = fixture[int64]{
		&tables.Spec[int64]{Name: "t", Codec: int64Codec{}, Ordered: true},
		func(n int64) int64 { return n }, func(v int64) int64 { return v }, func(int64) {},
	}
	mapsOf = fixture[map[string]int64]{
		&tables.Spec[map[string]int64]{Name: "t", Codec: jsonCodec[map[string]int64]{}},
		func(n int64) map[string]int64 { return map[string]int64{"n": n} },
		func(v map[string]int64) int64 { return v["n"] },
		func(v map[string]int64) {
			if v != nil {
				v["n"] = -99
			}
		},
	}
	bytesOf = fixture[[]byte]{
		&tables.Spec[[]byte]{Name: "t", Codec: jsonCodec[[]byte]{}},
		func(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) },
		func(v []byte) int64 {
			if len(v) != 8 {
				return 0
			}
			return int64(binary.BigEndian.Uint64(v))
		},
		func(v []byte) { clear(v) },
	}
	pointers = fixture[*struct{ N int64 }]{
		&tables.Spec[*struct{ N int64 }]{Name: "t", Codec: jsonCodec[*struct{ N int64 }]{}},
		func(n int64) *struct{ N int64 } { return &struct{ N int64 }{n} },
		func(v *struct{ N int64 }) int64 {
			if v == nil {
				return 0
			}
			return v.N
		},
		func(v *struct{ N int64 }) {
			if v != nil {
				v.N = -99
			}
		},
	}
)

func TestShardAnyOrder(t *testing.T) {
	t.Parallel()
	t.Run("int64", func(t *testing.T) { t.Parallel(); rapid.Check(t, anyOrder(ints)) })
	t.Run("map", func(t *testing.T) { t.Parallel(); rapid.Check(t, anyOrder(mapsOf)) })
	t.Run("bytes", func(t *testing.T) { t.Parallel(); rapid.Check(t, anyOrder(bytesOf)) })
	t.Run("pointer", func(t *testing.T) { t.Parallel(); rapid.Check(t, anyOrder(pointers)) })
}

// state is what the model says a table holds.
type state map[string]int64

// model is the plain truth beside a shard: the state after each epoch that is not committed, and the log.
type model[V any] struct {
	f         fixture[V]
	shard     *tables.ShardOf[V]
	epochs    []int64 // not committed, oldest first; the last is being filled
	states    []state // after each of them
	committed state
	log       *kafka.Batch // what has been committed
	sealed    map[int64]*kafka.Outputs
	next      int64
	failed    bool
	path      string
	check     *tables.Checkpoint
	writing   bool  // a round of pages is not through
	end       int64 // of the log, when it began
}

func (m *model[V]) now() state {
	if n := len(m.states); n > 0 {
		return m.states[n-1]
	}
	return m.committed
}

var quiet = slog.New(slog.DiscardHandler)

func anyOrder[V any](f fixture[V]) func(*rapid.T) {
	return func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "shard")
		require.NoError(t, err)
		defer os.RemoveAll(dir) //nolint:errcheck // a leftover does no harm
		m := &model[V]{f: f, committed: state{}, log: &kafka.Batch{Topic: "c"}, sealed: map[int64]*kafka.Outputs{}, next: 1, path: filepath.Join(dir, "t.db")}
		m.shard = tables.New(f.spec, tables.Config{Table: "t"})
		m.check, err = tables.OpenCheckpoint(tables.Files{}, m.path, tables.Identity{Table: "t"}, quiet)
		require.NoError(t, err)
		defer func() { require.NoError(t, m.check.Close()) }()
		t.Repeat(map[string]func(*rapid.T){
			"apply": m.apply, "fail": m.fail, "seal": m.seal, "undo": m.undo, "commit": m.commit, "own": m.own, "checkpoint": m.checkpoint, "restart": m.restart,
			"": m.compare,
		})
	}
}

func (m *model[V]) filling() {
	if n := len(m.epochs); n == 0 || m.sealed[m.epochs[n-1]] != nil {
		m.epochs, m.states = append(m.epochs, m.next), append(m.states, maps.Clone(m.now()))
		m.next++
	}
}

// draw makes operations and applies them to a state; bad makes the last one fail.
func (m *model[V]) draw(t *rapid.T, s state, bad bool) *tables.OpsOf[V] {
	ops := tables.NewOps(m.f.spec)
	for range rapid.IntRange(1, 8).Draw(t, "ops") {
		key := fmt.Sprint("k", rapid.IntRange(0, 12).Draw(t, "key"))
		n := rapid.Int64Range(1, 50).Draw(t, "n")
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 4:
			ops.Clear([]byte(key)) // k1 and all of k1.
			maps.DeleteFunc(s, func(k string, _ int64) bool { return strings.HasPrefix(k, key) })
		case 0:
			v := m.f.make(n)
			require.NoError(t, ops.Set([]byte(key), v))
			m.f.mutate(v)
			s[key] = n
		case 1:
			ops.Delete([]byte(key))
			delete(s, key)
		case 2:
			ops.Update([]byte(key), func(old V, _ bool) (V, error) {
				v := m.f.make(m.f.number(old) + n)
				m.f.mutate(old)
				return v, nil
			})
			s[key] += n
		case 3:
			ops.Row([]byte(key), int32(n), func(r *tables.Row[V], arg int32) error {
				old, _ := r.Get()
				v := m.f.make(m.f.number(old) + int64(arg))
				m.f.mutate(old)
				r.Set(v)
				m.f.mutate(v)
				if arg%5 == 0 {
					r.Delete()
				}
				return nil
			})
			if s[key] += n; n%5 == 0 {
				delete(s, key)
			}
		}
	}
	if bad {
		ops.Update([]byte("k1"), func(old V, _ bool) (V, error) {
			m.f.mutate(old)
			return old, errors.New("no")
		})
	}
	return ops
}

func (m *model[V]) apply(t *rapid.T) {
	if m.failed {
		t.Skip("failed")
	}
	m.filling()
	ops := m.draw(t, m.states[len(m.states)-1], false)
	require.NoError(t, m.shard.Apply(m.epochs[len(m.epochs)-1], ops, new(kafka.Outputs)))
}

func (m *model[V]) fail(t *rapid.T) {
	if m.failed {
		t.Skip("failed")
	}
	m.filling()
	err := m.shard.Apply(m.epochs[len(m.epochs)-1], m.draw(t, maps.Clone(m.now()), true), new(kafka.Outputs))
	require.ErrorContains(t, err, "no")
	m.failed = true
	require.ErrorIs(t, m.shard.Apply(m.next, tables.NewOps(m.f.spec), nil), tables.ErrFailed)
}

func (m *model[V]) seal(t *rapid.T) {
	if n := len(m.epochs); m.failed || n == 0 || m.sealed[m.epochs[n-1]] != nil {
		t.Skip("nothing to seal")
	}
	out := new(kafka.Outputs)
	e := m.epochs[len(m.epochs)-1]
	require.NoError(t, m.shard.Seal(e, out))
	m.sealed[e] = out
}

func (m *model[V]) undo(t *rapid.T) {
	keep := 0
	if n := len(m.epochs); n > 0 {
		keep = rapid.IntRange(0, n).Draw(t, "keep")
	}
	if m.failed && keep == len(m.epochs) {
		keep = max(keep-1, 0)
	}
	to := int64(0)
	if keep > 0 {
		to = m.epochs[keep-1]
	} else if len(m.epochs) > 0 {
		to = m.epochs[0] - 1
	}
	m.shard.Undo(to)
	for _, e := range m.epochs[keep:] {
		delete(m.sealed, e)
	}
	m.epochs, m.states, m.failed = m.epochs[:keep], m.states[:keep], false
}

func (m *model[V]) commit(t *rapid.T) {
	if len(m.epochs) == 0 || m.sealed[m.epochs[0]] == nil {
		t.Skip("nothing to commit")
	}
	e := m.epochs[0]
	m.shard.Committed(e)
	for i := range m.sealed[e].Records {
		o := m.sealed[e]
		m.log.Append(int64(m.log.Len()), 1, o.Key(i), o.Value(i), nil)
	}
	m.committed = m.states[0]
	delete(m.sealed, e)
	m.epochs, m.states = m.epochs[1:], m.states[1:]
}

// own asks with operations of the asker's, which must leave no trace.
func (m *model[V]) own(t *rapid.T) {
	if m.failed {
		t.Skip("failed")
	}
	s := maps.Clone(m.now())
	q := &tables.Get[V]{Key: []byte("k3"), Own: m.draw(t, s, false)}
	m.shard.Answer(q)
	require.NoError(t, q.Err)
	n, ok := s["k3"]
	require.Equal(t, ok, q.OK)
	if ok {
		require.Equal(t, n, m.f.number(q.Value))
		m.f.mutate(q.Value)
	}
}

// checkpoint writes some or all pages; if all, the offset too: as of what is committed.
func (m *model[V]) checkpoint(t *rapid.T) {
	if !m.writing {
		m.end = int64(m.log.Len()) // of before the first write of the round
	}
	more, err := m.check.Write(m.shard, m.end, rapid.SampledFrom([]int{1, 5, 1000}).Draw(t, "pages"))
	require.NoError(t, err)
	if m.writing = more; !more {
		require.NoError(t, m.check.Mark(m.shard, time.Now(), 24*time.Hour))
	}
}

// restart loses the memory, and restores from the checkpoint and the log.
func (m *model[V]) restart(t *rapid.T) {
	require.NoError(t, m.check.Close())
	var err error
	m.check, err = tables.OpenCheckpoint(tables.Files{}, m.path, tables.Identity{Table: "t"}, quiet)
	require.NoError(t, err)
	require.Empty(t, m.check.Dropped())
	m.shard = tables.New(m.f.spec, tables.Config{Table: "t"})
	require.NoError(t, m.check.Load(m.shard))
	from, _, ok := m.check.Offset()
	if !ok {
		from = 0
	}
	rest := &kafka.Batch{Arena: m.log.Arena, Records: m.log.Records[from:]}
	err = m.shard.Replay(rest)
	require.NoError(t, err)
	m.epochs, m.states, m.sealed, m.failed, m.writing = nil, nil, map[int64]*kafka.Outputs{}, false, false
}

func (m *model[V]) read(t *rapid.T, committed bool) state {
	q := &tables.Scan[V]{Committed: committed, Reverse: rapid.Bool().Draw(t, "reverse")}
	m.shard.Answer(q)
	require.NoError(t, q.Err)
	got := state{}
	if q.Reverse {
		slices.Reverse(q.Keys)
		slices.Reverse(q.Values)
	}
	for _, c := range []*tables.Count[V]{{Committed: committed}, {Committed: committed, From: []byte{}}} {
		m.shard.Answer(c)
		require.NoError(t, c.Err)
		require.Equal(t, len(q.Keys), c.N)
	}
	for i, k := range q.Keys {
		got[string(k)] = m.f.number(q.Values[i])
		m.f.mutate(q.Values[i])
	}
	require.True(t, slices.IsSortedFunc(q.Keys, slices.Compare[[]byte]))
	return got
}

func (m *model[V]) compare(t *rapid.T) {
	require.Equal(t, m.committed, m.read(t, true), "committed")
	if !m.failed {
		require.Equal(t, m.now(), m.read(t, false), "applied")
		require.Equal(t, len(m.now()), m.shard.Stats().Entries)
	}
	if len(m.epochs) == 0 {
		require.Zero(t, m.shard.Stats().Undo)
	}
}
