package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

const (
	// boardKept is how many keys of a table are remembered: those that changed last.
	boardKept = 1000
	// boardTick is how often what is shown is drawn again, and boardFresh how long a change stands out.
	boardTick  = 100 * time.Millisecond
	boardFresh = time.Second
	// boardHeight and boardWidth are those of a terminal that does not tell its own.
	boardHeight, boardWidth = 24, 80
)

// board is what --show draws on a terminal: the rows of the tables that changed last, in the order of their keys, and a line below that says how it goes.
// It is drawn below what is on the screen already, and its last state stays there.
type board struct {
	paint paint
	now   func() time.Time
	busy  func() string // what the node is held up by; empty: nothing

	mu      sync.Mutex
	tables  []*boardTable
	began   time.Time
	changes int64
	marks   []boardMark // how many changes there were, of late
	waits   string      // what busy has said last
	ended   bool
	width   int
	height  int
}

// boardMark is how many changes there were at a moment.
type boardMark struct {
	at time.Time
	n  int64
}

// boardTable is a table that is shown.
type boardTable struct {
	board *board
	table *plan.Table
	rows  map[string]*boardRow // by the bytes of their keys
	seen  int64                // numbers changes
}

// boardRow is a row that has changed.
type boardRow struct {
	key, value string
	at         time.Time
	number     int64
}

func newBoard(p paint, now func() time.Time, busy func() string) *board {
	return &board{paint: p, now: now, busy: busy, began: now(), width: boardWidth, height: boardHeight}
}

// add shows a table.
func (b *board) add(t *plan.Table) *boardTable {
	x := &boardTable{board: b, table: t, rows: map[string]*boardRow{}}
	b.tables = append(b.tables, x)
	return x
}

// print takes a batch of the table's changelog.
func (t *boardTable) print(b *kafka.Batch) error {
	t.board.mu.Lock()
	defer t.board.mu.Unlock()
	now := t.board.now()
	for i := range b.Records {
		key, value := changed(t.table, b, i)
		t.seen++
		t.board.changes++
		t.rows[string(b.Key(i))] = &boardRow{printable(key), printable(value), now, t.seen}
	}
	if len(t.rows) > 2*boardKept {
		for id, r := range t.rows {
			if r.number <= t.seen-boardKept {
				delete(t.rows, id)
			}
		}
	}
	return nil
}

// latest are the rows that changed last, as many as there is room for, in the order of their keys.
func (t *boardTable) latest(room int) []*boardRow {
	all := make([]*boardRow, 0, len(t.rows))
	for _, r := range t.rows {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *boardRow) int { return cmp.Compare(b.number, a.number) })
	all = all[:min(room, len(all))]
	slices.SortFunc(all, func(a, b *boardRow) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.value, b.value)) })
	return all
}

type (
	boardTicked  struct{}
	boardBusy    struct{ why string }
	boardStopped struct{}
)

func (b *board) Init() tea.Cmd { return tea.Batch(tick(boardTick), b.ask) }

func tick(d time.Duration) tea.Cmd {
	return tea.Tick(d, func(time.Time) tea.Msg { return boardTicked{} })
}

// ask asks the node what holds it up, a while after the last time.
func (b *board) ask() tea.Msg { return boardBusy{b.busy()} }

func (b *board) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch msg := msg.(type) {
	case boardTicked:
		now := b.now()
		b.marks = append(slices.DeleteFunc(b.marks, func(m boardMark) bool { return now.Sub(m.at) > boardFresh }), boardMark{now, b.changes})
		return b, tick(boardTick)
	case boardBusy:
		b.waits = msg.why
		return b, tea.Tick(boardFresh, func(time.Time) tea.Msg { return b.ask() })
	case tea.WindowSizeMsg:
		b.width, b.height = cmp.Or(msg.Width, boardWidth), cmp.Or(msg.Height, boardHeight)
	case boardStopped:
		b.ended = true
		return b, tea.Quit
	}
	return b, nil
}

func (b *board) View() tea.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	var lines []string
	// Each table has its share of what is left of the screen; who needs less leaves it to those below.
	left := b.height - 1
	for i, t := range b.tables {
		share := max(left/(len(b.tables)-i)-1, 1)
		rows := t.latest(share)
		title := b.paint.bold(t.table.Name)
		if len(t.rows) > len(rows) {
			title += b.paint.dim(fmt.Sprintf("  the %d keys that changed last", len(rows)))
		}
		lines = append(lines, title)
		wide := 0
		for _, r := range rows {
			wide = max(wide, min(ansi.StringWidth(r.key), b.width/2))
		}
		for _, r := range rows {
			lines = append(lines, b.row(r, wide, now))
		}
		left -= len(rows) + 1
	}
	if lines = append(lines, b.foot(now)); b.ended {
		lines = append(lines, "") // the last line is cleared at the end
	}
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, b.width, "…")
	}
	return tea.NewView(strings.Join(lines, "\n"))
}

func (b *board) row(r *boardRow, wide int, now time.Time) string {
	key := ansi.Truncate(r.key, wide, "…")
	line := "  " + key + strings.Repeat(" ", wide-ansi.StringWidth(key)) + "  " + r.value
	switch {
	case strings.HasSuffix(r.value, deleted):
		return b.paint.dim(line)
	case !b.ended && now.Sub(r.at) < boardFresh:
		return b.paint.bold(line)
	}
	return line
}

// foot says how it goes.
func (b *board) foot(now time.Time) string {
	parts := []string{count(int(b.changes), "change", "changes")}
	if len(b.marks) > 1 && !b.ended {
		first, last := b.marks[0], b.marks[len(b.marks)-1]
		if d := last.at.Sub(first.at).Seconds(); d > 0 {
			parts[0] += ", " + status.Rate(float64(last.n-first.n)/d) + "/s"
		}
	}
	parts = append(parts, now.Sub(b.began).Round(time.Second).String())
	switch {
	case b.ended:
		parts = append(parts, "stopped")
	case b.waits != "":
		parts = append(parts, b.paint.state(status.Retrying, oneText(b.waits)))
	default:
		parts = append(parts, b.paint.state(status.Running, "running"), "Ctrl-C: stop")
	}
	return b.paint.dim(strings.Join(parts, " · "))
}

// run draws the board on a terminal until stop is called; what is written to the error stream meanwhile appears above it.
func (b *board) run(ctx context.Context, terminal io.Writer, errs *lockedWriter, opts ...tea.ProgramOption) (stop func()) {
	opts = append(opts, tea.WithContext(context.WithoutCancel(ctx)), tea.WithOutput(terminal), tea.WithInput(nil), tea.WithoutSignalHandler())
	p := tea.NewProgram(b, opts...)
	errs.divert(func(lines string) { p.Println(lines) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := p.Run(); err != nil {
			errs.divert(nil)
			_, _ = fmt.Fprintf(errs, "--show cannot draw: %v\n", err) // there is nowhere to say that this failed
		}
	}()
	return func() {
		p.Send(boardStopped{})
		<-done
		errs.divert(nil)
	}
}
