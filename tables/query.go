package tables

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Get asks for the value of one key.
type Get[V any] struct {
	Key       []byte // encoded
	Committed bool   // see committed values only
	Own       Ops    // operations of the asker's that are not applied yet, or nil: applied to the answer, not kept

	Value V // a copy of its own where values hold references
	OK    bool
	Err   error
}

// Scan asks for the entries of a range of keys, in the order of their encoded bytes. Without Ordered it sorts the whole
// shard each time.
type Scan[V any] struct {
	From, To  []byte // encoded; nil: open. To is exclusive
	Limit     int    // entries at most; 0: no limit
	Committed bool
	Own       Ops

	Keys   [][]byte // copies
	Values []V
	More   bool // there are further entries behind the last
	Err    error
}

// errOtherType says that a query and its shard have different types: a bug of this module's.
var errOtherType = errors.New("query of another type of values than the shard's")

// Answer implements Shard.
func (s *ShardOf[V]) Answer(q Query) { q.answer(s) }

func (q *Get[V]) answer(sh Shard) {
	s, ok := sh.(*ShardOf[V])
	if !ok {
		q.Err = errOtherType
		return
	}
	q.Err = s.ask(q.Own, q.Committed, func() error {
		i, found := s.index[string(q.Key)]
		if !found {
			return nil
		}
		var err error
		q.Value, q.OK, err = s.read(&s.entries[i], q.Committed)
		return err
	})
}

// read returns a copy of an entry's value.
func (s *ShardOf[V]) read(e *entry[V], committed bool) (v V, ok bool, err error) {
	val, enc, live := e.val, e.enc, e.live
	if committed {
		val, enc, live = s.committedOf(e)
	}
	if !live {
		return v, false, nil
	}
	if s.encoded {
		val, err = s.decode(keyBytes(e.key), enc)
	}
	return val, err == nil, err
}

// ask runs read with the asker's own operations applied, and undoes them.
func (s *ShardOf[V]) ask(own Ops, committed bool, read func() error) (err error) {
	if committed {
		return read()
	}
	if s.failed {
		return ErrFailed
	}
	o, ok := own.(*OpsOf[V])
	if own == nil || ok && o.Len() == 0 {
		return read()
	}
	if !ok {
		return errOtherType
	}
	last := int64(0)
	if n := len(s.logs); n > 0 {
		last = s.logs[n-1].epoch
	}
	defer s.Undo(last)
	if err := s.apply(last+1, o, discard()); err != nil {
		return fmt.Errorf("apply the record's own operations: %w", err)
	}
	return read()
}

func (q *Scan[V]) answer(sh Shard) {
	s, ok := sh.(*ShardOf[V])
	if !ok {
		q.Err = errOtherType
		return
	}
	q.Err = s.ask(q.Own, q.Committed, func() error { return q.scan(s) })
}

func (q *Scan[V]) scan(s *ShardOf[V]) error {
	visit := func(i int32) (bool, error) {
		e := &s.entries[i]
		if q.To != nil && e.key >= string(q.To) {
			return false, nil
		}
		v, ok, err := s.read(e, q.Committed)
		if err != nil || !ok {
			return err == nil, err
		}
		if q.Limit > 0 && len(q.Keys) == q.Limit {
			q.More = true
			return false, nil
		}
		q.Keys, q.Values = append(q.Keys, append([]byte{}, e.key...)), append(q.Values, v)
		return true, nil
	}
	var err error
	if s.order != nil {
		s.order.Ascend(string(q.From), func(_ string, i int32) bool {
			var more bool
			more, err = visit(i)
			return more
		})
		return err
	}
	var all []int32
	for k, i := range s.index {
		if k >= string(q.From) {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b int32) int { return strings.Compare(s.entries[a].key, s.entries[b].key) })
	for _, i := range all {
		if more, err := visit(i); err != nil || !more {
			return err
		}
	}
	return nil
}
