package command

import (
	"bufio"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/topology/plan"
)

// tableFormats are what a table can be written as.
var tableFormats = []string{"table", "tsv", "json"}

func formatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "table", "`FORMAT`: table for people, tsv and json for programs")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(tableFormats, cobra.ShellCompDirectiveNoFileComp))
}

func checkFormat(format string) error {
	if !slices.Contains(tableFormats, format) {
		return wrongUse("--format %q: use table, tsv or json", format)
	}
	return nil
}

// table writes rows: aligned under a heading, as tab-separated values, or as a JSON array with one object in a line.
type table struct {
	format string
	out    *bufio.Writer
	tabs   *tabwriter.Writer
	rows   int
	err    error
}

func newTable(w io.Writer, format string, columns ...string) *table {
	t := &table{format: format, out: bufio.NewWriter(w)}
	if format == "table" {
		t.tabs = tabwriter.NewWriter(t.out, 0, 4, 2, ' ', 0)
		t.line(t.tabs, columns, strings.ToUpper)
	}
	return t
}

// row adds a row: object for json, cells for the others.
func (t *table) row(object any, cells ...string) {
	switch t.format {
	case "table":
		t.line(t.tabs, cells, func(s string) string { return printable(cell(s)) })
	case "tsv":
		t.line(t.out, cells, cell)
	case "json":
		open := ",\n"
		if t.rows == 0 {
			open = "[\n"
		}
		b, err := json.Marshal(object)
		t.keep(err)
		t.write(t.out, open+string(b))
	}
	t.rows++
}

func (t *table) line(w io.Writer, cells []string, f func(string) string) {
	for i, c := range cells {
		if i > 0 {
			t.write(w, "\t")
		}
		t.write(w, f(c))
	}
	t.write(w, "\n")
}

func (t *table) write(w io.Writer, s string) {
	_, err := io.WriteString(w, s)
	t.keep(err)
}

func (t *table) keep(err error) {
	if t.err == nil {
		t.err = err
	}
}

// close ends the output and returns the first error of all writes.
func (t *table) close() error {
	if t.format == "json" {
		if t.rows == 0 {
			t.write(t.out, "[")
		} else {
			t.write(t.out, "\n")
		}
		t.write(t.out, "]\n")
	}
	if t.tabs != nil {
		t.keep(t.tabs.Flush())
	}
	t.keep(t.out.Flush())
	return t.err
}

// jsonText is bytes of a record as JSON: what the codec makes of them where that is JSON by itself (numbers, objects), a
// string otherwise, null for null. Bytes of a topic that has no codecs, such as that of the dead letters, are as text has them.
func jsonText(t plan.Text, b []byte) any {
	if b == nil {
		return nil
	}
	if t.Format == nil { // a topic of many types
		return text(t, b)
	}
	s, err := t.Format(b)
	if err != nil {
		return text(t, b)
	}
	switch t.Type {
	case "string", "[]byte", "[]uint8":
		return s
	}
	if json.Valid([]byte(s)) {
		return json.RawMessage(s)
	}
	return s
}
