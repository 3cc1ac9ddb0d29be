package command

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

// shop is a topology whose agents give up orders, on an embedded broker in a directory.
type shop struct {
	t   *testing.T
	dir string
	pay string // the paying agent's name

	mu     sync.Mutex
	mended bool
	paid   []string
	sent   []string // what the other agent has seen
}

// newShop has been drained with three bad orders among five.
func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, dir: t.TempDir(), pay: "pay"}
	s.feed("1\tgood\n2\tbad one\n3\tfine\n4\tbad two\n5\tworse 17\n")
	require.Equal(t, []string{"good", "fine"}, s.paid)
	require.Equal(t, []string{"good", "bad one", "fine", "bad two", "worse 17"}, s.sent)
	s.paid, s.sent = nil, nil
	return s
}

func (s *shop) topology() *topology.Topology {
	topo := topology.New("shop")
	orders := topology.NewTopic(topo, "orders", codec.String, codec.String, topology.Partitions(1))
	topology.Each(topo, s.pay, orders, func(_ *topology.Context, o topology.Event[string, string]) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.mended && strings.Contains(o.Value, "bad") {
			return topology.Permanent(errors.New("no such customer"))
		}
		if !s.mended && strings.Contains(o.Value, "worse") {
			return topology.Permanent(errors.New("broken at 17"))
		}
		s.paid = append(s.paid, o.Value)
		return nil
	})
	topology.Each(topo, "ship", orders, func(_ *topology.Context, o topology.Event[string, string]) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sent = append(s.sent, o.Value)
		return nil
	})
	return topo
}

func (s *shop) run(args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	return runWith(ctx, nil, []Topology{s.topology()}, append(args, "--data-dir", s.dir)...)
}

// ok runs a command that must go well, and returns both its outputs.
func (s *shop) ok(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	require.Zero(s.t, r.code, r.err)
	return r.out + r.err
}

// time is one at which letters of a test were given up.
func (*shop) time() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC) }

func (s *shop) feed(text string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "orders")
	require.NoError(s.t, os.WriteFile(file, []byte(text), 0o600))
	s.ok("--create-topics", "--feed-keyed", "--feed", "orders="+file, "--drain")
}

// admin has a look at the broker, or changes something.
func (s *shop) admin(f func(ctx context.Context, c *host.Cluster) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	c, err := host.Connect(ctx, host.ClusterConfig{DataDir: s.dir})
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, c.Close()) }()
	require.NoError(s.t, f(ctx, c))
}

func TestLettersListAndShow(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	out := s.run("dead-letters", "list").out
	require.Regexp(t, `(?m)^0@\d+ +open +\S+Z +orders/0@1 +pay +- +handler +1 +2 +no such customer$`, out)
	require.Contains(t, out, "3 letters\n      2  pay: no such customer\n      1  pay: broken at #\n")
	require.NotContains(t, out, "bad one", "a list shows no values")

	for flags, want := range map[string]int{
		"--agent=pay": 3, "--agent=ship": 0, "--error=^broken": 1, "--key=4": 1, "--since=1h": 3, "--until=1h": 0, "--until=2100-01-01T00:00:00Z --error=such": 2,
	} {
		r := s.run(append(strings.Fields(flags), "dead-letters", "list", "--format", "json")...)
		require.Zero(t, r.code, r.err)
		var all []letterLine
		require.NoError(t, json.Unmarshal([]byte(r.out), &all), r.out)
		require.Len(t, all, want, flags)
	}
	for flags, says := range map[string]string{"--error=(": "--error", "--since=noon": "--since \"noon\": use a time", "--format=xml": "use table, tsv or json"} {
		r := s.run("dead-letters", "list", flags)
		require.Equal(t, exitWrongUse, r.code)
		require.Contains(t, r.err, says)
	}

	for _, args := range [][]string{{"list"}, {"redrive", "--yes"}, {"drop", "--yes"}, {"export", filepath.Join(t.TempDir(), "letters")}} {
		r := s.run(append(append([]string{"dead-letters"}, args...), "--agent=pya")...)
		require.Equal(t, exitWrongUse, r.code, args)
		require.Contains(t, r.err, `unknown agent "pya": did you mean "pay"? There are pay, ship`, args)
	}

	place := strings.Fields(s.run("dead-letters", "list", "--key=5", "--format=tsv").out)[0]
	shown := s.ok("dead-letters", "show", place)
	for _, part := range []string{"orders/0@4", "worse 17", "broken at 17", "agent", "stack"} {
		require.Contains(t, shown, part)
	}
	var one letterLine
	require.NoError(t, json.Unmarshal([]byte(s.run("dead-letters", "show", place, "--format=json").out), &one))
	require.Equal(t, "worse 17", one.Value)
	require.Equal(t, "5", one.Key)
	require.Equal(t, kafka.StepHandler, one.Step)
	require.Contains(t, s.run("dead-letters", "show", "0@12345").err, "topic shop-dead-letters has no dead letter at 0@12345")
	require.Equal(t, exitWrongUse, s.run("dead-letters", "show", "17").code)
	require.Contains(t, s.run("dead-letters", "lst").err, `did you mean "list"`)
}

// Errors are of one kind if their first lines are, but for numbers and what is quoted, and however many lines follow.
func TestKindOf(t *testing.T) {
	t.Parallel()
	for kind, problems := range map[string][]string{
		"broken at #":        {"broken at 17", "broken at 4\nand at 5", "broken at 4 \r\nand \"so\" on"},
		"no customer # in #": {`no customer "a \"b\"" in 3`, `no customer "c" in 4`, "no customer \"c\" in 4\nlook \"there\""},
		"cannot read #":      {"cannot read \"a\nb\"", "cannot read \"c\nd\" at 7\n", `cannot read "e"`},
		`a pipe of #" burst`: {`a pipe of 5" burst`, `a pipe of 6" burst`},
	} {
		for _, p := range problems {
			require.Equal(t, kind, kindOf(p), "%q", p)
		}
	}
}

// Redriven records go to their agent alone; twice does nothing; one that fails again keeps its history.
func TestLettersRedrive(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	require.Equal(t, exitWrongUse, s.run("dead-letters", "redrive").code, "it asks")
	require.Contains(t, s.ok("dead-letters", "redrive", "--dry-run", "--key=2"), "\n1 letter\n")
	s.ok("--drain")
	require.Empty(t, s.paid, "nothing was done")

	require.Contains(t, s.ok("dead-letters", "redrive", "--yes", "--error=such"), "2 dead letters of topology shop redriven")
	require.Contains(t, s.ok("dead-letters", "redrive", "--yes", "--error=such"), "nothing to do")
	s.mended = true
	s.ok("--drain")
	require.Equal(t, []string{"bad one", "bad two"}, s.paid)
	require.Empty(t, s.sent, "the other agent has done them")
	s.mended = false

	place := strings.Fields(s.run("dead-letters", "list", "--format=tsv").out)[0]
	s.ok("dead-letters", "redrive", "--yes", place)
	require.Contains(t, s.ok("dead-letters", "redrive", "--yes", place), "letter "+place+" is closed: redriven to pay at ")
	s.ok("--drain")
	again := strings.Fields(s.run("dead-letters", "list", "--format=tsv").out)[0]
	require.NotEqual(t, place, again)
	require.Contains(t, s.ok("dead-letters", "show", again), "letter "+place+": broken at 17")
	require.Contains(t, s.ok("dead-letters", "show", place), "redriven to pay at")

	require.Contains(t, s.ok("dead-letters", "drop", "--yes"), "1 dead letter of topology shop dropped")
	require.Contains(t, s.ok("dead-letters", "list"), "has no such dead letters")
	all := s.run("dead-letters", "list", "--all").out
	require.Equal(t, 3, strings.Count(all, "redriven to pay"))
	require.Equal(t, 1, strings.Count(all, "dropped"))
	require.Empty(t, s.sent)
}

// An agent that was renamed is told from the letter's, and --to names it.
func TestLettersRedriveToAnotherAgent(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.pay = "charge"
	s.mended = true
	require.Contains(t, s.ok("dead-letters", "list", "--agent=pay"), "3 letters", "letters know the agent that the topology has lost")
	r := s.run("dead-letters", "redrive", "--yes")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "topology shop has no agent pay on topic orders; if it was renamed, add --to with one of charge, ship")
	s.ok("dead-letters", "redrive", "--yes", "--to=charge")
	s.ok("--drain")
	var redriven []string // a new agent reads its topic from the start: it sees the others too
	for _, v := range s.paid {
		if strings.Contains(v, "bad") || strings.Contains(v, "worse") {
			redriven = append(redriven, v)
		}
	}
	require.Equal(t, []string{"bad one", "bad two", "worse 17", "bad one", "bad two", "worse 17"}, redriven)
	require.Empty(t, s.sent)
}

// TestLettersStay: the topic is made to keep letters for ever, and a node and verify say so where somebody has it otherwise.
func TestLettersStay(t *testing.T) {
	t.Parallel()
	s := &shop{t: t, dir: t.TempDir(), pay: "pay"}
	said := s.ok("--create-topics", "--drain", "--http", "off")
	require.NotContains(t, said, "dead letters do not stay")
	s.admin(func(ctx context.Context, c *host.Cluster) error {
		topics, err := c.Admin.Topics(ctx, "shop-dead-letters")
		for name, want := range map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"} {
			require.Equal(t, want, topics["shop-dead-letters"].Config[name], name)
		}
		return err
	})
	for name, says := range map[string]string{
		"retention.ms":    "shop-dead-letters deletes dead letters by retention.ms=86400000, counted from the time of their record",
		"retention.bytes": "shop-dead-letters deletes dead letters by retention.bytes=86400000, the oldest first",
	} {
		s := &shop{t: t, dir: t.TempDir(), pay: "pay"}
		s.admin(func(ctx context.Context, c *host.Cluster) error {
			config := map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", name: "86400000"}
			return c.Admin.Create(ctx, kafka.TopicSpec{Name: "shop-dead-letters", Partitions: 1, Config: config})
		})
		said := s.ok("--create-topics", "--drain", "--http", "off", "--strict")
		require.Contains(t, said, "dead letters do not stay")
		require.Contains(t, said, says)
		require.Contains(t, said, "--entity-name shop-dead-letters --add-config "+name+"=-1")
		require.Contains(t, s.ok("verify"), says)
	}
}

// What errors of one kind differ in does not make them several: the entry that failed, how often, where, and what lines say behind the first.
func TestErrorsAreCountedByKind(t *testing.T) {
	t.Parallel()
	var letters []*letter
	for _, err := range []string{
		`table paid, key "ada": no account 17`, `table paid, key "alan": no account 4`, `table paid, key "a \"quoted\" one": no account 5`, `table paid, key "` + strings.Repeat("long", 50) + `": no account 6`,
		"the bank is closed\nand so on", "the bank is closed",
	} {
		letters = append(letters, &letter{Letter: kafka.Letter{Failure: kafka.Failure{Agent: "pay", Error: err}}})
	}
	var out strings.Builder
	require.NoError(t, countErrors(&out, letters))
	require.Equal(t, "\n6 letters\n      4  pay: table paid, key #: no account #\n      2  pay: the bank is closed\n", out.String())
}
