package main

import (
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/chaos/work"
	"github.com/troupe-stream/troupe/topology/codec"
)

// market is what the topology of that name was given.
type market struct {
	sales  map[string]sale
	times  map[int32]int64 // the latest time of a record in each partition of sales, Unix milliseconds
	prices map[string]int64
}

// sale is one that has come once or more.
type sale struct {
	id        int64
	last      int64 // when it came last, by the times of records
	partition int32
}

// take takes a record of the topology.
func (m *market) take(a *audit, r *kgo.Record) error {
	id, err := codec.Int64.Decode(r.Value)
	switch {
	case err != nil:
		return err
	case r.Topic == "sales":
		m.sale(r, id)
	case r.Topic == "prices":
		m.prices[string(r.Key)] = id
	default:
		return a.number(r, "", nil)
	}
	return nil
}

func (m *market) sale(r *kgo.Record, id int64) {
	at := r.Timestamp.UnixMilli()
	m.sales[string(r.Key)] = sale{id, at, r.Partition}
	m.times[r.Partition] = max(m.times[r.Partition], at)
}

// want is what should be in topics, by key.
func (m *market) want() map[string]map[string][]int64 {
	fresh, priced, counted, called := map[string][]int64{}, map[string][]int64{}, map[string][]int64{}, map[string][]int64{}
	for key, s := range m.sales {
		fresh[key], priced[key] = []int64{s.id}, []int64{work.Priced(s.id)}
		who := work.Customer(s.id)
		counted[who] = append(counted[who], int64(len(counted[who])+1))
		if s.last+work.CallAfter.Milliseconds() <= m.times[s.partition] {
			called[key] = []int64{s.id}
		}
	}
	return map[string]map[string][]int64{"fresh": fresh, "priced": priced, "counted": counted, "called": called}
}

// left says which of its topics has less than it should have.
func (m *market) left(results map[string]map[string][]int64) string {
	for topic, want := range m.want() {
		if w, g := size(want), size(results[topic]); g < w {
			return fmt.Sprintf("the topic %s has %d of %d records", topic, g, w)
		}
	}
	return ""
}

func size[T any](byKey map[string][]T) (n int) {
	for _, list := range byKey {
		n += len(list)
	}
	return n
}

// holds is what its tables should hold.
func (m *market) holds() []contents {
	prices, sold, owed := maps.Clone(m.prices), map[string]int64{}, map[string]int64{}
	for _, s := range m.sales {
		sold[work.Customer(s.id)]++
	}
	for who, price := range prices {
		if n := sold[who]; n > 0 {
			owed[who] = n * price
		}
	}
	return []contents{numbers("price", prices), numbers("sold", sold), numbers("owed", owed)}
}
