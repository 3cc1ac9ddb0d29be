// Package redact keeps what errors quote of records and tables out of logs. An error that may hold a key or a value is an Error, made here
// (Quote, Of) or with a type of its own; Text, and a logger made by Log, tell it without, as they do whatever wraps it.
package redact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Error is an error whose text may quote a key or a value, and which can be told without.
type Error interface {
	error
	// Redacted is the text without what is quoted.
	Redacted() string
}

// quote is a piece of an error's text.
type quote struct{ text, plain string }

// Error implements error.
func (q quote) Error() string { return q.text }

// Redacted implements Error.
func (q quote) Redacted() string { return q.plain }

// Quote is a piece of an error's text that quotes, to be wrapped with %w where it belongs; plain is what stands there in logs.
func Quote(plain, format string, args ...any) Error {
	return quote{fmt.Sprintf(format, args...), plain}
}

// foreign is an error in words of a codec or a function of the user's.
type foreign struct{ error }

// Unwrap returns the error itself.
func (f foreign) Unwrap() error { return f.error }

// Redacted implements Error.
func (foreign) Redacted() string {
	return "the reason, which may quote a key or value, is logged with --log-values"
}

// Of is an error in the words of a codec, a Validate or a Migrate, which may quote what they were given; nil of nil. One that says that it is an
// outage is no matter of what was given, and returned as it is.
func Of(err error) error {
	if err == nil {
		return nil
	}
	x, ok := errors.AsType[interface {
		error
		Unavailable() bool
	}](err)
	if ok && x.Unavailable() {
		return err
	}
	return foreign{err}
}

// Text is the text of an error without what is quoted. What wraps an Error stays, where it repeats its text as it is.
func Text(err error) string {
	text := err.Error()
	for _, x := range all(err, nil) {
		quoted := x.Error()
		switch {
		case quoted == "":
		case !strings.Contains(text, quoted): // nobody knows what of it is in there
			return x.Redacted()
		default:
			text = strings.ReplaceAll(text, quoted, x.Redacted())
		}
	}
	return text
}

// told is an error whose text quotes nothing.
type told struct{ error }

// Error implements error.
func (t told) Error() string { return Text(t.error) }

// Unwrap returns the error itself.
func (t told) Unwrap() error { return t.error }

// Told is an error with the text that Text gives it, for whoever may log it later. One that quotes nothing is returned as it is.
func Told(err error) error {
	if err == nil || len(all(err, nil)) == 0 {
		return err
	}
	return told{err}
}

// all are the Errors among an error and all that it wraps, the outermost of each branch, in order.
func all(err error, found []Error) []Error {
	switch x := err.(type) { //nolint:errorlint // what it wraps is looked at below
	case told:
		return found
	case Error:
		return append(found, x)
	case interface{ Unwrap() error }:
		return all(x.Unwrap(), found)
	case interface{ Unwrap() []error }:
		for _, e := range x.Unwrap() {
			found = all(e, found)
		}
	}
	return found
}

// Log is a logger that writes errors, wherever they are among its attributes, as Text does.
func Log(log *slog.Logger) *slog.Logger { return slog.New(handler{log.Handler()}) }

type handler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	quotes := false
	r.Attrs(func(a slog.Attr) bool {
		quotes = quotes || mayQuote(a.Value)
		return !quotes
	})
	if !quotes {
		return h.Handler.Handle(ctx, r)
	}
	plain := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		plain.AddAttrs(redacted(a))
		return true
	})
	return h.Handler.Handle(ctx, plain)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	plain := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		plain[i] = redacted(a)
	}
	return handler{h.Handler.WithAttrs(plain)}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }

func mayQuote(v slog.Value) bool {
	switch v.Kind() {
	case slog.KindGroup:
		return slices.ContainsFunc(v.Group(), func(a slog.Attr) bool { return mayQuote(a.Value) })
	case slog.KindAny:
		err, ok := v.Any().(error)
		return ok && len(all(err, nil)) > 0
	default:
		return false
	}
}

func redacted(a slog.Attr) slog.Attr {
	if !mayQuote(a.Value) {
		return a
	}
	if a.Value.Kind() == slog.KindGroup {
		var plain []slog.Attr
		for _, x := range a.Value.Group() {
			plain = append(plain, redacted(x))
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(plain...)}
	}
	err, _ := a.Value.Any().(error)
	return slog.Any(a.Key, Told(err))
}
