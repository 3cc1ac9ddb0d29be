package actors

import (
	"slices"

	"github.com/troupe-stream/troupe/internal/plant"
	"github.com/troupe-stream/troupe/kafka"
)

// progress is what an agent has done of a topic-partition: everything below upTo, and the ranges beyond it, sorted, apart
// and non-empty.
type progress struct {
	upTo   int64
	beyond []offsets
}

// offsets is a range of offsets, to exclusive.
type offsets struct{ from, to int64 }

// add marks a range as done and reports whether it changed anything.
func (p *progress) add(from, to int64) bool {
	if from >= to || to <= p.upTo {
		return false
	}
	i := 0
	for i < len(p.beyond) && p.beyond[i].to < from {
		i++
	}
	j := i
	for j < len(p.beyond) && p.beyond[j].from <= to {
		from, to = min(from, p.beyond[j].from), max(to, p.beyond[j].to)
		j++
	}
	if from <= p.upTo {
		p.upTo = to
		p.beyond = slices.Delete(p.beyond, 0, j)
		return true
	}
	p.beyond = slices.Replace(p.beyond, i, j, offsets{from, to})
	return true
}

// has says whether an offset is done.
func (p *progress) has(offset int64) bool {
	if offset < p.upTo {
		return true
	}
	for _, r := range p.beyond {
		if offset < r.from {
			return false
		}
		if offset < r.to {
			return true
		}
	}
	return false
}

func (p *progress) clone() progress { return progress{p.upTo, slices.Clone(p.beyond)} }

// ahead is the progress relative to a committed offset, as the metadata has it.
func (p *progress) ahead(committed int64) kafka.Ahead {
	a := kafka.Ahead{UpTo: p.upTo - committed}
	if plant.Is("done-set is dropped") {
		return kafka.Ahead{}
	}
	for _, r := range p.beyond {
		a.Beyond = append(a.Beyond, r.from-committed, r.to-committed)
	}
	return a
}

// progressOf reads what ahead made.
func progressOf(a kafka.Ahead, committed int64) progress {
	p := progress{upTo: committed + a.UpTo}
	for i := 0; i+1 < len(a.Beyond); i += 2 {
		p.add(committed+a.Beyond[i], committed+a.Beyond[i+1])
	}
	return p
}
