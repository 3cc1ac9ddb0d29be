package redact_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/redact"
)

// outage is an error of what is not to be had now.
type outage struct{ error }

func (outage) Unavailable() bool { return true }

// What is quoted goes, what wraps it stays, and the error itself is as it was.
func TestText(t *testing.T) {
	t.Parallel()
	key := redact.Quote("a key", "key %q", "ada")
	reason := errors.New("cannot make a card of ada")
	hidden := redact.Of(reason).(redact.Error).Redacted() //nolint:errorlint,forcetypeassert // it is
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"a piece":             {fmt.Errorf("table x: %w belongs elsewhere", key), "table x: a key belongs elsewhere"},
		"a reason":            {fmt.Errorf("encode it: %w", redact.Of(reason)), "encode it: " + hidden},
		"both":                {fmt.Errorf("table x, %w: %w", key, redact.Of(reason)), "table x, a key: " + hidden},
		"joined":              {errors.Join(fmt.Errorf("a: %w", key), errors.New("b")), "a: a key\nb"},
		"retold":              {fmt.Errorf("%w, key \"ada\" again", key), "a key, a key again"},
		"told in other words": {other{fmt.Errorf("so: %w", key)}, "a key"},
		"nothing":             {errors.New("the bank is closed"), "the bank is closed"},
		"an empty reason":     {fmt.Errorf("encode it: %w", redact.Of(errors.New(""))), "encode it: "},
		"an outage":           {redact.Of(outage{errors.New("no registry at x")}), "no registry at x"},
	} {
		require.Equal(t, c.want, redact.Text(c.err), name)
		told := redact.Told(c.err)
		require.Equal(t, c.want, told.Error(), name)
		require.Equal(t, c.want, redact.Text(told), name)
		require.ErrorIs(t, told, c.err, name)
	}
	require.ErrorIs(t, redact.Told(fmt.Errorf("encode it: %w", redact.Of(reason))), reason)
	require.NoError(t, redact.Of(nil))
	require.NoError(t, redact.Told(nil))
}

// other tells an error in words of its own.
type other struct{ error }

func (o other) Error() string { return fmt.Sprintf("%q", o.error.Error()) }
func (o other) Unwrap() error { return o.error }

// Errors in any attribute of a line are told without what they quote; all else is as it was.
func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := redact.Log(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	err := fmt.Errorf("table x: %w belongs elsewhere", redact.Quote("a key", "key %q", "ada"))
	log.Warn("one", "n", 7, "error", err)
	log.With("error", err).WithGroup("g").Warn("two", "why", errors.New("closed"))
	log.Warn("three", slog.Group("g", "error", err))
	require.Equal(t, `level=WARN msg=one n=7 error="table x: a key belongs elsewhere"
level=WARN msg=two error="table x: a key belongs elsewhere" g.why=closed
level=WARN msg=three g.error="table x: a key belongs elsewhere"
`, out.String())
}
