package command

import (
	"bytes"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// boardOf is a board that shows some tables, with a clock of its own.
func boardOf(t *testing.T, names ...string) (b *board, tables []*boardTable, at *time.Time) {
	t.Helper()
	topo := topology.New("shop")
	in := topology.NewTopic(topo, "in", codec.String, codec.Int64)
	var all []topology.AnyTable
	for _, name := range names {
		all = append(all, topology.NewTable(topo, name, codec.String, codec.Int64))
	}
	topology.Each(topo, "count", in, func(*topology.Context, topology.Event[string, int64]) error { return nil }, topology.Writes(all...))
	p, err := topo.Plan()
	require.NoError(t, err)
	at = new(time.Unix(1000, 0))
	b = newBoard(paint{}, func() time.Time { return *at }, func() string { return "" })
	for _, x := range p.Tables {
		tables = append(tables, b.add(x))
	}
	return b, tables, at
}

// put changes rows of a table: key and value in turns, of which - deletes.
func put(t *testing.T, table *boardTable, pairs ...string) {
	t.Helper()
	b := &kafka.Batch{}
	for i := 0; i < len(pairs); i += 2 {
		var v []byte
		if pairs[i+1] != "-" {
			n, err := table.table.Value.Parse(pairs[i+1])
			require.NoError(t, err)
			v = n
		}
		b.Append(int64(i), 0, []byte(pairs[i]), v, nil)
	}
	require.NoError(t, table.print(b))
}

func TestBoard(t *testing.T) {
	t.Parallel()
	b, tables, at := boardOf(t, "counts", "sums")
	view := func() string { return b.View().Content }
	require.Equal(t, "counts\nsums\n0 changes · 0s · running · Ctrl-C: stop", view())

	put(t, tables[0], "b", "1", "a", "2", "b", "3")
	put(t, tables[1], "long key", "5", "x", "-")
	*at = at.Add(3 * time.Second)
	require.Equal(t, `counts
  a  2
  b  3
sums
  long key  5
  x         (deleted)
5 changes · 3s · running · Ctrl-C: stop`, view())

	// The rate is that of the last second.
	b.Update(boardTicked{})
	put(t, tables[0], "b", "4", "b", "5")
	*at = at.Add(500 * time.Millisecond)
	b.Update(boardTicked{})
	require.Contains(t, view(), "7 changes, 4.0/s · 4s")

	// What holds the node up is told in its place.
	b.Update(boardBusy{"partition in/0 is restoring"})
	require.True(t, strings.HasSuffix(view(), "partition in/0 is restoring"), view())
	b.Update(boardStopped{})
	require.True(t, strings.HasSuffix(view(), "7 changes · 4s · stopped\n"), view())
}

// A small terminal has the rows that changed last, in the order of their keys, and no line that is too long for it.
func TestBoardOfASmallTerminal(t *testing.T) {
	t.Parallel()
	b, tables, _ := boardOf(t, "counts", "sums")
	put(t, tables[0], "a", "1", "b", "2", "c", "3", "d", "4", "a", "5")
	put(t, tables[1], "a key that is far too long for it", "123456789")
	b.Update(tea.WindowSizeMsg{Width: 20, Height: 7})
	require.Equal(t, `counts  the 2 keys …
  a  5
  d  4
sums
  a key tha…  12345…
6 changes · 0s · ru…`, b.View().Content)
}

// However many keys there are, memory holds those that changed last.
func TestBoardForgets(t *testing.T) {
	t.Parallel()
	b, tables, _ := boardOf(t, "counts")
	for i := range 3*boardKept + 1 {
		put(t, tables[0], "key "+strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String(), "1")
	}
	require.LessOrEqual(t, len(tables[0].rows), 2*boardKept)
	require.GreaterOrEqual(t, len(tables[0].rows), boardKept)
	require.EqualValues(t, 3*boardKept+1, b.changes)
}

// While the board has the terminal, what others write appears above it; before and after it goes to the stream.
func TestBoardRuns(t *testing.T) {
	t.Parallel()
	b, tables, _ := boardOf(t, "counts")
	var terminal, stream bytes.Buffer
	errs := locked(&stream)
	require.Same(t, errs, locked(errs))
	_, _ = errs.Write([]byte("before\n"))
	stop := b.run(t.Context(), &terminal, errs, tea.WithWindowSize(80, 24))
	put(t, tables[0], "ada", "42")
	_, _ = errs.Write([]byte("meanwhile\n"))
	stop()
	_, _ = errs.Write([]byte("after\n"))
	require.Equal(t, "before\nafter\n", stream.String())
	require.Contains(t, terminal.String(), "meanwhile")
	require.Contains(t, terminal.String(), "ada  42")
	require.Contains(t, terminal.String(), "stopped")
}
