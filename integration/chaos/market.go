package main

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/chaos/work"
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

// outstanding says which of its topics has less than it should have.
func (m *market) outstanding(results map[string]map[string][]int64) string {
	for topic, want := range m.want() {
		if w, g := size(want), size(results[topic]); g < w {
			return fmt.Sprintf("the topic %s has %d of %d records", topic, g, w)
		}
	}
	return ""
}

func size(byKey map[string][]int64) (n int) {
	for _, list := range byKey {
		n += len(list)
	}
	return n
}

// marketTables are what the tables of market should hold.
func (a *audit) marketTables() (prices, sold, owed map[string]int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	prices, sold, owed = map[string]int64{}, map[string]int64{}, map[string]int64{}
	for _, s := range a.market.sales {
		sold[work.Customer(s.id)]++
	}
	for who, price := range a.market.prices {
		prices[who] = price
		if n := sold[who]; n > 0 {
			owed[who] = n * price
		}
	}
	return prices, sold, owed
}
