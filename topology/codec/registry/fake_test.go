package registry_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fake is a schema registry that keeps what it is given, and refuses what it is told to.
type fake struct {
	*httptest.Server
	mu       sync.Mutex
	schemas  []stored // by id, less one
	requests []string
	refuse   func(subject, schema string) []string // differences; nil: compatible
	down     int                                   // status of all answers; 0: it works
	user     string                                // and password, joined by a colon; empty: none are asked for
}

type stored struct {
	Subject    string `json:"subject"`
	ID         int    `json:"id"`
	Version    int    `json:"version"`
	Schema     string `json:"schema"`
	SchemaType string `json:"schemaType,omitempty"`
	References []any  `json:"references,omitempty"`
}

func newFake(t *testing.T, start func(http.Handler) *httptest.Server) *fake {
	t.Helper()
	f := &fake{}
	f.Server = start(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// asked returns the requests since the last call.
func (f *fake) asked() (all []string) {
	f.set(func() { all, f.requests = f.requests, nil })
	return all
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	user, password, _ := r.BasicAuth()
	var in stored
	_ = json.NewDecoder(r.Body).Decode(&in) // a GET has none
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case f.user != "" && user+":"+password != f.user:
		fail(w, http.StatusUnauthorized, 401, "Unauthorized")
	case f.down != 0:
		http.Error(w, "<html>out of order</html>", f.down)
	case len(parts) == 3 && parts[0] == "schemas":
		id, _ := strconv.Atoi(parts[2])
		if id < 1 || id > len(f.schemas) {
			fail(w, http.StatusNotFound, 40403, "Schema "+parts[2]+" not found")
			return
		}
		answer(w, f.schemas[id-1])
	case len(parts) == 3 && parts[0] == "subjects" && parts[2] == "versions":
		if f.refuse != nil && f.refuse(parts[1], in.Schema) != nil {
			fail(w, http.StatusConflict, 409, "Schema being registered is incompatible with an earlier schema")
			return
		}
		if s := f.find(parts[1], in.Schema); s != nil {
			answer(w, *s)
			return
		}
		in.Subject, in.ID, in.Version = parts[1], len(f.schemas)+1, 1
		f.schemas = append(f.schemas, in)
		answer(w, in)
	case len(parts) == 2 && parts[0] == "subjects":
		s := f.find(parts[1], in.Schema)
		if s == nil {
			fail(w, http.StatusNotFound, 40403, "Schema not found")
			return
		}
		answer(w, *s)
	case len(parts) == 5 && parts[0] == "compatibility":
		differences := f.refuse(parts[2], in.Schema)
		if r.URL.Query().Get("verbose") != "true" {
			differences = nil
		}
		answer(w, map[string]any{"is_compatible": false, "messages": differences})
	default:
		http.NotFound(w, r)
	}
}

func (f *fake) find(subject, schema string) *stored {
	for i := range f.schemas {
		if s := &f.schemas[i]; s.Subject == subject && s.Schema == schema {
			return s
		}
	}
	return nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	_ = json.NewEncoder(w).Encode(v) // the test sees that it is gone
}

func fail(w http.ResponseWriter, status, code int, message string) {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	w.WriteHeader(status)
	answer(w, map[string]any{"error_code": code, "message": message})
}
