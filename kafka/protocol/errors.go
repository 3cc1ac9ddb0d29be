package protocol

import (
	"errors"
	"slices"
)

// Kind is what an error of a client means to the protocol.
type Kind uint8

const (
	// Other says nothing about what was done.
	Other Kind = iota
	// Sick says that the broker refused something in the bundles themselves, and would again.
	Sick
	// Fenced says that another producer has taken this one's transactional id.
	Fenced
	// NotMember says that the group does not know us as the member as which we asked.
	NotMember
	// Inconsistent says that records failed on the client's side: a commit was never sent.
	Inconsistent
)

// Error is an error of a client, with what it means to the protocol.
type Error struct {
	Kind Kind
	Err  error
}

// WithKind says what an error means; nil stays nil.
func WithKind(err error, kind Kind) error {
	if err == nil {
		return nil
	}
	return &Error{kind, err}
}

// Error returns the text of the client's error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the client's error.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the first kind that err, or an error in it, was given with WithKind; Other if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Other
}

// isSick says whether anything in err is of the kind Sick: a commit that is Inconsistent may tell which record was refused.
func isSick(err error) bool {
	switch e := err.(type) { //nolint:errorlint // the whole tree is walked here
	case nil:
		return false
	case *Error:
		return e.Kind == Sick || isSick(e.Err)
	case interface{ Unwrap() error }:
		return isSick(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), isSick)
	}
	return false
}
