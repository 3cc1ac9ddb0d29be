// Command firm is a node with the topology of a test: what is kept up through internal topics, the aggregation of a grouped table and a join by
// foreign key. Its command line is that of node.
package main

import (
	"github.com/troupe-stream/troupe"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// employee is what the topic employees holds, by name.
type employee struct {
	Team string `json:"team"` // the key of the topic teams; empty: none
	Pay  int64  `json:"pay"`
}

// payroll is what the table payrolls has, by team.
type payroll struct {
	People int64 `json:"people"`
	Sum    int64 `json:"sum"`
}

// line is what the table lines has, by the employee's name.
type line struct {
	Team string `json:"team"`
	Lead string `json:"lead"` // empty: there is no such team
}

// firm groups employees by team, counts and adds them up, and joins them with the leads of their teams.
func firm() *topology.Topology {
	t := topology.New("firm")
	staff := topology.TableFrom(t, "staff", topology.NewTopic(t, "employees", codec.String, codec.JSON[employee]()))
	leads := topology.TableFrom(t, "leads", topology.NewTopic(t, "teams", codec.String, codec.String))
	heads := topology.NewTable(t, "heads", codec.String, codec.Int64)
	payrolls := topology.NewTable(t, "payrolls", codec.String, codec.JSON[payroll]())
	lines := topology.NewTable(t, "lines", codec.String, codec.JSON[line]())

	team := func(_ string, e employee) (string, int64, bool) { return e.Team, e.Pay, e.Team != "" }
	topology.CountRows(topology.GroupTable(staff, team, codec.Int64), heads)
	topology.AggregateRows(
		topology.GroupTable(staff, team, codec.Int64), payrolls,
		func() payroll { return payroll{} },
		func(p payroll, pay int64) payroll { return payroll{p.People + 1, p.Sum + pay} },
		func(p payroll, pay int64) (payroll, bool) { return payroll{p.People - 1, p.Sum - pay}, p.People > 1 },
	)
	topology.LeftJoinForeign(
		staff, leads, lines,
		func(_ string, e employee) (string, bool) { return e.Team, e.Team != "" },
		func(e employee, lead string, _ bool) line { return line{e.Team, lead} },
	)
	return t
}

func main() { troupe.Main(firm()) }
