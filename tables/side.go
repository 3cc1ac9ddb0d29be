package tables

import (
	"cmp"
	"slices"

	"github.com/tidwall/btree"
)

// side keeps one thing beside entries, such as when they expire, ordered by it; and for each epoch that is not committed what it
// was before.
type side[T cmp.Ordered] struct {
	of   map[string]T
	tree *btree.BTreeG[mark[T]]
	logs []sideLog[T] // oldest first
}

// mark is an entry's place in the order.
type mark[T cmp.Ordered] struct {
	val T
	key string
}

type sideLog[T cmp.Ordered] struct {
	epoch  int64
	before map[string]was[T] // by the keys that the epoch has touched
}

// was is what there was; ok is false for nothing.
type was[T cmp.Ordered] struct {
	val T
	ok  bool
}

func newSide[T cmp.Ordered]() *side[T] {
	return &side[T]{of: map[string]T{}, tree: btree.NewBTreeGOptions(func(a, b mark[T]) bool {
		if c := cmp.Compare(a.val, b.val); c != 0 {
			return c < 0
		}
		return a.key < b.key
	}, btree.Options{NoLocks: true})}
}

// put notes v beside a key, whose string is kept.
func (s *side[T]) put(key string, v T) {
	if old, ok := s.of[key]; ok {
		if old == v {
			return
		}
		s.tree.Delete(mark[T]{old, key})
	}
	s.of[key] = v
	s.tree.Set(mark[T]{v, key})
}

// drop forgets what is beside a key.
func (s *side[T]) drop(key string) {
	if old, ok := s.of[key]; ok {
		s.tree.Delete(mark[T]{old, key})
		delete(s.of, key)
	}
}

// touch notes what is beside a key before an epoch, the newest or newer, changes it.
func (s *side[T]) touch(epoch int64, key string) {
	if n := len(s.logs); n == 0 || s.logs[n-1].epoch < epoch {
		s.logs = append(s.logs, sideLog[T]{epoch, map[string]was[T]{}})
	}
	before := s.logs[len(s.logs)-1].before
	if _, ok := before[key]; !ok {
		v, ok := s.of[key]
		before[key] = was[T]{v, ok}
	}
}

// undo goes back to the end of an epoch.
func (s *side[T]) undo(to int64) {
	for n := len(s.logs); n > 0 && s.logs[n-1].epoch > to; n = len(s.logs) {
		for key, x := range s.logs[n-1].before {
			if x.ok {
				s.put(key, x.val)
			} else {
				s.drop(key)
			}
		}
		s.logs[n-1] = sideLog[T]{}
		s.logs = s.logs[:n-1]
	}
}

// committed forgets what there was before epochs that are committed.
func (s *side[T]) committed(epoch int64) {
	n := 0
	for n < len(s.logs) && s.logs[n].epoch <= epoch {
		n++
	}
	s.logs = slices.Delete(s.logs, 0, n)
}

// get returns what is beside a key.
func (s *side[T]) get(key string, committed bool) (T, bool) {
	if committed {
		for _, log := range s.logs {
			if x, ok := log.before[key]; ok {
				return x.val, x.ok
			}
		}
	}
	v, ok := s.of[key]
	return v, ok
}

// keys returns the keys behind `after` that have v beside them, sorted; up to limit of them, if it is positive. nil is before all keys.
func (s *side[T]) keys(v T, after []byte, limit int, committed bool) (keys []string) {
	from := mark[T]{val: v}
	if after != nil {
		from.key = string(after) + "\x00"
	}
	s.tree.Ascend(from, func(m mark[T]) bool {
		if m.val != v || limit > 0 && len(keys) == limit && (!committed || len(s.logs) == 0) {
			return false
		}
		if !committed || s.is(m.key, v) {
			keys = append(keys, m.key)
		}
		return true
	})
	if !committed || len(s.logs) == 0 {
		return keys
	}
	for _, log := range s.logs { // what was there, and is not any more
		for key, x := range log.before {
			if x.ok && x.val == v && key >= from.key && s.is(key, v) && !s.has(key, v) {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if limit > 0 && len(keys) > limit {
		keys = keys[:limit]
	}
	return keys
}

// has says whether v is beside a key.
func (s *side[T]) has(key string, v T) bool {
	x, ok := s.of[key]
	return ok && x == v
}

// is says whether the committed thing beside a key is v.
func (s *side[T]) is(key string, v T) bool {
	x, ok := s.get(key, true)
	return ok && x == v
}
