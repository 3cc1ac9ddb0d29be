package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/kafka"
	"github.com/troupe-stream/troupe/topology/plan"
)

// cutSessions is an operator whose sessions are cut at their n-th commit: before it, or with its answer lost.
type cutSessions struct {
	kafka.Operator
	left int
	lost bool // the answer
	hold func()
}

type cutSession struct {
	kafka.Session
	c *cutSessions
}

func (c *cutSessions) Session(ctx context.Context, id string) (kafka.Session, error) {
	s, err := c.Operator.Session(ctx, id)
	return &cutSession{s, c}, err
}

func (s *cutSession) Commit(ctx context.Context, names []string, out *kafka.Outputs) error {
	if s.c.hold != nil {
		s.c.hold()
	}
	if s.c.left--; s.c.left >= 0 {
		return s.Session.Commit(ctx, names, out)
	}
	if s.c.lost {
		return errors.Join(s.Session.Commit(ctx, names, out), errCut)
	}
	return errCut
}

// redriveOn redrives all with a cluster's operator replaced.
func (s *shop) redriveOn(ctx context.Context, c *host.Cluster, admin kafka.Operator) (string, error) {
	p, err := s.topology().Plan()
	if err != nil {
		return "", err
	}
	out := new(buffer)
	m := &mailbox{cli: &cli{app: &App{Name: "node", Out: out, Err: out}}, plan: p, cluster: &host.Cluster{Driver: c.Driver, Admin: admin}}
	m.topic = p.Topics[slices.IndexFunc(p.Topics, func(t *plan.Topic) bool { return t.Kind == plan.DeadLetters })]
	if err := m.load(ctx); err != nil {
		return "", err
	}
	err = m.act(ctx, &actFlags{yes: true, receipt: kafka.ReceiptRedriven})
	return out.String(), err
}

// TestRedriveCutShort between any two of its transactions, or with the answer of one lost: going on ends it, and every record
// has come to its agent once.
func TestRedriveCutShort(t *testing.T) {
	t.Parallel()
	const letters, transactions = 2*actLetters + 50, 3
	for n := range transactions + 1 {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d commits, lost %v", n, lost), func(t *testing.T) {
				t.Parallel()
				s := &shop{t: t, dir: t.TempDir(), pay: "pay"}
				var text strings.Builder
				var want []string
				for i := range letters {
					fmt.Fprintf(&text, "k\tbad %d\n", i)
					want = append(want, fmt.Sprintf("bad %d", i))
				}
				s.feed(text.String())
				s.admin(func(ctx context.Context, c *host.Cluster) error {
					out, err := s.redriveOn(ctx, c, &cutSessions{Operator: c.Admin, left: n, lost: lost})
					if n == transactions {
						require.Contains(t, out, fmt.Sprintf("%d dead letters", letters))
						return err
					}
					require.ErrorIs(t, err, errCut)
					require.ErrorContains(t, err, fmt.Sprintf("%d of %d letters are redriven", n*actLetters, letters))
					return nil
				})
				s.ok("dead-letters", "redrive", "--yes")
				s.mended = true
				s.ok("--drain")
				require.Equal(t, want, s.paid)
				require.Contains(t, s.ok("dead-letters", "list"), "has no such dead letters")
			})
		}
	}
}

// Of two at once the later one wins: the first is told, and nothing is done twice.
func TestRedriveTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.admin(func(ctx context.Context, c *host.Cluster) error {
		begun, overtaken := make(chan struct{}), make(chan struct{})
		var first error
		var wait sync.WaitGroup
		wait.Go(func() {
			_, first = s.redriveOn(ctx, c, &cutSessions{Operator: c.Admin, left: 1, hold: func() { close(begun); <-overtaken }})
		})
		<-begun
		out, err := s.redriveOn(ctx, c, c.Admin)
		close(overtaken)
		wait.Wait()
		require.ErrorIs(t, first, kafka.ErrSuperseded)
		require.ErrorContains(t, first, "0 of 3 letters are redriven")
		require.Contains(t, out, "3 dead letters of topology shop redriven")
		return err
	})
	s.mended = true
	s.ok("--drain")
	require.Equal(t, []string{"bad one", "bad two", "worse 17"}, s.paid)
}

// Letters go to another cluster by a file, with null keys and all headers; importing twice does nothing.
func TestLettersExportImport(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.admin(func(ctx context.Context, c *host.Cluster) error {
		out := new(kafka.Outputs)
		for i, value := range [][]byte{nil, {}, []byte("bad \xff")} {
			l := kafka.Letter{Failure: kafka.Failure{Topic: "orders", Offset: int64(100 + i), Agent: "pay", Error: "é", Stack: "s", Time: s.time()}}
			l.History = []kafka.Failure{{Topic: "orders", Agent: "pay", Error: "before", Letter: "0@0", Time: s.time()}}
			headers, err := l.Append(kafka.AppendHeaders(nil, kafka.Header{Key: "null"}, kafka.Header{Key: "empty", Value: []byte{}}), 0, 0)
			require.NoError(t, err)
			out.Append(0, 0, 12345, nil, value, headers)
		}
		_, err := c.Admin.Produce(ctx, []string{"shop-dead-letters"}, out)
		return err
	})
	file := filepath.Join(t.TempDir(), "letters")
	require.Contains(t, s.ok("dead-letters", "export", file), "6 dead letters of topology shop exported")
	require.Contains(t, s.run("dead-letters", "export", file).err, "exists")
	require.Contains(t, s.ok("dead-letters", "import", file), "0 dead letters imported into topology shop; 6 were there already")

	other := &shop{t: t, dir: t.TempDir(), pay: "pay"}
	other.feed("1\tfine\n")
	require.Contains(t, other.ok("dead-letters", "import", file), "6 dead letters imported into topology shop; 0 were there already")
	require.Contains(t, other.ok("dead-letters", "import", file), "0 dead letters imported")
	there := filepath.Join(t.TempDir(), "there")
	other.ok("dead-letters", "export", there)
	require.Equal(t, linesOf(t, file), linesOf(t, there), "but for where they lie")

	bad := filepath.Join(t.TempDir(), "bad")
	require.NoError(t, os.WriteFile(bad, []byte("{\"failure\":{}}\n\n{\n"+`{"failur":1}`+"\n"+`{"failure":{"topic":"t","agent":"a","time":"2026-01-01T00:00:00Z"},"timestamp":1,"key":"?"}`+"\n"), 0o600))
	r := other.run("dead-letters", "import", bad)
	require.Equal(t, exitFailed, r.code)
	for _, says := range []string{"nothing was imported", "line 1: its failure names no topic", "line 3: it is no dead letter", `line 4: it is no dead letter: unknown field "failur"`, "line 5: it is no dead letter: illegal base64", "does not count its letters"} {
		require.Contains(t, r.err, says)
	}
}

// What was redriven or dropped before it was exported stays closed: nothing is done twice by way of a file.
func TestLettersImportLeavesOutClosed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.ok("dead-letters", "redrive", "--yes", "--key=2")
	s.ok("dead-letters", "drop", "--yes", "--key=4")
	file := filepath.Join(t.TempDir(), "letters")
	require.Contains(t, s.ok("dead-letters", "export", "--all", file), "3 dead letters")

	other := &shop{t: t, dir: t.TempDir(), pay: "pay", mended: true}
	other.feed("1\tfine\n")
	said := other.ok("dead-letters", "import", file)
	require.Contains(t, said, "1 dead letter imported into topology shop; 0 were there already")
	require.Contains(t, said, "2 closed letters were left out")
	require.Contains(t, other.ok("dead-letters", "redrive", "--yes"), "1 dead letter of topology shop redriven")
	other.ok("--drain")
	require.Equal(t, []string{"fine", "worse 17"}, other.paid)

	said = other.ok("dead-letters", "import", "--reopen", file)
	require.Contains(t, said, "2 dead letters imported into topology shop; 1 were there already")
	require.NotContains(t, said, "left out")
	require.Equal(t, 2, strings.Count(other.run("dead-letters", "list").out, " open "))
}

// Letters of another topology, of which redrive could make nothing, are refused before anything is written.
func TestLettersImportOfAnotherTopology(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	file, strange := filepath.Join(t.TempDir(), "letters"), filepath.Join(t.TempDir(), "strange")
	s.ok("dead-letters", "export", file)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(strange, bytes.ReplaceAll(b, []byte(`"topic":"orders"`), []byte(`"topic":"payments"`)), 0o600))
	r := s.run("dead-letters", "import", strange)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, oneLineOf(t, r), "nothing was imported: no agent of topology shop reads payments, of which 3 letters are (line 1 first): if they are of another topology, name it with --topology; else take them with --any-topology")
	require.Equal(t, 3, strings.Count(s.run("dead-letters", "list").out, " open "))
	require.Contains(t, s.ok("dead-letters", "import", "--any-topology", strange), "3 dead letters imported")
	require.Contains(t, s.ok("dead-letters", "import", strange), "3 were there already", "what is there need not be refused")
}

// A file is whole if its last line counts its letters, wherever it was cut.
func TestReadFiled(t *testing.T) {
	t.Parallel()
	const one = `{"failure":{"topic":"t","agent":"a","time":"2026-01-01T00:00:00Z"},"timestamp":1}` + "\n"
	for _, c := range []struct {
		text    string
		partial int    // letters with --partial
		fault   string // without it; none: as many letters
	}{
		{"{\"letters\":0}\n", 0, ""},
		{one + one + "{\"letters\":2}\n", 2, ""},
		{one + one + "{\"letters\":2}", 2, ""},
		{one + "{\"letters\":1}\n" + one + one + "\n{\"letters\":2}\n", 3, ""},
		{"", 0, "does not count its letters: the file was cut, or is of an older version"},
		{one + one, 2, "does not count its letters"},
		{one + "{\"letters\":1}\n" + one, 2, "does not count its letters"},
		{one + one + "{\"letters\":3}\n", 2, "line 3: it counts 3 letters before it, and there are 2"},
		{one + "{\"letters\":2}\n" + one + "{\"letters\":0}\n", 2, "line 4: it counts 0 letters before it, and there are 1"},
		{one + one[:20], 1, "line 2: it is no dead letter: unexpected EOF"},
		{one + "{\"letters\":", 1, "line 2: it is no dead letter: unexpected EOF"},
	} {
		letters, err := readFiled(strings.NewReader(c.text), true)
		require.NoError(t, err, c.text)
		require.Len(t, letters, c.partial, c.text)
		letters, err = readFiled(strings.NewReader(c.text), false)
		if c.fault != "" {
			require.ErrorContains(t, err, c.fault, c.text)
			continue
		}
		require.NoError(t, err, c.text)
		require.Len(t, letters, c.partial, c.text)
	}
	_, err := readFiled(strings.NewReader(one[:len(one)-2]+`,"state":"opened"}`+"\n"), true)
	require.ErrorContains(t, err, `line 1: its state is "opened": there are open, redriven and dropped`)
}

// linesOf reads an export, without the places.
func linesOf(t *testing.T, file string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		if _, ok := parseEnd([]byte(line)); ok {
			continue
		}
		var l filedLetter
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		l.Letter = ""
		b, err := json.Marshal(l)
		require.NoError(t, err)
		all = append(all, string(b))
	}
	return all
}
