package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/troupe-stream/troupe/internal/status"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// Client asks gateways. Its methods may be called from any goroutine.
type Client struct {
	http  *http.Client
	token string
	https bool // the token goes over TLS only
}

// NewClient makes a client.
func NewClient(s Security) (*Client, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	config, err := s.clientTLS()
	if err != nil {
		return nil, err
	}
	return &Client{token: s.Token, https: s.CertFile != "" || s.CAFile != "", http: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 2, IdleConnTimeout: membersTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Query says what is asked for.
type Query struct {
	Topology string // empty: all
	Instance string // of the node that is meant; empty: of whichever answers
	Local    bool   // of the node that is asked alone
}

func (q Query) values() url.Values {
	v := url.Values{}
	if q.Topology != "" {
		v.Set("topology", q.Topology)
	}
	if q.Instance != "" {
		v.Set("instance", q.Instance)
	}
	if q.Local {
		v.Set("local", "1")
	}
	return v
}

// Status asks for the state of nodes.
func (c *Client) Status(ctx context.Context, at string, q Query) (status.Answer, error) {
	return ask[status.Answer](ctx, c, http.MethodGet, at, "/status", q.values())
}

// Trees asks for the trees of nodes.
func (c *Client) Trees(ctx context.Context, at string, q Query) (status.Trees, error) {
	return ask[status.Trees](ctx, c, http.MethodGet, at, "/tree", q.values())
}

// Resume lets stopped partitions go on; nil: all.
func (c *Client) Resume(ctx context.Context, at string, q Query, wanted []status.Wanted) (status.Resumes, error) {
	v := q.values()
	for _, w := range wanted {
		v.Add("partition", w.String())
	}
	if wanted == nil {
		v.Set("all", "1")
	}
	return ask[status.Resumes](ctx, c, http.MethodPost, at, "/resume", v)
}

// Digest asks the node that has a shard for its digest.
func (c *Client) Digest(ctx context.Context, at string, q Query, table string, partition int32) (status.Digest, error) {
	v := q.values()
	v.Set("table", table)
	v.Set("partition", status.Number(partition))
	return ask[status.Digest](ctx, c, http.MethodGet, at, "/digest", v)
}

// ask asks a question; the errors name the address and what to do.
func ask[A any](ctx context.Context, c *Client, method, at, path string, values url.Values) (A, error) {
	var answer A
	at = BaseURL(at)
	req, err := http.NewRequestWithContext(ctx, method, at+path+"?"+values.Encode(), nil)
	if err != nil {
		return answer, fmt.Errorf("address %q: use HOST:PORT or a URL", at)
	}
	if c.token != "" && c.https && req.URL.Scheme != "https" {
		return answer, fmt.Errorf("%s has no TLS: the token is not sent in the clear by who has --http-cert or --http-ca", at)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer, explain(at, err)
	}
	defer res.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer, explain(at, err)
	}
	if res.StatusCode != http.StatusOK {
		return answer, refused(at, res, string(body))
	}
	if err := json.Unmarshal(body, &answer); err != nil || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		return answer, fmt.Errorf("%s answers, but it is no node of troupe: name a node's address", at)
	}
	return answer, nil
}

// BaseURL makes a URL of an address.
func BaseURL(at string) string {
	if !strings.Contains(at, "://") {
		at = "http://" + at
	}
	return strings.TrimRight(at, "/")
}

// refused is the error for an answer that is none.
func refused(at string, res *http.Response, body string) error {
	said, _, _ := strings.Cut(strings.TrimSpace(body), "\n")
	if res.Header.Get(ownHeader) == "" && !strings.Contains(said, "HTTP request to an HTTPS server") {
		return fmt.Errorf("%s answers (HTTP status %d), but it is no node of troupe: name a node's address", at, res.StatusCode)
	}
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: %s: give what the node was given, --http-token or --http-ca with --http-cert and --http-key", at, said)
	case http.StatusBadRequest:
		if strings.Contains(said, "HTTP request to an HTTPS server") {
			return fmt.Errorf("%s speaks TLS: write https:// before the address", at)
		}
	}
	return fmt.Errorf("%s: %s (HTTP status %d)", at, said, res.StatusCode)
}

// explain is the error for no answer.
func explain(at string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s: the node does not run, or has another address", at)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s has not answered in time", at)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%s: %w: name who signed it with --http-ca", at, err)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("%s: the host name %s is not known: name a node's address, HOST:PORT", at, dns.Name)
	case errors.As(err, new(tls.RecordHeaderError)), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s speaks no TLS: write http:// before the address", at)
	}
	return fmt.Errorf("%s: %w", at, err)
}
