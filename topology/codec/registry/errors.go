package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
)

// UnavailableError says that the registry cannot be asked now: it is not to be reached, it refuses the user, it has a fault of its own, or
// a schema is not registered yet. What needed it is tried again, as topology.Unavailable has it.
type UnavailableError struct {
	Op  string // what it was asked
	Err error
}

func (e *UnavailableError) Error() string { return fmt.Sprintf("schema registry: %s: %v", e.Op, e.Err) }

// Unwrap returns what went wrong.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Unavailable implements what the engine asks errors for.
func (e *UnavailableError) Unavailable() bool { return true }

// IncompatibleError says that the registry refuses a schema, because it is not compatible with those that its subject has.
type IncompatibleError struct {
	Subject     string
	Differences []string // one for each, in the registry's words; empty where it tells no more than Err does
	Err         error    // the registry's refusal
}

func (e *IncompatibleError) Error() string {
	why := fmt.Sprint(e.Err)
	if len(e.Differences) > 0 {
		why = strings.Join(e.Differences, "; ")
	}
	return fmt.Sprintf("schema registry: the schema of subject %s is not compatible with the one registered there: %s; give new fields a default, "+
		"or change the subject's compatibility", e.Subject, why)
}

// Unwrap returns the registry's refusal.
func (e *IncompatibleError) Unwrap() error { return e.Err }

// Permanent implements what the engine asks errors for.
func (e *IncompatibleError) Permanent() bool { return true }

func isConflict(err error) bool {
	x, ok := errors.AsType[*sr.ResponseError](err)
	return ok && x.StatusCode == http.StatusConflict
}

// isNotFound says whether the registry knows no such subject, version or schema: not any 404, which may be a proxy's.
func isNotFound(err error) bool {
	x, ok := errors.AsType[*sr.ResponseError](err)
	return ok && x.StatusCode == http.StatusNotFound && x.ErrorCode > 0
}

// wrap says what was asked for, and tells what will pass from what will not.
func wrap(err error, op string) error {
	if err == nil {
		return nil
	}
	if x, ok := errors.AsType[*sr.ResponseError](err); ok && (isNotFound(err) || x.StatusCode == http.StatusUnprocessableEntity || x.StatusCode == http.StatusBadRequest) {
		return fmt.Errorf("schema registry: %s: %w", op, err)
	}
	return &UnavailableError{op, err}
}
