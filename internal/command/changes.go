package command

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// lockedWriter lets several goroutines write whole lines to one stream.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
	to func(lines string) // takes what is written instead, while something else has the terminal; nil: it goes to w
}

// locked is a stream that several goroutines may write to.
func locked(w io.Writer) *lockedWriter {
	if l, ok := w.(*lockedWriter); ok {
		return l
	}
	return &lockedWriter{w: w}
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.to != nil {
		l.to(strings.TrimRight(string(p), "\n"))
		return len(p), nil
	}
	return l.w.Write(p)
}

// divert gives what is written from now on to a function; nil: back to the stream.
func (l *lockedWriter) divert(to func(lines string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
}

// deleted stands in the place of a value that is gone.
const deleted = "(deleted)"

// changed is what a record of a changelog tells of a row, as text: a set table's key and element, with (deleted) behind one that was removed;
// of others key and value, or (deleted).
func changed(t *plan.Table, b *kafka.Batch, i int) (key, value string) {
	current, why := b.Value(i), error(nil)
	if t.Current != nil && current != nil {
		current, why = t.Current(tables.VersionOf(b, i), current)
	}
	k, v := t.Entry(b.Key(i), current)
	value = text(t.Value, v)
	if why != nil {
		value = fmt.Sprintf("(%v)", why)
	}
	switch {
	case b.Value(i) != nil:
	case t.Split != nil:
		value += " " + deleted
	default:
		value = deleted
	}
	return cell(text(t.Key, k)), cell(value)
}

// changes prints records of a changelog as lines: key<TAB>value.
type changes struct {
	out   io.Writer // takes each batch in one write
	buf   bytes.Buffer
	table *plan.Table
	named bool // begin each line with the table's name: several tables are shown
}

func newChanges(w io.Writer, t *plan.Table, named bool) *changes {
	return &changes{out: w, table: t, named: named}
}

// print prints a batch at once: a change is seen when it is committed.
func (c *changes) print(b *kafka.Batch) error {
	c.buf.Reset()
	for i := range b.Records {
		if c.named {
			c.buf.WriteString(c.table.Name + "\t")
		}
		key, value := changed(c.table, b, i)
		c.buf.WriteString(key + "\t" + value + "\n")
	}
	if c.buf.Len() == 0 {
		return nil
	}
	_, err := c.out.Write(c.buf.Bytes())
	return err
}
