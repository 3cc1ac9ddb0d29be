package tables

import (
	"slices"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/internal/poison"
)

// ref is a place in the undo lists: the number of a list, 0 for none, and a place in it. Once that list is dropped, which only happens
// to the oldest, it is none either.
type ref struct{ log, at int32 }

// undo says what an epoch has touched. What the value was is beside it.
type undo struct {
	entry int32
	live  bool
	prev  ref // the entry's undo value before
}

// epochLog is the undo list of one epoch: what it touched, and so what is to be journaled for it.
type epochLog[V any] struct {
	epoch  int64
	number int32 // one more than that of the list before
	undos  []undo
	vals   []V      // beside undos, unless values are kept encoded
	encs   []string // beside undos, if they are
}

// note notes the value of an entry for undo if the epoch has not touched it yet.
func (s *ShardOf[V]) note(epoch int64, i int32) {
	e := s.entries.at(i)
	log := s.log(epoch)
	if e.last.log == log.number {
		return
	}
	here := ref{log.number, int32(len(log.undos))}
	log.undos = append(log.undos, undo{entry: i, live: e.live, prev: e.last})
	if s.encoded {
		log.encs = append(log.encs, *s.encs.at(i))
	} else {
		log.vals = append(log.vals, *s.vals.at(i))
	}
	e.last = here
	s.undos++
}

// log returns the undo list of an epoch, which is the newest or newer.
func (s *ShardOf[V]) log(epoch int64) *epochLog[V] {
	if n := len(s.logs); n == 0 || s.logs[n-1].epoch < epoch {
		var log epochLog[V]
		if m := len(s.spare); m > 0 {
			log, s.spare = s.spare[m-1], s.spare[:m-1]
		}
		log.epoch, log.number = epoch, 1 // where there is no list, nothing refers to one
		if n > 0 {
			if s.logs[n-1].number >= s.lastList {
				s.renumber()
			}
			log.number += s.logs[n-1].number
		}
		s.logs = append(s.logs, log)
	}
	return &s.logs[len(s.logs)-1]
}

// renumber has the oldest list begin with 1 again. Where an epoch is always open, numbers come to an end.
func (s *ShardOf[V]) renumber() {
	gone := s.logs[0].number - 1
	since := func(r ref) ref {
		if r.log <= gone {
			return ref{}
		}
		return ref{r.log - gone, r.at}
	}
	for i := range s.logs {
		log := &s.logs[i]
		for j := range log.undos {
			u := &log.undos[j]
			u.prev = since(u.prev)
			if e := s.entries.at(u.entry); e.last.log == log.number { // else it is that of a newer one
				e.last = since(e.last)
			}
		}
		log.number -= gone
	}
}

// Undo lists are used again: so many of them, and none that is much larger than what it was used for.
const (
	spareLists = 4
	spareExtra = 8
)

// reuse keeps the memory of an undo list that is done with. Nobody outside the shard has ever seen it.
func (s *ShardOf[V]) reuse(log epochLog[V]) {
	if len(s.spare) < spareLists && cap(log.undos) <= spareExtra*len(log.undos) {
		clear(log.vals) // what it holds is garbage now
		clear(log.encs)
		if poison.On {
			for i := range log.undos {
				log.undos[i] = undo{entry: -1}
			}
		}
		s.spare = append(s.spare, epochLog[V]{undos: log.undos[:0], vals: log.vals[:0], encs: log.encs[:0]})
	}
}

// listOf returns the undo list that a place is in; nil if there is none, or none any more.
func (s *ShardOf[V]) listOf(r ref) *epochLog[V] {
	if len(s.logs) == 0 || r.log < s.logs[0].number {
		return nil
	}
	return &s.logs[r.log-s.logs[0].number]
}

// Undo implements Shard.
func (s *ShardOf[V]) Undo(to int64) {
	s.failed = false
	if s.ttl != nil {
		s.ttl.undo(to)
	}
	for _, x := range s.indexes {
		x.undo(to)
	}
	for n := len(s.logs); n > 0 && s.logs[n-1].epoch > to; n = len(s.logs) {
		log := &s.logs[n-1]
		for j := range slices.Backward(log.undos) {
			if j == 0 && len(log.undos) > 1 && plant.Is("undo skips a key") {
				break
			}
			s.revert(log, j)
		}
		s.reuse(*log)
		s.logs[n-1] = epochLog[V]{}
		s.logs = s.logs[:n-1]
	}
}

// revert undoes one change of the newest list.
func (s *ShardOf[V]) revert(log *epochLog[V], j int) {
	u := log.undos[j]
	s.disarm(u.entry)
	e := s.entries.at(u.entry)
	if e.live != u.live {
		if u.live {
			s.live++
		} else {
			s.live--
		}
	}
	if s.encoded {
		now := s.encs.at(u.entry)
		s.bytes += int64(len(log.encs[j]) - len(*now))
		*now = log.encs[j]
	} else {
		*s.vals.at(u.entry) = log.vals[j]
	}
	if e.live, e.last = u.live, u.prev; s.listOf(e.last) == nil {
		e.last = ref{} // committed meanwhile; its number may be used again
	}
	s.arm(u.entry)
	s.undos--
	if !e.live && e.last == (ref{}) {
		s.remove(u.entry)
	}
}

// Committed implements Shard.
func (s *ShardOf[V]) Committed(epoch int64) {
	if s.ttl != nil {
		s.ttl.committed(epoch)
	}
	for _, x := range s.indexes {
		x.committed(epoch)
	}
	n := 0
	for n < len(s.logs) && s.logs[n].epoch <= epoch {
		log := &s.logs[n]
		for _, u := range log.undos {
			e := s.entries.at(u.entry)
			s.undos--
			s.buckets.touch(e.hash)
			if e.last.log != log.number {
				continue // there is a newer one
			}
			if e.last = (ref{}); !e.live {
				s.remove(u.entry)
			}
		}
		s.reuse(*log)
		n++
	}
	if n > 0 {
		m := copy(s.logs, s.logs[n:])
		clear(s.logs[m:])
		s.logs = s.logs[:m]
	}
}

// committedOf is an entry's committed value: the oldest undo value where there is one.
func (s *ShardOf[V]) committedOf(i int32) (v V, enc []byte, live bool) {
	e := s.entries.at(i)
	at := e.last
	log := s.listOf(at)
	if log == nil {
		return s.val(i), s.enc(i), e.live
	}
	for !plant.Is("blind-5") {
		prev := log.undos[at.at].prev
		before := s.listOf(prev)
		if before == nil {
			break
		}
		at, log = prev, before
	}
	if s.encoded {
		return v, keyBytes(log.encs[at.at]), log.undos[at.at].live
	}
	return log.vals[at.at], nil, log.undos[at.at].live
}
