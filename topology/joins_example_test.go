package topology_test

import (
	"fmt"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// A topic is read as a table, and agents of the same stage look at it.
func ExampleTableFrom() {
	t := topology.New("prices")
	updates := topology.NewTopic(t, "price-updates", codec.String, codec.Int64)
	questions := topology.NewTopic(t, "questions", codec.String, codec.String)
	answers := topology.NewTopic(t, "answers", codec.String, codec.Int64)
	prices := topology.TableFrom(t, "prices", updates)
	topology.Each(t, "answer", questions, func(ctx *topology.Context, q topology.Event[string, string]) error {
		if price, ok, err := prices.Get(ctx, q.Key); err == nil && ok {
			answers.Send(ctx, q.Key, price)
		}
		return nil
	}, topology.Reads(prices), topology.Sends(answers))

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// Orders are priced: those of goods without a price are dropped.
func ExampleJoin() {
	t := topology.New("pricing")
	orders := topology.NewTopic(t, "orders", codec.String, codec.Int64)
	prices := topology.TableFrom(t, "prices", topology.NewTopic(t, "price-updates", codec.String, codec.Int64))
	priced := topology.NewTopic(t, "priced", codec.String, codec.Int64)
	topology.To(topology.Join(topology.From(orders), prices, func(count, price int64) int64 { return count * price }), priced)

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// Clicks get the name of who clicked, if it is known.
func ExampleLeftJoin() {
	t := topology.New("clicks")
	clicks := topology.NewTopic(t, "clicks", codec.String, codec.String)
	users := topology.TableFrom(t, "users", topology.NewTopic(t, "user-updates", codec.String, codec.String))
	named := topology.NewTopic(t, "named", codec.String, codec.String)
	topology.To(topology.LeftJoin(topology.From(clicks), users, func(page, name string, ok bool) string {
		if !ok {
			name = "somebody"
		}
		return name + " on " + page
	}), named)

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// The stock of a shop: what came in, less what was sold, kept up by both.
func ExampleJoinTables() {
	t := topology.New("stock")
	came := topology.TableFrom(t, "came", topology.NewTopic(t, "deliveries", codec.String, codec.Int64))
	sold := topology.NewTable(t, "sold", codec.String, codec.Int64)
	topology.Count(topology.GroupByKey(topology.From(topology.NewTopic(t, "sales", codec.String, codec.String))), sold)
	stock := topology.NewTable(t, "stock", codec.String, codec.Int64)
	topology.JoinTables(came, sold, stock, func(came, sold int64) int64 { return came - sold })

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// Each user has a row, with an address or without.
func ExampleLeftJoinTables() {
	t := topology.New("users")
	names := topology.TableFrom(t, "names", topology.NewTopic(t, "name-updates", codec.String, codec.String))
	addresses := topology.TableFrom(t, "addresses", topology.NewTopic(t, "address-updates", codec.String, codec.String))
	users := topology.NewTable(t, "users", codec.String, codec.String)
	topology.LeftJoinTables(names, addresses, users, func(name, address string, ok bool) string {
		if !ok {
			return name
		}
		return name + ", " + address
	})

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// What either side has of a key.
func ExampleOuterJoinTables() {
	t := topology.New("balance")
	plus := topology.TableFrom(t, "plus", topology.NewTopic(t, "income", codec.String, codec.Int64))
	minus := topology.TableFrom(t, "minus", topology.NewTopic(t, "expenses", codec.String, codec.Int64))
	balance := topology.NewTable(t, "balance", codec.String, codec.Int64)
	topology.OuterJoinTables(plus, minus, balance, func(plus int64, _ bool, minus int64, _ bool) int64 { return plus - minus })

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// Every change of a table is an event, with what was before.
func ExampleChanges() {
	t := topology.New("alarms")
	heat := topology.TableFrom(t, "heat", topology.NewTopic(t, "sensors", codec.String, codec.Int64))
	alarms := topology.NewTopic(t, "alarms", codec.String, codec.String)
	rising := topology.Filter(topology.Changes(heat), func(c topology.Event[string, topology.Change[int64]]) bool {
		return !c.Value.NullOld && c.Value.New > c.Value.Old+10
	})
	topology.To(topology.Map(rising, func(c topology.Change[int64]) string { return fmt.Sprintf("from %d to %d", c.Old, c.New) }), alarms)

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// The counts of a table go to a topic, one record for each change.
func ExampleToStream() {
	t := topology.New("counts")
	words := topology.NewTopic(t, "words", codec.String, codec.String)
	out := topology.NewTopic(t, "counted", codec.String, codec.Int64)
	counts := topology.NewTable(t, "counts", codec.String, codec.Int64)
	topology.Count(topology.GroupByKey(topology.From(words)), counts)
	topology.To(topology.ToStream(counts), out)

	p, err := t.Plan()
	fmt.Println(p.Stages[1].Agents[0].Steps, err)
	// Output: [from words count into counts changes of counts new values to counted] <nil>
}
