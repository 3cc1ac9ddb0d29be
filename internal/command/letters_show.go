package command

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/kafka"
)

// Bounds of a list for people.
const (
	errorShown  = 100 // characters of an error in a row
	errorsShown = 20  // kinds of errors that are counted at its end
)

// letterLine is a dead letter as JSON. Its value, headers and stack are shown by show alone.
type letterLine struct {
	Letter    string          `json:"letter"`
	State     string          `json:"state"`
	Receipt   *kafka.Receipt  `json:"receipt,omitempty"`
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Timestamp string          `json:"timestamp"`
	Agent     string          `json:"agent"`
	FailedIn  string          `json:"failed_in,omitempty"`
	Step      string          `json:"step,omitempty"`
	Attempts  int             `json:"attempts"`
	Error     string          `json:"error"`
	Node      string          `json:"node"`
	Time      string          `json:"time"`
	History   []kafka.Failure `json:"history,omitempty"`
	Key       any             `json:"key"`
	Value     any             `json:"value,omitempty"`
	Headers   []tailedHeader  `json:"headers,omitempty"`
	Stack     string          `json:"stack,omitempty"`
}

func (m *mailbox) line(l *letter) letterLine {
	key, _ := m.codecs(l)
	return letterLine{
		Letter: l.place.String(), State: l.state(), Receipt: l.receipt, Topic: l.Topic, Partition: l.Partition, Offset: l.Offset,
		Timestamp: l.timestamp().Format(time.RFC3339Nano), Agent: l.Agent, FailedIn: l.FailedIn, Step: l.Step, Attempts: l.Attempts, Error: l.problem(), Node: l.Node,
		Time: l.Time.UTC().Format(time.RFC3339Nano), History: l.History, Key: jsonText(key, l.key()),
	}
}

// problem is the error of a letter, or why it cannot be read.
func (l *letter) problem() string {
	if l.fault != nil {
		return "unreadable letter: " + oneLine(l.fault)
	}
	return l.Error
}

func (c *cli) lettersListCommand() *cobra.Command {
	var format string
	var all bool
	var s selection
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters that are open, and count their errors",
		Long: `Lists the dead letters that are open, the oldest first, and counts their errors at the end; with --all also those that
were redriven or dropped. Values are not shown: see dead-letters show.`,
		Args: exactly("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if err := s.parse(nil, time.Now()); err != nil {
				return err
			}
			return c.withLetters(cmd.Context(), func(_ context.Context, m *mailbox) error {
				letters, err := s.of(m)
				if err != nil {
					return err
				}
				if !all {
					letters = slices.DeleteFunc(letters, func(l *letter) bool { return l.receipt != nil })
				}
				m.warn()
				return m.list(letters, format)
			})
		},
	}
	formatFlag(cmd, &format)
	s.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also letters that were redriven or dropped")
	return cmd
}

func (m *mailbox) list(letters []*letter, format string) error {
	if len(letters) == 0 && format == "table" {
		m.app.say("topology %s has no such dead letters", m.plan.Name)
		return nil
	}
	out := newTable(m.app.Out, format, "letter", "state", "time", "record", "agent", "failed in", "step", "attempts", "key", "error")
	for _, l := range letters {
		problem := l.problem()
		if format == "table" {
			problem = brief(problem)
		}
		out.row(m.line(l), l.place.String(), l.state(), l.Time.UTC().Format(time.RFC3339Nano), l.record(), l.Agent, cmp.Or(l.FailedIn, "-"), cmp.Or(l.Step, "-"),
			fmt.Sprint(l.Attempts), m.keyText(l), problem)
	}
	if err := out.close(); err != nil {
		return err
	}
	w := m.app.Out
	if format != "table" {
		w = m.app.Err
	}
	return countErrors(w, letters)
}

// brief is the first line of an error, cut.
func brief(s string) string {
	first, _, more := strings.Cut(s, "\n")
	if r := []rune(first); len(r) > errorShown {
		return string(r[:errorShown]) + "…"
	} else if more {
		return first + " …"
	}
	return first
}

// varying is what errors of one kind differ in: numbers, and what is quoted, such as the key of an entry.
var varying = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\d+`)

// kindOf is what errors of one kind have in common: their first line without what varies, whether more lines follow or not.
func kindOf(problem string) string {
	first, _, more := strings.Cut(problem, "\n")
	kind := varying.ReplaceAllString(first, "#")
	if at := strings.IndexByte(kind, '"'); at >= 0 && more { // what is quoted runs over lines
		kind = kind[:at] + "#"
	}
	return brief(strings.TrimSpace(kind))
}

// countErrors counts letters by agent and the first line of their error, whatever numbers and quotations are in it.
func countErrors(w io.Writer, letters []*letter) error {
	type kind struct{ agent, err string }
	counts := map[kind]int{}
	for _, l := range letters {
		counts[kind{l.Agent, kindOf(l.problem())}]++
	}
	kinds := make([]kind, 0, len(counts))
	for k := range counts {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b kind) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.agent, b.agent), cmp.Compare(a.err, b.err))
	})
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s\n", count(len(letters), "letter", "letters"))
	for i, k := range kinds {
		if i == errorsShown {
			fmt.Fprintf(&out, "  and %d other kinds of errors\n", len(kinds)-i)
			break
		}
		fmt.Fprintf(&out, "%7d  %s: %s\n", counts[k], k.agent, k.err)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (c *cli) lettersShowCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "show P@OFFSET",
		Short: "Show all of one dead letter: its record, with the value, and how it failed",
		Long:  "Shows all of one dead letter: the record with its key, value and headers, how it failed, with the stack, and before.",
		Args:  exactly("one letter, as PARTITION@OFFSET", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"text", "json"}, format) {
				return wrongUse("--format %q: use text or json", format)
			}
			var s selection
			if err := s.parse(args, time.Now()); err != nil {
				return err
			}
			return c.withLetters(cmd.Context(), func(_ context.Context, m *mailbox) error {
				letters, err := s.of(m)
				if err != nil {
					return err
				}
				if format == "json" {
					enc := json.NewEncoder(c.app.Out)
					enc.SetIndent("", "  ")
					return enc.Encode(m.full(letters[0]))
				}
				return m.show(letters[0])
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`FORMAT`: text or json")
	return cmd
}

// full is a letter with all that it holds.
func (m *mailbox) full(l *letter) letterLine {
	_, value := m.codecs(l)
	line := m.line(l)
	line.Value, line.Stack = jsonText(value, l.value()), l.Stack
	for h := range kafka.Headers(l.original) {
		th := tailedHeader{Name: h.Key}
		if h.Value != nil {
			th.Value = new(string(h.Value))
		}
		line.Headers = append(line.Headers, th)
	}
	return line
}

// show prints a letter for people.
func (m *mailbox) show(l *letter) error {
	key, value := m.codecs(l)
	w := tabwriter.NewWriter(m.app.Out, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", name, cell(fmt.Sprintf(format, args...))) // Flush returns the error
	}
	state := l.state()
	if l.receipt != nil {
		state += " at " + l.receipt.Time.UTC().Format(time.RFC3339Nano)
	}
	row("letter", "%s of topic %s", l.place, m.topic.Name)
	row("state", "%s", state)
	row("record", "%s of %s", l.record(), l.timestamp().Format(time.RFC3339Nano))
	row("agent", "%s", l.Agent)
	if l.FailedIn != "" {
		row("failed in", "%s, an agent that it reached through channels", l.FailedIn)
	}
	row("step", "%s", cmp.Or(l.Step, "-"))
	row("attempts", "%d", l.Attempts)
	row("given up", "%s by node %s", l.Time.UTC().Format(time.RFC3339Nano), l.Node)
	for _, f := range l.History {
		row("before", "%s, agent %s, %d attempts, letter %s: %s", f.Time.UTC().Format(time.RFC3339Nano), f.Agent, f.Attempts, cmp.Or(f.Letter, "-"), f.Error)
	}
	for h := range kafka.Headers(l.original) {
		if h.Value == nil {
			row("header", "%s (null)", h.Key)
			continue
		}
		row("header", "%s = %s", h.Key, h.Value)
	}
	row("key", "%s", text(key, l.key()))
	row("value", "%s", text(value, l.value()))
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(m.app.Out, "\nerror\n%s\n\nstack\n%s\n", l.problem(), cmp.Or(strings.TrimRight(l.Stack, "\n"), "(none)"))
	return err
}
