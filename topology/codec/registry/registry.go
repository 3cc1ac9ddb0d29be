package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

// Config says where a registry is, and what may be done there.
type Config struct {
	// URLs of the registry, such as https://registry:8081; where one cannot be reached the next is tried. It must not be empty.
	URLs []string
	// Username and Password for basic authentication. Defaults to none.
	Username, Password string
	// TLS for https URLs. Defaults to the system's certificate authorities.
	TLS *tls.Config
	// Register registers schemas that are not there yet, if they are compatible. Defaults to false: they are looked up, and what is
	// sent waits until somebody has registered them.
	Register bool
	// Timeout of one request. Defaults to 10 s.
	Timeout time.Duration
	// Pause is how long a failure is remembered before the registry is asked again. Defaults to 5 s.
	Pause time.Duration
}

const (
	defaultTimeout = 10 * time.Second
	defaultPause   = 5 * time.Second
)

// Validate returns every fault of the settings.
func (c Config) Validate() error {
	var faults []error
	if len(c.URLs) == 0 {
		faults = append(faults, errors.New("schema registry: there is no URL: set URLs, such as https://registry:8081"))
	}
	for i, u := range c.URLs {
		x, err := url.Parse(u)
		switch {
		case err != nil: // the error would quote it, with what may be a password
			faults = append(faults, fmt.Errorf("schema registry: URL %d cannot be read: use one such as https://registry:8081", i+1))
		case x.User != nil:
			faults = append(faults, fmt.Errorf("schema registry: the URL of host %s holds a user: set Username and Password instead, which are in no error", x.Host))
		case x.Scheme != "http" && x.Scheme != "https" || x.Host == "":
			faults = append(faults, fmt.Errorf("schema registry: URL %q: use one such as https://registry:8081", u))
		}
	}
	if c.Username == "" && c.Password != "" {
		faults = append(faults, errors.New("schema registry: there is a Password without a Username: set both"))
	}
	if c.Timeout < 0 || c.Pause < 0 {
		faults = append(faults, fmt.Errorf("schema registry: Timeout is %v and Pause %v: use positive durations", c.Timeout, c.Pause))
	}
	return errors.Join(faults...)
}

// Registry is a client of a schema registry, and what it has learned there. Any goroutine may use it; it has none of its own.
type Registry struct {
	cfg    Config
	client *sr.Client
	now    func() time.Time

	mu      sync.Mutex
	entries []*entry
	writers map[int]*writer
}

// New makes a client. It does not connect: see Resolve. The error says what is wrong with the settings.
func New(cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Pause == 0 {
		cfg.Pause = defaultPause
	}
	// Requests are few: a connection that is kept would only have to be closed by somebody.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSHandshakeTimeout: cfg.Timeout}
	if cfg.TLS != nil {
		transport.TLSClientConfig = cfg.TLS.Clone()
	}
	opts := []sr.ClientOpt{sr.URLs(cfg.URLs...), sr.UserAgent("troupe"), sr.HTTPClient(&http.Client{Timeout: cfg.Timeout, Transport: transport})}
	if cfg.Username != "" {
		opts = append(opts, sr.BasicAuth(cfg.Username, cfg.Password))
	}
	client, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return &Registry{cfg: cfg, client: client, now: time.Now, writers: map[int]*writer{}}, nil
}

// Value names the subject of a topic's values: the strategy TopicNameStrategy, which is the default everywhere.
func Value(topic string) string { return topic + "-value" }

// Key names the subject of a topic's keys.
func Key(topic string) string { return topic + "-key" }

// Resolve asks for the ids of the schemas of all codecs made so far, and registers them where that is configured: so a schema that is
// not compatible, or a registry that refuses its user, is known before a node starts. The error joins what is wrong. It may be called
// again, and need not be called at all: each codec asks when it is first used.
func (r *Registry) Resolve(ctx context.Context) error {
	r.mu.Lock()
	entries := append([]*entry{}, r.entries...)
	r.mu.Unlock()
	var errs []error
	for _, e := range entries {
		if _, err := e.resolve(ctx, true); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// entry is one schema under one subject.
type entry struct {
	r       *Registry
	subject string
	schema  sr.Schema
	known   atomic.Int64 // the id, and 1 more; 0: not yet

	mu     sync.Mutex // one goroutine asks, the others wait for what it hears
	failed failure
}

// failure is what is remembered of a request that failed, so that a record at a time does not ask again.
type failure struct {
	err   error
	until time.Time
}

// entry returns that of a schema; codecs of the same one share it.
func (r *Registry) entry(subject string, schema sr.Schema) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.subject == subject && e.schema.Schema == schema.Schema && e.schema.Type == schema.Type {
			return e
		}
	}
	e := &entry{r: r, subject: subject, schema: schema}
	r.entries = append(r.entries, e)
	return e
}

// id returns the schema's id, and asks the registry if it is not known yet.
func (e *entry) id() (int, error) {
	if id := e.known.Load(); id > 0 {
		return int(id - 1), nil
	}
	return e.resolve(context.Background(), false)
}

func (e *entry) resolve(ctx context.Context, again bool) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id := e.known.Load(); id > 0 {
		return int(id - 1), nil
	}
	if !again && e.failed.err != nil && e.r.now().Before(e.failed.until) {
		return 0, e.failed.err
	}
	id, err := e.ask(ctx)
	if err != nil {
		e.failed = failure{err, e.r.now().Add(e.r.cfg.Pause)}
		return 0, err
	}
	e.known.Store(int64(id) + 1)
	return id, nil
}

func (e *entry) ask(ctx context.Context) (int, error) {
	if e.r.cfg.Register {
		id, err := e.r.client.RegisterSchema(ctx, e.subject, e.schema, -1, -1)
		if isConflict(err) {
			return 0, e.incompatible(ctx, err)
		}
		return id, wrap(err, "register the schema of subject "+e.subject)
	}
	s, err := e.r.client.LookupSchema(ctx, e.subject, e.schema)
	if isNotFound(err) { // what is sent waits for whoever registers it
		return 0, &UnavailableError{"look up the schema of subject " + e.subject, fmt.Errorf(
			"the schema of this program is not registered there: register it, or set Register: %w", err)}
	}
	return s.ID, wrap(err, "look up the schema of subject "+e.subject)
}

// incompatible gathers what the registry says of a schema that it has refused.
func (e *entry) incompatible(ctx context.Context, refusal error) error {
	x := &IncompatibleError{Subject: e.subject, Err: refusal}
	// The answer to a registration is short; the other one has a line for each difference. Without it the first has to do.
	if c, err := e.r.client.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), e.subject, -1, e.schema); err == nil && !c.Is {
		x.Differences = c.Messages
	}
	return x
}

// writer is a schema that records were written with, by its id.
type writer struct {
	mu     sync.Mutex
	schema string
	failed failure
}

// maxWriters is how many ids are kept: those of garbage are without number, and each of them would be kept for ever.
const maxWriters = 10_000

// writer returns the text of the schema with an id.
func (r *Registry) writer(id int) (string, error) {
	r.mu.Lock()
	w := r.writers[id]
	if w == nil {
		if len(r.writers) >= maxWriters {
			clear(r.writers)
		}
		w = &writer{}
		r.writers[id] = w
	}
	r.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.schema != "" {
		return w.schema, nil
	}
	if w.failed.err != nil && r.now().Before(w.failed.until) {
		return "", w.failed.err
	}
	s, err := r.client.SchemaByID(context.Background(), id)
	switch {
	case err != nil:
		err = wrap(err, fmt.Sprintf("get schema %d", id))
	case s.Type != sr.TypeAvro:
		err = fmt.Errorf("schema registry: schema %d is of type %v, not Avro: was it written with another codec?", id, s.Type)
	case len(s.References) > 0:
		err = fmt.Errorf("schema registry: schema %d has references to others, which are not supported: register it as one", id)
	}
	if err != nil {
		w.failed = failure{err, r.now().Add(r.cfg.Pause)}
		return "", err
	}
	w.schema = s.Schema
	return w.schema, nil
}
