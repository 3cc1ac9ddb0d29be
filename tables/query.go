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
	Reverse   bool   // from the last key to the first
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

// GetMany asks for the values of several keys, as Get does for one, all of one moment.
type GetMany[V any] struct {
	Keys [][]byte // encoded
	Own  Ops

	Values []V
	OKs    []bool
	Err    error
}

func (q *GetMany[V]) answer(sh Shard) {
	s, ok := sh.(*ShardOf[V])
	if !ok {
		q.Err = errOtherType
		return
	}
	q.Values, q.OKs = make([]V, len(q.Keys)), make([]bool, len(q.Keys))
	q.Err = s.ask(q.Own, false, func() (err error) {
		for n, key := range q.Keys {
			if q.Values[n], q.OKs[n], err = s.lookUp(key, false); err != nil {
				return err
			}
		}
		return nil
	})
}

// CallsFor implements Shard: a value that is not kept encoded is read as it is.
func (s *ShardOf[V]) CallsFor(q Query) bool {
	var own Ops
	switch q := q.(type) {
	case *Get[V]:
		own = q.Own
	case *GetMany[V]:
		own = q.Own
	default:
		return true
	}
	return s.encoded || own != nil && s.Calls(own)
}

func (q *Get[V]) answer(sh Shard) {
	s, ok := sh.(*ShardOf[V])
	if !ok {
		q.Err = errOtherType
		return
	}
	q.Err = s.ask(q.Own, q.Committed, func() (err error) {
		q.Value, q.OK, err = s.lookUp(q.Key, q.Committed)
		return err
	})
}

// lookUp is read for a key, which may have no entry.
func (s *ShardOf[V]) lookUp(key []byte, committed bool) (v V, ok bool, err error) {
	i, found := s.find(key)
	if !found {
		return v, false, nil
	}
	return s.read(i, committed)
}

// read returns a copy of an entry's value.
func (s *ShardOf[V]) read(i int32, committed bool) (v V, ok bool, err error) {
	val, enc, live := s.val(i), s.enc(i), s.entries.at(i).live
	if committed {
		val, enc, live = s.committedOf(i)
	}
	key := s.key(i)
	if !live || s.ttl.gone(key, committed) {
		return v, false, nil
	}
	if s.encoded {
		val, err = s.decode(keyBytes(key), enc)
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
	last := s.last()
	if g := s.group; g != nil { // functions may go on to its other shards
		last = g.newest()
		defer g.undo(last)
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

func (q *Scan[V]) scan(s *ShardOf[V]) (err error) {
	s.each(q.From, q.To, q.Reverse, func(i int32) bool {
		var v V
		var ok bool
		if v, ok, err = s.read(i, q.Committed); err != nil || !ok {
			return err == nil
		}
		if q.Limit > 0 && len(q.Keys) == q.Limit {
			q.More = true
			return false
		}
		q.Keys, q.Values = append(q.Keys, append([]byte{}, s.key(i)...)), append(q.Values, v)
		return true
	})
	return err
}

// each visits the entries of a range in the order of their keys, live or not, until visit has enough.
func (s *ShardOf[V]) each(from, to []byte, reverse bool, visit func(int32) bool) {
	lo, hi := string(from), string(to)
	within := func(key string) bool { return key >= lo && (to == nil || key < hi) }
	switch {
	case s.order == nil:
		var all []int32
		for i := range s.taken() {
			if within(s.key(i)) {
				all = append(all, i)
			}
		}
		slices.SortFunc(all, func(a, b int32) int { return strings.Compare(s.key(a), s.key(b)) })
		if reverse {
			slices.Reverse(all)
		}
		for _, i := range all {
			if !visit(i) {
				return
			}
		}
	case !reverse:
		s.order.Ascend(lo, func(k string, i int32) bool { return within(k) && visit(i) })
	case to == nil:
		s.order.Reverse(func(k string, i int32) bool { return within(k) && visit(i) })
	default:
		s.order.Descend(hi, func(k string, i int32) bool { return k == hi || within(k) && visit(i) })
	}
}

// Count asks how many entries a range of keys has. Of the whole shard it is known; of a range they are counted.
type Count[V any] struct {
	From, To  []byte // encoded; nil: open. To is exclusive
	Committed bool
	Own       Ops

	N   int
	Err error
}

func (q *Count[V]) answer(sh Shard) {
	s, ok := sh.(*ShardOf[V])
	if !ok {
		q.Err = errOtherType
		return
	}
	q.Err = s.ask(q.Own, q.Committed, func() error {
		if q.From == nil && q.To == nil && (s.ttl == nil || !q.Committed) {
			q.N = s.size(q.Committed)
			return nil
		}
		s.each(q.From, q.To, false, func(i int32) bool {
			if s.seen(i, q.Committed) {
				q.N++
			}
			return true
		})
		return nil
	})
}

// seen says whether an entry is there for a reader.
func (s *ShardOf[V]) seen(i int32, committed bool) bool {
	live := s.entries.at(i).live
	if committed {
		_, _, live = s.committedOf(i)
	}
	return live && !s.ttl.gone(s.key(i), committed)
}

// size is how many entries there are for a reader.
func (s *ShardOf[V]) size(committed bool) int {
	n := s.live
	if !committed {
		if s.ttl != nil {
			n -= len(s.ttl.due(0))
		}
		return n
	}
	for _, log := range s.logs {
		for j := range log.undos {
			u := &log.undos[j]
			if s.listOf(u.prev) != nil { // an older one says what is committed
				continue
			}
			if live := s.entries.at(u.entry).live; live && !u.live {
				n--
			} else if !live && u.live {
				n++
			}
		}
	}
	return n
}
