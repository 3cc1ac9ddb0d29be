package status

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Overview is the state of a topology, for people: the same on the page and in the terminal.
type Overview struct {
	Name        string
	Headline    string
	Nodes       []Node
	Unreachable []Unreachable
	Rows        []Row
	Errors      []Failure // newest first
}

// Row is a partition for people.
type Row struct {
	Name, Instance, State, Label, Why                string
	Lag, In, Out, Restarts, Failed, GivenUp, Entries string

	stage  string
	number int32
}

// maxErrors is how many errors an overview has.
const maxErrors = 10

// Overviews sorts what nodes answered by topology.
func Overviews(a Answer) []Overview {
	var names []string
	for _, n := range a.Nodes {
		names = append(names, n.Topology)
	}
	for _, u := range a.Unreachable {
		names = append(names, u.Topology)
	}
	slices.Sort(names)
	var all []Overview
	for _, name := range slices.Compact(names) {
		all = append(all, overview(name, a))
	}
	return all
}

func overview(name string, a Answer) Overview {
	o := Overview{Name: name}
	for _, n := range a.Nodes {
		if n.Topology == name {
			o.Nodes = append(o.Nodes, n)
		}
	}
	for _, u := range a.Unreachable {
		if u.Topology == name {
			o.Unreachable = append(o.Unreachable, u)
		}
	}
	slices.SortFunc(o.Nodes, func(a, b Node) int { return cmp.Compare(a.Instance, b.Instance) })
	for _, n := range o.Nodes {
		for _, p := range n.Partitions {
			o.Rows = append(o.Rows, row(p, n.Instance))
		}
		o.Errors = append(o.Errors, n.LastErrors...)
	}
	o.Rows = append(o.Rows, o.missing()...)
	slices.SortStableFunc(o.Rows, func(a, b Row) int { return cmp.Or(cmp.Compare(a.stage, b.stage), cmp.Compare(a.number, b.number)) })
	slices.SortStableFunc(o.Errors, func(a, b Failure) int { return b.Time.Compare(a.Time) })
	o.Errors = o.Errors[:min(len(o.Errors), maxErrors)]
	o.Headline = o.headline()
	return o
}

// missing are the partitions that no node that answers has.
func (o Overview) missing() []Row {
	var names []string
	for _, n := range o.Nodes {
		names = append(names, n.All...)
	}
	slices.Sort(names)
	var rows []Row
	for _, name := range slices.Compact(names) {
		if slices.ContainsFunc(o.Rows, func(r Row) bool { return r.Name == name }) {
			continue
		}
		r := Row{Name: name, Instance: "-", State: Unassigned, Why: "no node has it: the group is about to give it to one, or its last node is gone and its session has not ended"}
		if len(o.Unreachable) > 0 {
			r.State, r.Why = Unknown, "no node that answers has it"
		}
		if w, err := ParseWanted(name); err == nil {
			r.stage, r.number = w.Stage, w.Partition
		}
		r.Label, r.Lag, r.In, r.Out, r.Restarts, r.Failed, r.GivenUp, r.Entries = r.State, "?", "?", "?", "?", "?", "?", "?"
		rows = append(rows, r)
	}
	return rows
}

// headline sums up a topology in one line.
func (o Overview) headline() string {
	states := map[string]int{}
	lag, known := int64(0), true
	var in, out float64
	for _, n := range o.Nodes {
		in, out = in+n.Rates.In, out+n.Rates.Out
		known = known && n.LagUnknown == "" && len(n.All) > 0
		for _, p := range n.Partitions {
			if p.Lag >= 0 {
				lag += p.Lag
			}
			known = known && (p.Lag >= 0 || p.Stage == Leader)
		}
	}
	for _, r := range o.Rows {
		states[r.State]++
		known = known && r.State != Unassigned && r.State != Unknown
	}
	away := 0
	for _, u := range o.Unreachable {
		known = false
		if u.Instance != "" { // else it is not known who the others are
			away++
		}
	}
	s := plural(len(o.Nodes)+away, "node")
	if away < len(o.Unreachable) {
		s += " or more"
	}
	if n := away; n > 0 {
		s += fmt.Sprintf(" (%d unreachable: what they have is not shown)", n)
	}
	s += ", " + plural(len(o.Rows), "partition")
	var each []string
	for _, state := range []string{Running, Retrying, Probing, Stopped, Restoring, Undoing, Busy, Stopping, Unassigned, Unknown} {
		if states[state] > 0 {
			each = append(each, fmt.Sprintf("%d %s", states[state], state))
		}
	}
	if len(each) > 0 {
		s += " (" + strings.Join(each, ", ") + ")"
	}
	if s += ", lag " + Count(lag); !known {
		s += " or more"
	}
	return s + fmt.Sprintf(", %s records/s in, %s out", Rate(in), Rate(out))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func row(p Partition, instance string) Row {
	r := Row{stage: p.Stage, number: p.Partition, Name: p.Name(), Instance: instance, State: p.State, Label: p.State, Why: p.Why, Lag: "-", In: Rate(p.Rates.In), Out: Rate(p.Rates.Out), Entries: "-"}
	if p.State == Restoring && p.Progress > 0 {
		r.Label = fmt.Sprintf("%s %d%%", p.State, int(100*p.Progress))
	}
	if p.Lag >= 0 {
		r.Lag = Count(p.Lag)
	}
	var restarts, failed, given int64
	for _, a := range p.Agents {
		restarts, failed, given = restarts+a.Restarts, failed+a.Failed, given+a.Skipped+a.DeadLettered
	}
	r.Restarts, r.Failed, r.GivenUp = Count(restarts), Count(failed), Count(given)
	if len(p.Shards) > 0 {
		var entries int64
		for _, s := range p.Shards {
			entries += s.Entries
		}
		r.Entries = Count(entries)
	}
	return r
}

// Rate writes a rate for people.
func Rate(r float64) string {
	switch {
	case r < 0.05:
		return "0"
	case r < 10:
		return strconv.FormatFloat(r, 'f', 1, 64)
	}
	return Count(int64(math.Round(r)))
}

// Count writes a count for people, with its thousands apart.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Clock writes a moment of the last day by its time, an older one by its date too.
func Clock(t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case time.Since(t) < 24*time.Hour:
		return t.Local().Format(time.TimeOnly)
	}
	return t.Local().Format(time.DateTime)
}
