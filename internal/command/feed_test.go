package command

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/kafka"
)

func newFakeAdmin() *fakeAdmin {
	return &fakeAdmin{topics: map[string]kafka.TopicState{
		"lines": {Partitions: 2}, "numbers": {Partitions: 2, Config: map[string]string{"max.message.bytes": "2000"}},
	}}
}

// fed feeds a text to a topic.
func fed(ctx context.Context, admin *fakeAdmin, topic string, keyed bool, in io.Reader) (int, error) {
	t, err := topicOf(wordcount(), topic)
	if err != nil {
		return 0, err
	}
	f := &feed{topic: t, name: "book.txt", keyed: keyed, in: in}
	return f.run(ctx, admin)
}

func values(admin *fakeAdmin) []string {
	out := []string{}
	for _, r := range admin.produced {
		out = append(out, string(r.value))
	}
	return out
}

func TestFeedLines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":              {"", []string{}},
		"one":                {"a\n", []string{"a"}},
		"no newline at end":  {"a\nb", []string{"a", "b"}},
		"empty lines":        {"\n\na\n", []string{"", "", "a"}},
		"binary":             {"\x00\xff\xfe\x01\r\n\x80", []string{"\x00\xff\xfe\x01\r", "\x80"}},
		"longer than buffer": {strings.Repeat("x", 3*feedBuffer) + "\ny\n", []string{strings.Repeat("x", 3*feedBuffer), "y"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := newFakeAdmin()
			n, err := fed(t.Context(), admin, "lines", false, strings.NewReader(c.text))
			require.NoError(t, err)
			require.Equal(t, len(c.want), n)
			require.Equal(t, c.want, values(admin))
			for i, r := range admin.produced {
				require.Nil(t, r.key)
				require.NotNil(t, r.value, "an empty line is empty, not null")
				require.EqualValues(t, i%2, r.partition, "round robin")
			}
		})
	}
}

// However a text is cut into reads, its lines arrive as they are.
func TestFeedAnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`[^\n]{0,20}`)).Draw(rt, "lines")
		admin := newFakeAdmin()
		text := strings.Join(lines, "\n")
		if text != "" || len(lines) > 0 {
			text += "\n"
		}
		n, err := fed(t.Context(), admin, "lines", false, &slowReader{text: text, n: rapid.IntRange(1, 50).Draw(rt, "read")})
		require.NoError(rt, err)
		require.Equal(rt, len(lines), n)
		require.Equal(rt, append([]string{}, lines...), values(admin))
	})
}

// slowReader gives n bytes at once.
type slowReader struct {
	text string
	n    int
}

func (s *slowReader) Read(p []byte) (int, error) {
	if s.text == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(s.n, len(p))], s.text)
	s.text = s.text[n:]
	return n, nil
}

func TestFeedKeyed(t *testing.T) {
	t.Parallel()
	admin := newFakeAdmin()
	n, err := fed(t.Context(), admin, "numbers", true, strings.NewReader("a\t1\nb\t2\n\t3\n"))
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, []fakeRecord{
		{"numbers", 'a' % 2, []byte("a"), []byte("1")}, {"numbers", 'b' % 2, []byte("b"), []byte("2")}, {"numbers", 0, []byte{}, []byte("3")},
	}, admin.produced)
}

func TestFeedErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		topic string
		keyed bool
		text  string
		fed   int
		want  []string
	}{
		"no tab":         {"lines", true, "a\tb\nc\n", 1, []string{"feed lines from book.txt", "line 2", "KEY<TAB>VALUE", "1 lines before"}},
		"does not parse": {"numbers", false, "1\n2\nx\n", 2, []string{"line 3", "not an int64", "2 lines before"}},
		"20 MB line": {
			"lines", false, "a\n" + strings.Repeat("x", 20<<20) + "\n", 1,
			[]string{"line 2", strconv.Itoa(20 << 20), strconv.Itoa(1048588 - recordOverhead), "max.message.bytes"},
		},
		"topic's own limit": {"numbers", false, strings.Repeat("1", 1990), 0, []string{"line 1", "1990 bytes", "takes 1872"}},
		"no such topic":     {"wordcount-counts-changelog", false, "a\n", 0, []string{"does not exist", "--create-topics"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin := newFakeAdmin()
			n, err := fed(t.Context(), admin, c.topic, c.keyed, strings.NewReader(c.text))
			for _, w := range c.want {
				require.ErrorContains(t, err, w)
			}
			require.Equal(t, c.fed, n)
			require.Len(t, admin.produced, c.fed)
		})
	}
}

// A line that is typed arrives although more may follow, and the end of the context ends a feed that waits for input.
func TestFeedFollowsAndStops(t *testing.T) {
	t.Parallel()
	in, typed := io.Pipe()
	defer in.Close() //nolint:errcheck // of a pipe
	sent := make(chan struct{}, 1)
	admin := newFakeAdmin()
	admin.produce = func(context.Context) error { sent <- struct{}{}; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := fed(ctx, admin, "lines", false, in)
		done <- err
	}()
	_, err := typed.Write([]byte("hello\n"))
	require.NoError(t, err)
	receive(t, sent)
	cancel()
	require.ErrorIs(t, receive(t, done), context.Canceled)
	require.Equal(t, []string{"hello"}, values(admin))
}

func TestFeedProduceFails(t *testing.T) {
	t.Parallel()
	admin := newFakeAdmin()
	admin.produce = func(context.Context) error { return errors.New("denied") }
	n, err := fed(t.Context(), admin, "lines", false, strings.NewReader("a\nb\n"))
	require.ErrorContains(t, err, "feed lines from book.txt: lines 1 to 2: denied")
	require.Zero(t, n)
}

// receive waits for a value, with a deadline.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		require.FailNow(t, "nothing came within 10 s")
		panic("unreachable")
	}
}
