package tables

import "fmt"

// Index says by what else entries of a table are found.
type Index[V any] struct {
	Name string
	// Of makes what an entry is found by, encoded, of its key, encoded, and a value of its own. It must be pure.
	Of func(key []byte, v V) ([]byte, error)
}

// Lookup asks for the entries that an index has under a value, in the order of their keys.
type Lookup[V any] struct {
	Index     int    // its place in Spec.Indexes
	Value     []byte // encoded
	After     []byte // a key: those behind it; nil: from the first on
	Limit     int    // entries at most; 0: no limit
	Committed bool
	Own       Ops

	Keys   [][]byte // copies
	Values []V
	More   bool   // there may be further entries, behind Next
	Next   []byte // the last key that was looked at
	Err    error
}

func (q *Lookup[V]) answer(sh Shard) {
	s, ok := sh.(*ShardOf[V])
	if !ok || q.Index >= len(s.indexes) {
		q.Err = errOtherType
		return
	}
	q.Err = s.ask(q.Own, q.Committed, func() error {
		limit := 0
		if q.Limit > 0 {
			limit = q.Limit + 1
		}
		keys := s.indexes[q.Index].keys(string(q.Value), q.After, limit, q.Committed)
		if q.More = limit > 0 && len(keys) == limit; q.More {
			keys = keys[:q.Limit]
			q.Next = []byte(keys[q.Limit-1])
		}
		for _, key := range keys {
			i, found := s.find(keyBytes(key))
			if !found {
				continue
			}
			v, ok, err := s.read(i, q.Committed)
			if err != nil {
				return err
			}
			if ok { // else it has expired
				q.Keys, q.Values = append(q.Keys, []byte(key)), append(q.Values, v)
			}
		}
		return nil
	})
}

// reindex puts an entry that was written into the indexes. epoch 0: while restoring, when there is nothing to undo.
func (s *ShardOf[V]) reindex(epoch int64, i int32) error {
	key := s.key(i)
	for n, side := range s.indexes {
		v := s.val(i)
		if s.encoded {
			var err error
			if v, err = s.decode(keyBytes(key), s.enc(i)); err != nil {
				return err
			}
		}
		of, err := s.spec.Indexes[n].Of([]byte(key), v)
		if err != nil {
			return fmt.Errorf("index %s of table %s: %w", s.spec.Indexes[n].Name, s.spec.Name, err)
		}
		if epoch > 0 {
			side.touch(epoch, key)
		}
		side.put(key, string(of))
	}
	return nil
}

// unindex takes an entry that is no more out of the indexes.
func (s *ShardOf[V]) unindex(epoch int64, key string) {
	for _, side := range s.indexes {
		if epoch > 0 {
			side.touch(epoch, key)
		}
		side.drop(key)
	}
}
