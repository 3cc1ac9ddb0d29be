package command

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/tables"
	"github.com/troupe-stream/troupe/topology/plan"
)

// lockedWriter lets several goroutines write whole lines to one stream.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// changes prints records of a changelog as lines: key<TAB>value, and key<TAB>(deleted) for tombstones; of a set table key<TAB>element,
// with (deleted) behind one that was removed.
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
		current, why := b.Value(i), error(nil)
		if c.table.Current != nil && current != nil {
			current, why = c.table.Current(tables.VersionOf(b, i), current)
		}
		key, v := c.table.Entry(b.Key(i), current)
		value := text(c.table.Value, v)
		if why != nil {
			value = fmt.Sprintf("(%v)", why)
		}
		switch {
		case b.Value(i) != nil:
		case c.table.Split != nil:
			value += " (deleted)"
		default:
			value = "(deleted)"
		}
		c.buf.WriteString(cell(text(c.table.Key, key)) + "\t" + cell(value) + "\n")
	}
	if c.buf.Len() == 0 {
		return nil
	}
	_, err := c.out.Write(c.buf.Bytes())
	return err
}
