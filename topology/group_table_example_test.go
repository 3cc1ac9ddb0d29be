package topology_test

import (
	"fmt"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// How many users each city has: one who moves is taken out of the old one.
func ExampleCountRows() {
	t := topology.New("cities")
	users := topology.TableFrom(t, "users", topology.NewTopic(t, "moves", codec.String, codec.String)) // user → city
	inhabitants := topology.NewTable(t, "inhabitants", codec.String, codec.Int64)
	cities := topology.GroupTable(users, func(user, city string) (group, value string, ok bool) { return city, user, city != "" }, codec.String)
	topology.CountRows(cities, inhabitants)

	p, err := t.Plan()
	fmt.Println(p.Stages[2].Agents[0].Steps, err)
	fmt.Println(p.Stages[1].Agents[0].Steps)
	// Output:
	// [from moves table users changes of users group to cities-count-rows-inhabitants-repartition] <nil>
	// [from cities-count-rows-inhabitants-repartition count-rows into inhabitants]
}

// The sum of each customer's open orders. It is kept up to date by changes of an order's sum, and of its customer.
func ExampleReduceRows() {
	type order struct {
		Customer string
		Cents    int64
	}
	t := topology.New("debts")
	orders := topology.TableFrom(t, "orders", topology.NewTopic(t, "order-updates", codec.String, codec.JSON[order]()))
	debts := topology.NewTable(t, "debts", codec.String, codec.Int64)
	byCustomer := topology.GroupTable(orders, func(_ string, o order) (string, int64, bool) { return o.Customer, o.Cents, true }, codec.Int64)
	topology.ReduceRows(
		byCustomer, debts,
		func(sum, cents int64) int64 { return sum + cents },
		func(sum, cents int64) (int64, bool) { return sum - cents, sum != cents }, // a customer without debts has no row
	)

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// The members of each team.
func ExampleAggregateRows() {
	t := topology.New("teams")
	players := topology.TableFrom(t, "players", topology.NewTopic(t, "transfers", codec.String, codec.String)) // player → team
	teams := topology.NewTable(t, "teams", codec.String, codec.JSON[map[string]bool]())
	topology.AggregateRows(
		topology.GroupTable(players, func(player, team string) (string, string, bool) { return team, player, true }, codec.String), teams,
		func() map[string]bool { return map[string]bool{} },
		func(team map[string]bool, player string) map[string]bool { team[player] = true; return team },
		func(team map[string]bool, player string) (map[string]bool, bool) {
			delete(team, player)
			return team, len(team) > 0
		},
	)

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}
