package command

import (
	"context"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/troupe-stream/troupe/internal/status"
)

// watchScreen shows it on the whole screen until q is pressed.
func (c *cli) watchScreen(ctx context.Context, f statusFlags, look looker) error {
	l, err := look(ctx)
	if err != nil {
		return err
	}
	m := &screen{ctx: ctx, look: look, every: f.interval, paint: c.paint(), text: l.text(c.paint()), at: time.Now()}
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithOutput(os.Stdout), tea.WithInput(os.Stdin), tea.WithoutSignalHandler()).Run()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // told to stop
	}
	return err
}

// screen is the model of what --watch shows.
type screen struct {
	ctx    context.Context //nolint:containedctx // of the command, for its questions
	look   looker
	every  time.Duration
	paint  paint
	text   string
	at     time.Time // of text
	err    error     // why text is old
	width  int
	height int
	top    int // the first line that is shown
}

type (
	again struct{}
	news  struct {
		text string
		at   time.Time
		err  error
	}
)

func (m *screen) Init() tea.Cmd { return m.wait() }

func (m *screen) wait() tea.Cmd {
	return tea.Tick(m.every, func(time.Time) tea.Msg { return again{} })
}

func (m *screen) ask() tea.Msg {
	l, err := m.look(m.ctx)
	if err != nil {
		return news{err: err}
	}
	return news{text: l.text(m.paint), at: time.Now()}
}

func (m *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case again:
		return m, m.ask
	case news:
		if m.err = msg.err; msg.err == nil {
			m.text, m.at = msg.text, msg.at
		}
		return m, m.wait()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		page := max(m.height-2, 1)
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return m, tea.Quit
		case "down", "j":
			m.top++
		case "up", "k":
			m.top--
		case "pgdown", "space":
			m.top += page
		case "pgup":
			m.top -= page
		case "home", "g":
			m.top = 0
		}
	}
	return m, nil
}

func (m *screen) View() tea.View {
	text := strings.TrimRight(m.text, "\n")
	if m.width > 0 {
		text = ansi.Wrap(text, m.width, "")
	}
	lines := strings.Split(text, "\n")
	room := max(m.height-1, 1)
	m.top = max(min(m.top, len(lines)-room), 0)
	lines = lines[m.top:min(m.top+room, len(lines))]
	foot := "as of " + m.at.Format(time.TimeOnly) + "   q: quit, arrows: scroll"
	if m.err != nil {
		foot = m.paint.state(status.Stopped, "as of "+m.at.Format(time.TimeOnly)+", since then: "+oneLine(m.err))
	} else {
		foot = m.paint.dim(foot)
	}
	for len(lines) < room {
		lines = append(lines, "")
	}
	v := tea.NewView(strings.Join(append(lines, foot), "\n"))
	v.AltScreen = true
	return v
}
