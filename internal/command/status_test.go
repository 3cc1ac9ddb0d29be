package command

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/status"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// stopping is a topology that stops at a bad record until it is mended.
type stopping struct {
	mended  atomic.Bool
	pattern string // of the topics that it reads, in place of orders
}

func (s *stopping) topology() Topology {
	topo := topology.New("shop")
	if s.pattern != "" {
		many := topology.NewTopicPattern(topo, "many", s.pattern, codec.String, codec.String)
		topology.Each(topo, "pay", many, func(_ *topology.Context, o topology.Event[string, string]) error {
			if o.Value == "bad" && !s.mended.Load() {
				return topology.Permanent(errors.New("no such customer"))
			}
			return nil
		}, topology.OnFailure(topology.Policy{Then: topology.StopPartition}))
		return topo
	}
	orders := topology.NewTopic(topo, "orders", codec.String, codec.String, topology.Partitions(2))
	count := topology.NewTable(topo, "seen", codec.String, codec.Int64, topology.Local())
	topology.Each(topo, "pay", orders, func(ctx *topology.Context, o topology.Event[string, string]) error {
		if o.Value == "bad" && !s.mended.Load() {
			return topology.Permanent(errors.New("no such customer"))
		}
		count.Set(ctx, o.Key, 1)
		return nil
	}, topology.Writes(count), topology.OnFailure(topology.Policy{Then: topology.StopPartition}))
	return topo
}

// start runs a node until the test ends, or stop is called, and waits until it is ready.
func (s *stopping) start(t *testing.T, dir string, args ...string) (errs *buffer, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	errs = &buffer{}
	app := &App{Name: "node", Topologies: []Topology{s.topology()}, In: strings.NewReader(""), Out: &buffer{}, Err: errs}
	done := make(chan int, 1)
	go func() { done <- app.Run(ctx, append([]string{"--data-dir", dir, "--http", "127.0.0.1:0"}, args...)) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.Zero(t, <-done, errs)
		}
	}
	t.Cleanup(stop)
	s.await(t, dir, func(a status.Answer) bool { return a.Nodes[0].Ready })
	return errs, stop
}

func (s *stopping) run(t *testing.T, args ...string) result {
	t.Helper()
	return runWith(t.Context(), nil, []Topology{s.topology()}, args...)
}

// await asks for the state until it is as wanted, and returns it.
func (s *stopping) await(t *testing.T, dir string, good func(status.Answer) bool) {
	t.Helper()
	var r result
	require.Eventually(t, func() bool {
		var a status.Answer
		r = s.run(t, "status", "--data-dir", dir, "--format", "json")
		return r.code == 0 && json.Unmarshal([]byte(r.out), &a) == nil && good(a)
	}, time.Minute, 50*time.Millisecond, "%v", &r)
}

// A partition that has stopped says why, on whichever node it is, and goes on when an operator says so.
func TestStatusAndResume(t *testing.T) {
	t.Parallel()
	s := &stopping{}
	one, two, none := t.TempDir(), t.TempDir(), t.TempDir()
	errs, stop := s.start(t, one)
	broker := regexp.MustCompile(`embedded, at ([0-9.:]+)`).FindStringSubmatch(errs.String())[1]
	s.start(t, two, "--brokers", broker)
	// The topics have two partitions, and the leader's slot makes three.
	s.await(t, two, func(a status.Answer) bool {
		n := 0
		for _, x := range a.Nodes {
			if n += len(x.Partitions); len(x.Partitions) == 0 {
				return false
			}
		}
		return len(a.Nodes) == 2 && n == 3
	})
	for _, p := range []string{"0", "1"} {
		require.Zero(t, s.run(t, "send", "orders", "bad", "--key", "k", "--partition", p, "--brokers", broker).code)
		require.Zero(t, s.run(t, "send", "orders", "good", "--key", "k", "--partition", p, "--brokers", broker).code)
	}
	stoppedAt := func(want int) func(status.Answer) bool {
		return func(a status.Answer) bool {
			n := 0
			for _, x := range a.Nodes {
				for _, p := range x.Partitions {
					if p.State == status.Stopped && p.Lag == 2 {
						n++
					}
				}
			}
			return n == want
		}
	}
	s.await(t, one, stoppedAt(2))
	for _, how := range [][]string{{"--data-dir", one}, {"--data-dir", two}, {"--data-dir", none, "--brokers", broker}} {
		r := s.run(t, append([]string{"status"}, how...)...)
		require.Zero(t, r.code, r.err)
		require.Contains(t, r.out, "shop: 2 nodes, 3 partitions (1 running, 2 stopped), lag 4")
		require.Regexp(t, `orders/0 +stopped`, r.out)
		require.Regexp(t, `orders/1 +stopped`, r.out)
		require.Contains(t, r.out, "orders/0: agent pay: orders/0@0 failed: no such customer")
		require.Contains(t, r.out, "LAST ERRORS")
		require.NotContains(t, r.out, "\x1b", "no colours but on a terminal")
		resume := append([]string{"__complete", "resume-partition"}, how...)
		require.Equal(t, "orders/0\norders/1\n:4\n", s.run(t, append(resume, "")...).out)
		require.Equal(t, "orders/1\n:4\n", s.run(t, append(resume, "orders/0", "")...).out)
	}
	r := s.run(t, "status", "--data-dir", one, "--tree")
	require.Zero(t, r.code, r.err)
	require.Regexp(t, `orders/1 +partition +stopped`, r.out)
	require.Regexp(t, `─ pay +agent +stopped`, r.out)
	require.Regexp(t, `─ seen/0 +shard`, r.out)

	// It stops again as long as nothing is mended.
	r = s.run(t, "resume-partition", "0", "--data-dir", two) // (leader)/0 is meant too, and is not stopped
	require.Zero(t, r.code, r.err)
	require.Equal(t, "node: partition orders/0 of topology shop goes on\n", r.err)
	s.await(t, one, stoppedAt(2))
	s.mended.Store(true)
	r = s.run(t, "resume-partition", "--all", "--data-dir", one)
	require.Zero(t, r.code, r.err)
	require.Equal(t, 2, strings.Count(r.err, "goes on"), r.err)
	s.await(t, one, func(a status.Answer) bool {
		return stoppedAt(0)(a) && len(a.Nodes) == 2 && strings.Contains(status.Overviews(a)[0].Headline, "lag 0,")
	})
	r = s.run(t, "resume-partition", "--all", "--data-dir", one)
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "no partition is stopped")
	r = s.run(t, "resume-partition", "orders/1", "7", "--data-dir", one)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, oneLineOf(t, r), "partition orders/1 of topology shop: it is not stopped; partition 7: no node that answers has it")

	stop()
	_, err := os.Stat(filepath.Join(one, "address"))
	require.ErrorIs(t, err, os.ErrNotExist, "a node that stops in order leaves no address behind")
}

// Who cannot be asked is said in one line, with what to do.
func TestStatusFaults(t *testing.T) {
	t.Parallel()
	s := &stopping{}
	dir := t.TempDir()
	for want, args := range map[string][]string{
		"no node runs in data directory":  {"status", "--data-dir", dir},
		"nothing listens at":              {"resume-partition", "--all", "--address", "127.0.0.1:1"},
		`--format "tsv"`:                  {"status", "--format", "tsv"},
		"--interval 1ms":                  {"status", "--interval", "1ms"},
		`partition "x/y"`:                 {"resume-partition", "x/y"},
		"takes partitions, as in 3":       {"resume-partition"},
		"or --all":                        {"resume-partition", "3", "--all"},
		"give both":                       {"status", "--http-cert", "x"},
		"others can reach that address":   {"--http", "0.0.0.0:0", "--data-dir", dir},
		"--advertise says where others":   {"--http", "off", "--advertise", "x", "--data-dir", dir},
		"use HOST:PORT, as in 127.0.0.1:": {"--http", "6066", "--data-dir", dir},
	} {
		r := s.run(t, args...)
		require.NotZero(t, r.code)
		require.Contains(t, oneLineOf(t, r), want)
	}
	// A node that was killed has left its address behind; another one may have that address by now.
	other := t.TempDir()
	s.start(t, other)
	b, err := os.ReadFile(filepath.Join(other, "address"))
	require.NoError(t, err)
	url, _, _ := strings.Cut(string(b), "\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "address"), []byte(url+"\nkilled\n"), 0o600))
	r := s.run(t, "status", "--data-dir", dir)
	require.Contains(t, oneLineOf(t, r), "node killed does not run")
}

func answer(why string) *looked {
	return &looked{answer: &status.Answer{Nodes: []status.Node{{Topology: "shop", Instance: "a", State: status.Running, Partitions: []status.Partition{
		{Stage: "orders", State: status.Stopped, Why: why}, {Stage: "orders", Partition: 1, State: status.Restoring, Progress: 0.43},
	}}}}}
}

// TestStatusSaysWhichClient: a node that cannot use the batched client is said to be slower, and why.
func TestStatusSaysWhichClient(t *testing.T) {
	t.Parallel()
	of := answer("")
	node := &of.answer.Nodes[0]
	node.Client = "batched"
	require.NotContains(t, of.text(paint{}), "is not the batched one")
	node.Client, node.ClientWhy = "public", "the librdkafka of this program has no rd_kafka_queue_forward"
	require.Contains(t, of.text(paint{}), "a: its Kafka client is not the batched one: the librdkafka of this program has no rd_kafka_queue_forward\n")
	require.Contains(t, of.text(paint{}), "public")
}

// What --watch shows on a terminal fills the screen, scrolls, keeps what it knows while nobody answers, and ends with q.
func TestWatchScreen(t *testing.T) {
	t.Parallel()
	fail := false
	m := &screen{ctx: t.Context(), every: time.Hour, look: func(context.Context) (*looked, error) {
		if fail {
			return nil, errors.New("nothing listens")
		}
		return answer("new"), nil
	}, text: answer("old").text(paint{})}
	view := func() []string { return strings.Split(m.View().Content, "\n") }
	m.Update(tea.WindowSizeMsg{Width: 100, Height: 20})
	require.Len(t, view(), 20)
	require.Contains(t, m.View().Content, "old")
	require.Contains(t, m.View().Content, "restoring 43%")
	require.True(t, m.View().AltScreen)
	require.NotNil(t, m.Init())

	_, ask := m.Update(again{})
	_, next := m.Update(ask())
	require.NotNil(t, next)
	require.Contains(t, m.View().Content, "new")
	fail = true
	_, ask = m.Update(again{})
	m.Update(ask())
	require.Contains(t, m.View().Content, "new")
	require.Contains(t, view()[19], "nothing listens")

	m.Update(tea.WindowSizeMsg{Width: 100, Height: 4})
	first := view()[0]
	m.Update(tea.KeyPressMsg{Code: tea.KeyDown})
	require.NotEqual(t, first, view()[0])
	m.Update(tea.KeyPressMsg{Code: tea.KeyUp})
	require.Equal(t, first, view()[0])
	for range 9 {
		m.Update(tea.KeyPressMsg{Code: tea.KeyPgDown})
	}
	require.Contains(t, view()[2], "orders/0: new", "not beyond the end")
	m.Update(tea.WindowSizeMsg{Width: 20, Height: 4})
	for _, line := range view()[:3] {
		require.LessOrEqual(t, len([]rune(line)), 20, "what does not fit is wrapped")
	}
	_, quit := m.Update(tea.KeyPressMsg{Code: 'q', Text: "q"})
	require.IsType(t, tea.QuitMsg{}, quit())
}

// Where there is no screen, --watch writes one look below the other, and goes on over a node that is away.
func TestWatchLines(t *testing.T) {
	t.Parallel()
	var out, errs buffer
	c := &cli{app: &App{Name: "node", Out: &out, Err: &errs}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	require.NoError(t, c.watchLines(ctx, statusFlags{format: "json", interval: time.Millisecond}, func(context.Context) (*looked, error) {
		switch n++; n {
		case 2:
			return nil, errors.New("away")
		case 4:
			cancel()
		}
		return answer(""), nil
	}))
	require.Equal(t, 2, strings.Count(out.String(), "\n"))
	require.Equal(t, "node: away\n", errs.String())
	require.ErrorContains(t, c.watchLines(t.Context(), statusFlags{format: "json", interval: time.Millisecond}, func(context.Context) (*looked, error) {
		return nil, errors.New("nobody")
	}), "nobody")
}

// What a handler says does not command the terminal.
func TestControlCharacters(t *testing.T) {
	t.Parallel()
	require.Contains(t, answer("\x1b]0;gotcha\a\u009b1m").text(paint{}), `\x1b]0;gotcha\x07\x9b1m`)
}

func TestColours(t *testing.T) {
	t.Parallel()
	c := &cli{app: &App{Terminal: true}}
	require.Contains(t, answer("x").text(c.paint()), "\x1b[")
	c.app.Environ = []string{"NO_COLOR=1"}
	require.NotContains(t, answer("x").text(c.paint()), "\x1b[")
}
