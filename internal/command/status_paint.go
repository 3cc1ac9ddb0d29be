package command

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	grid "charm.land/lipgloss/v2/table"

	"github.com/troupe-stream/troupe/internal/status"
)

// paint writes text for people, with colours or without.
type paint struct{ colours bool }

// paint has colours on a terminal, unless the environment says NO_COLOR (https://no-color.org).
func (c *cli) paint() paint {
	return paint{c.app.Terminal && c.environment()["NO_COLOR"] == ""}
}

func (p paint) style() lipgloss.Style { return lipgloss.NewStyle() }

func (p paint) dim(s string) string {
	if !p.colours {
		return s
	}
	return p.style().Faint(true).Render(s)
}

func (p paint) bold(s string) string {
	if !p.colours {
		return s
	}
	return p.style().Bold(true).Render(s)
}

// state paints a text as its state is.
func (p paint) state(state, s string) string {
	if !p.colours {
		return s
	}
	return p.style().Foreground(stateColour(state)).Render(s)
}

func stateColour(state string) lipgloss.ANSIColor {
	switch state {
	case status.Running:
		return 2
	case status.Stopped, status.Unassigned, unreachable:
		return 1
	case status.Restoring, status.Starting, status.Joining, status.Stopping:
		return 4
	}
	return 3
}

// unreachable stands in the place of the state of a node that does not answer.
const unreachable = "unreachable"

func (p paint) overviews(all []status.Overview) string {
	var b strings.Builder
	for i, o := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(p.bold(o.Name) + ": " + o.Headline + "\n\n")
		nodes := [][]string{{"node", "state", "partitions", "in/s", "out/s", "commits", "aborts", "client", "since", "address"}}
		for _, n := range o.Nodes {
			nodes = append(nodes, []string{n.Instance, p.state(n.State, n.State), fmt.Sprint(len(n.Partitions)), status.Rate(n.Rates.In), status.Rate(n.Rates.Out), status.Count(n.Commits.Committed), status.Count(n.Commits.Aborted), cmp.Or(n.Client, "?"), status.Clock(n.Started), n.Address})
		}
		for _, u := range o.Unreachable {
			if u.Instance == "" {
				continue
			}
			nodes = append(nodes, []string{u.Instance, p.state(unreachable, unreachable), "?", "?", "?", "?", "?", "?", "?", u.Address})
		}
		b.WriteString(p.table(nodes, 2, 3, 4, 5, 6))
		for _, n := range o.Nodes {
			if n.Why != "" {
				b.WriteString(p.dim(n.Instance+": "+oneText(n.Why)) + "\n")
			}
			if n.ClientWhy != "" {
				b.WriteString(p.dim(n.Instance+": its Kafka client is not the batched one: "+oneText(n.ClientWhy)) + "\n")
			}
			if n.LagUnknown != "" {
				b.WriteString(p.dim(n.Instance+": its lag is not known: "+oneText(n.LagUnknown)) + "\n")
			}
		}
		for _, u := range o.Unreachable {
			b.WriteString(p.state(unreachable, oneText(describeUnreachable(u))) + "\n")
		}
		b.WriteString(p.partitions(o))
		b.WriteString(p.globals(o))
		errs := [][]string{{"last errors", "agent", "record", "attempt", "error"}}
		for _, f := range o.Errors {
			errs = append(errs, []string{status.Clock(f.Time), f.Agent, f.Record, fmt.Sprint(f.Attempts), oneText(f.Error)})
		}
		if len(errs) > 1 {
			b.WriteString("\n" + p.table(errs, 3))
		}
	}
	return b.String()
}

// partitions are the rows of partitions, and below them why some are not running: there is no room for that beside them.
func (p paint) partitions(o status.Overview) string {
	alone := len(o.Nodes) == 1 && len(o.Unreachable) == 0 // then it is not said where they are
	rows, why := [][]string{{"partition", "state", "lag", "in/s", "out/s", "restarts", "failed", "given up", "entries", "node"}}, ""
	for _, r := range o.Rows {
		rows = append(rows, []string{r.Name, p.state(r.State, r.Label), r.Lag, r.In, r.Out, r.Restarts, r.Failed, r.GivenUp, r.Entries, r.Instance})
		if r.Why != "" {
			why += p.state(r.State, r.Name) + ": " + oneText(r.Why) + "\n"
		}
	}
	if len(rows) == 1 {
		return ""
	}
	if alone {
		for i := range rows {
			rows[i] = rows[i][:len(rows[i])-1]
		}
	}
	return "\n" + p.table(rows, 2, 3, 4, 5, 6, 7, 8) + why
}

// globals are the rows of global tables: each node has a copy.
func (p paint) globals(o status.Overview) string {
	rows, why := [][]string{{"global table", "node", "state", "entries", "bytes", "skipped"}}, ""
	for _, n := range o.Nodes {
		for _, g := range n.Globals {
			label := g.State
			if g.State == status.Restoring {
				label = fmt.Sprintf("%s %d%%", g.State, int(100*g.Progress))
			}
			rows = append(rows, []string{g.Table, n.Instance, p.state(g.State, label), status.Count(g.Entries), status.Count(g.Bytes), status.Count(g.Skipped)})
			if g.Why != "" {
				why += g.Table + " on " + n.Instance + ": " + oneText(g.Why) + "\n"
			}
		}
	}
	if len(rows) == 1 {
		return ""
	}
	return "\n" + p.table(rows, 3, 4, 5) + why
}

// table lays out rows below their heading; right lists the columns of numbers.
func (p paint) table(rows [][]string, right ...int) string {
	head := slices.Clone(rows[0])
	for i, h := range head {
		head[i] = p.dim(strings.ToUpper(h))
	}
	t := grid.New().Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderHeader(false).BorderColumn(false).Wrap(false).Headers(head...).Rows(rows[1:]...).
		StyleFunc(func(_, col int) lipgloss.Style {
			s := p.style().PaddingRight(2)
			if slices.Contains(right, col) {
				s = s.Align(lipgloss.Right)
			}
			return s
		})
	var b strings.Builder
	for line := range strings.Lines(t.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// trees draws the actors.
func (p paint) trees(all status.Trees) string {
	var b strings.Builder
	for i, t := range all.Trees {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(p.bold(t.Topology) + ", node " + t.Instance + " at " + t.Address + "\n")
		if t.Why != "" {
			b.WriteString(p.dim("there is no tree: "+t.Why) + "\n")
			continue
		}
		rows := [][]string{{"actor", "kind", "state", "waiting", "restarts", "incarnation"}}
		b.WriteString(p.table(append(rows, p.actors(t.Root, "", "")...), 3, 4, 5))
	}
	for _, u := range all.Unreachable {
		b.WriteString(p.state(unreachable, oneText(describeUnreachable(u))) + "\n")
	}
	return b.String()
}

// actors are the rows of an actor and of those below it. lead begins its line, next the lines below.
func (p paint) actors(t status.Tree, lead, next string) [][]string {
	waiting, incarnation := "?", ""
	if t.Mailbox >= 0 {
		waiting = status.Count(int64(t.Mailbox))
	}
	if t.Incarnation > 0 {
		incarnation = status.Count(t.Incarnation)
	}
	rows := [][]string{{p.dim(lead) + t.Name, t.Kind, p.state(t.State, t.State), waiting, status.Count(t.Restarts), incarnation}}
	for i, c := range t.Children {
		if i == len(t.Children)-1 {
			rows = append(rows, p.actors(c, next+"└─ ", next+"   ")...)
		} else {
			rows = append(rows, p.actors(c, next+"├─ ", next+"│  ")...)
		}
	}
	return rows
}

// oneText puts a text of several lines into one, without what a terminal would take for a command: an error may quote what it was
// given.
func oneText(s string) string { return printable(strings.Join(strings.Fields(s), " ")) }
