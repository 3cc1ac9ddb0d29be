package tables

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/codec"
)

// TestUndoListsAreNumberedAnew: where an epoch is always open, the numbers of undo lists come to an end, and begin again without anything else to be seen of it.
func TestUndoListsAreNumberedAnew(t *testing.T) {
	t.Parallel()
	const keys, open = 4, 5
	rapid.Check(t, func(t *rapid.T) {
		spec := &Spec[int64]{Name: "t", Codec: codec.Int64}
		s := New(spec, Config{})
		s.lastList = rapid.Int32Range(1, open).Draw(t, "last") // which is over as soon as a list is dropped
		type state struct {
			epoch int64
			rows  map[string]int64
		}
		states := []state{{0, map[string]int64{}}} // what is committed, and then each epoch that is open
		epoch, values := int64(0), int64(0)
		s.Committed(0)
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				if len(states) == 1 || len(states) <= open && rapid.Bool().Draw(t, "new") {
					epoch++
					states = append(states, state{epoch, maps.Clone(states[len(states)-1].rows)})
				}
				last, ops := states[len(states)-1], NewOps(spec)
				for range rapid.IntRange(1, 3).Draw(t, "ops") {
					key := fmt.Sprint(rapid.IntRange(1, keys).Draw(t, "key"))
					if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
						delete(last.rows, key)
						ops.Delete([]byte(key))
						continue
					}
					values++
					last.rows[key] = values
					require.NoError(t, ops.Set([]byte(key), values))
				}
				require.NoError(t, s.Apply(last.epoch, ops, new(kafka.Outputs)))
			},
			"commit": func(t *rapid.T) { // the newest seldom, so that one stays open
				n := rapid.IntRange(0, max(len(states)-2, 0)).Draw(t, "n")
				if rapid.IntRange(0, 20).Draw(t, "all") == 0 {
					n = len(states) - 1
				}
				states = states[n:]
				s.Committed(states[0].epoch)
			},
			"undo": func(t *rapid.T) {
				n := len(states) - 1
				if n > 1 && rapid.Bool().Draw(t, "one") {
					n--
				}
				if rapid.IntRange(0, 20).Draw(t, "all") == 0 {
					n = 0
				}
				states = states[:n+1]
				s.Undo(states[n].epoch)
			},
			"": func(t *rapid.T) {
				for i := range keys {
					key := fmt.Sprint(i + 1)
					at, there := s.find([]byte(key))
					latest, isLatest := states[len(states)-1].rows[key]
					committed, isCommitted := states[0].rows[key]
					if !there {
						require.False(t, isLatest || isCommitted, key)
						continue
					}
					require.Equal(t, isLatest, s.entries.at(at).live, key)
					if isLatest {
						require.Equal(t, latest, s.val(at), key)
					}
					v, _, live := s.committedOf(at)
					require.Equal(t, isCommitted, live, key)
					if isCommitted {
						require.Equal(t, committed, v, key)
					}
				}
			},
		})
	})
}

// TestUndoListsAreNumberedAnewAsOftenAsNeeded: with room for two more numbers and one epoch that is always open, every other list or so is.
func TestUndoListsAreNumberedAnewAsOftenAsNeeded(t *testing.T) {
	t.Parallel()
	const epochs, last = 100, 3
	spec := &Spec[int64]{Name: "t", Codec: codec.Int64}
	s := New(spec, Config{})
	s.lastList = last
	s.Committed(0)
	again, before := 0, int32(0)
	for epoch := int64(1); epoch <= epochs; epoch++ {
		ops := NewOps(spec)
		require.NoError(t, ops.Set([]byte("key"), epoch))
		require.NoError(t, s.Apply(epoch, ops, new(kafka.Outputs)))
		if number := s.number(); number < before {
			again++
		}
		before = s.number()
		require.LessOrEqual(t, before, int32(last))
		s.Committed(epoch - 1)
		at, there := s.find([]byte("key"))
		require.True(t, there)
		v, _, live := s.committedOf(at)
		require.Equal(t, epoch > 1, live)
		if live {
			require.Equal(t, epoch-1, v)
		}
	}
	require.Greater(t, again, epochs/last, "numbered anew")
}

// number is the number of the newest undo list; 0: there is none.
func (s *ShardOf[V]) number() int32 {
	if n := len(s.logs); n > 0 {
		return s.logs[n-1].number
	}
	return 0
}
