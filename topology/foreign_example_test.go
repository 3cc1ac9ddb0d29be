package topology_test

import (
	"fmt"

	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// Orders with what is known of their customers.
func ExampleJoinForeign() {
	type order struct{ Customer, Item string }
	t := topology.New("shop")
	orders := topology.TableFrom(t, "orders", topology.NewTopic(t, "order-updates", codec.String, codec.JSON[order]()))
	customers := topology.TableFrom(t, "customers", topology.NewTopic(t, "customer-updates", codec.String, codec.String))
	labels := topology.NewTable(t, "labels", codec.String, codec.String)
	topology.JoinForeign(
		orders, customers, labels,
		func(_ string, o order) (string, bool) { return o.Customer, o.Customer != "" },
		func(o order, address string) string { return o.Item + " to " + address },
	)

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}

// Employees with their managers, who are employees.
func ExampleLeftJoinForeign() {
	type employee struct{ Name, Manager string }
	t := topology.New("firm")
	staff := topology.TableFrom(t, "staff", topology.NewTopic(t, "staff-updates", codec.String, codec.JSON[employee]()))
	lines := topology.NewTable(t, "lines", codec.String, codec.String)
	topology.LeftJoinForeign(
		staff, staff, lines,
		func(_ string, e employee) (string, bool) { return e.Manager, e.Manager != "" },
		func(e, manager employee, ok bool) string {
			if !ok {
				return e.Name
			}
			return e.Name + ", who reports to " + manager.Name
		},
	)

	_, err := t.Plan()
	fmt.Println(err)
	// Output: <nil>
}
