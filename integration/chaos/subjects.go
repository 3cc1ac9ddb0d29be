package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/examples/wordcount"
	"github.com/troupe-stream/troupe/integration/chaos/work"
	"github.com/troupe-stream/troupe/topology/codec"
)

// subject is one of the topologies of a run: what it reads and writes, and how that is compared. Its functions are called with the audit's mutex held.
type subject struct {
	name    string
	inputs  []string                            // topics that the load writes
	inner   []string                            // topics that nodes write, and read again
	outputs []string                            // topics that nodes write
	tables  []string                            // what has a changelog: tables and durable timers
	take    func(a *audit, r *kgo.Record) error // folds a record of one of its topics
	compare func(a *audit, v *verdict)          // compares all of its topics with the fold
	holds   func(a *audit) []contents           // what its tables should hold
	left    func(a *audit) (text string)        // what has not come yet of what comes after the records that cause it are done; nil: all comes with them
}

// subjects are all topologies.
func subjects() []subject {
	return []subject{
		{
			name: "wordcount", inputs: []string{"lines"}, inner: []string{"words"}, tables: []string{"counts"}, take: (*audit).word,
			compare: func(a *audit, v *verdict) { v.counts("topic words", a.wantWords, a.gotWords) },
			holds:   func(a *audit) []contents { return []contents{numbers("counts", maps.Clone(a.wantWords))} },
		},
		{
			name: "ledger", inputs: []string{"transfers"}, inner: []string{"postings"}, outputs: []string{"statements"}, tables: []string{"balances"},
			take: (*audit).transfer, compare: (*audit).ledger, holds: (*audit).balances,
		},
		{
			name: "jobs", inputs: []string{"jobs"}, outputs: []string{"quickly", "slowly", "gathered"}, tables: []string{"quicks", "slows"},
			take:    func(a *audit, r *kgo.Record) error { return a.number(r, "jobs", a.jobs) },
			compare: func(a *audit, v *verdict) { a.copies(v, a.jobs, "quickly", "slowly", "gathered") },
			holds: func(a *audit) []contents {
				n := lengths(a.jobs)
				return []contents{numbers("quicks", n), numbers("slows", n)}
			},
		},
		{
			name: "troubles", inputs: []string{"orders"}, outputs: []string{"served", "keyed"}, tables: []string{"serves"},
			take: (*audit).order, compare: (*audit).troubles, holds: (*audit).served,
		},
		{
			name: "errands", inputs: []string{"errands"}, inner: []string{"questions"}, outputs: []string{"walked", "told", "reminded"}, tables: []string{"open", "reminders"},
			take: func(a *audit, r *kgo.Record) error {
				if r.Topic == "questions" {
					return nil // what becomes of them is told
				}
				return a.number(r, "errands", a.errands)
			},
			compare: func(a *audit, v *verdict) { a.copies(v, a.errands, "walked", "told", "reminded") },
			holds:   func(*audit) []contents { return []contents{numbers("open", nil)} }, // each has been reminded of
			left: func(a *audit) string {
				if n := len(a.errands) - min(len(a.results["reminded"]), len(a.results["told"])); n > 0 {
					return fmt.Sprintf("%d errands have not been told and reminded of", n)
				}
				return ""
			},
		},
		{
			name: "market", inputs: []string{"sales", "prices"}, inner: []string{"fresh"}, outputs: []string{"priced", "counted", "called"},
			tables: []string{"price", "seen", "sold", "owed", "calls"},
			take:   func(a *audit, r *kgo.Record) error { return a.market.take(a, r) },
			compare: func(a *audit, v *verdict) {
				for topic, want := range a.market.want() {
					lists(v, "topic "+topic, want, a.results[topic])
				}
			},
			holds: func(a *audit) []contents { return a.market.holds() },
			left:  func(a *audit) string { return a.market.left(a.results) },
		},
		{
			name: "bazaar", inputs: []string{"lots", "tariffs", firstCaravan}, inner: []string{"pleas"}, outputs: []string{"deals"},
			tables:  []string{"tariff", "recent", "stand", "halls", "judgements"},
			take:    func(a *audit, r *kgo.Record) error { return a.bazaar.take(r) },
			compare: func(a *audit, v *verdict) { a.bazaar.compare(v) },
			holds:   func(a *audit) []contents { return a.bazaar.holds() },
			left:    func(a *audit) string { return a.bazaar.left() },
		},
	}
}

// sources are what the topology's nodes read, upstream first.
func (s subject) sources() []string { return append(append([]string{}, s.inputs...), s.inner...) }

// written are the topics that its nodes write.
func (s subject) written() []string { return append(append([]string{}, s.inner...), s.outputs...) }

// topics are those of all topologies: what the load writes, and what nodes write.
func topics() (inputs, written []string) {
	for _, s := range subjects() {
		inputs, written = append(inputs, s.inputs...), append(written, s.written()...)
	}
	return inputs, written
}

// changelogs are the topics that hold the tables.
func changelogs() (all []string) {
	for _, s := range subjects() {
		for _, table := range s.tables {
			all = append(all, s.name+"-"+table+"-changelog")
		}
	}
	return all
}

// letters is the topic of records that the topology's nodes have given up.
func (s subject) letters() string { return s.name + "-dead-letters" }

// troublesLetters are the dead letters that there must be.
const troublesLetters = "troubles-dead-letters"

// contents is what a table should hold.
type contents struct {
	table   string
	compare func(v *verdict, texts map[string]string) error // with what the node command shows of its rows
}

// holds says what a table should hold, and how the texts of its values are read.
func holds[V comparable](table string, want map[string]V, parse func(string) (V, error)) contents {
	return contents{table, func(v *verdict, texts map[string]string) error {
		got := map[string]V{}
		for k, text := range texts {
			x, err := parse(text)
			if err != nil {
				return fmt.Errorf("table %s: key %q: %w", table, k, err)
			}
			got[k] = x
		}
		rows(v, "table "+table, want, got)
		return nil
	}}
}

// numbers is holds for a table of numbers.
func numbers(table string, want map[string]int64) contents {
	return holds(table, want, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
}

// structs is holds for a table of values in JSON.
func structs[V comparable](table string, want map[string]V) contents {
	return holds(table, want, func(s string) (x V, err error) { return x, json.Unmarshal([]byte(s), &x) })
}

// lengths says how many there are of each key.
func lengths[T any](byKey map[string][]T) map[string]int64 {
	out := map[string]int64{}
	for key, all := range byKey {
		out[key] = int64(len(all))
	}
	return out
}

// copies compares topics with an input that each of them should be like.
func (a *audit) copies(v *verdict, want map[string][]int64, topics ...string) {
	for _, topic := range topics {
		lists(v, "topic "+topic, want, a.results[topic])
	}
}

// number takes a record of a topic of numbers: of an input, or else of what nodes have written.
func (a *audit) number(r *kgo.Record, input string, given map[string][]int64) error {
	id, err := codec.Int64.Decode(r.Value)
	if err != nil {
		return err
	}
	into := given
	if r.Topic != input {
		if into = a.results[r.Topic]; into == nil {
			into = map[string][]int64{}
			a.results[r.Topic] = into
		}
	}
	into[string(r.Key)] = append(into[string(r.Key)], id)
	return nil
}

// word takes a record of wordcount.
func (a *audit) word(r *kgo.Record) error {
	if r.Topic == "words" {
		a.gotWords[string(r.Key)]++
		return nil
	}
	for _, w := range wordcount.Words(string(r.Value)) {
		a.wantWords[w]++
	}
	return nil
}

// order takes a record of troubles.
func (a *audit) order(r *kgo.Record) error {
	if err := a.number(r, "orders", a.orders); err != nil || r.Topic != "orders" {
		return err
	}
	all := a.orders[string(r.Key)]
	a.ordersAt[all[len(all)-1]] = fmt.Sprintf("orders/%d@%d", r.Partition, r.Offset)
	return nil
}

// served is what the table of troubles should hold.
func (a *audit) served() []contents {
	serves := map[string]int64{}
	for key, ids := range a.orders {
		for _, id := range ids {
			if !work.Poison(work.Serve, id) {
				serves[key]++
			}
		}
	}
	return []contents{numbers("serves", serves)}
}

// transfer takes a record of ledger.
func (a *audit) transfer(r *kgo.Record) error {
	key := string(r.Key)
	switch r.Topic {
	case "transfers":
		var t work.Transfer
		if err := json.Unmarshal(r.Value, &t); err != nil {
			return err
		}
		a.transfers[t.ID] = origin{r.Partition, r.Offset, t}
	case "postings":
		return a.posting(key, r.Value)
	default:
		var s work.Statement
		if err := json.Unmarshal(r.Value, &s); err != nil {
			return err
		}
		a.statements[key] = append(a.statements[key], s)
	}
	return nil
}

// balances is what the table of ledger should hold.
func (a *audit) balances() []contents {
	all := map[string]work.Balance{}
	for account, list := range a.postings {
		var b work.Balance
		for _, p := range list {
			b = b.Add(p)
		}
		all[account] = b
	}
	return []contents{structs("balances", all)}
}
