package gateway

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

// Security is what a node and those who ask it have in common: all nodes and commands of a topology are given the same.
type Security struct {
	// Token, if not empty, must come with each question: as a bearer token, or as the password of basic authentication, so that
	// browsers can ask.
	Token string
	// CertFile and KeyFile are the certificate of this process, in PEM. They are read anew for each connection: a certificate may be
	// renewed while a node runs.
	CertFile, KeyFile string
	// CAFile holds, in PEM, who may sign certificates: clients trust nobody else, and a server wants a certificate of its clients (mutual
	// TLS), unless they come with the token.
	CAFile string
}

// check returns the faults of a configuration of a server.
func (c Config) check() error {
	host, port, err := net.SplitHostPort(c.addr())
	if err != nil || port == "" {
		return fmt.Errorf("--http %q: use HOST:PORT, as in %s, or off", c.Addr, DefaultAddr)
	}
	if err := c.Security.check(); err != nil {
		return err
	}
	if c.CAFile != "" && c.CertFile == "" {
		return errors.New("--http-ca: it asks others for certificates, so this node needs one itself: add --http-cert and --http-key")
	}
	if isLoopback(host) || c.Token != "" || c.CAFile != "" {
		return nil
	}
	return fmt.Errorf("--http %s: others can reach that address, and would be answered: add --http-token (better: TROUPE_HTTP_TOKEN in the environment), or --http-ca with --http-cert and --http-key for mutual TLS", c.Addr)
}

func (s Security) check() error {
	if (s.CertFile == "") != (s.KeyFile == "") {
		return errors.New("--http-cert and --http-key belong together: give both")
	}
	if strings.TrimSpace(s.Token) != s.Token {
		return errors.New("--http-token begins or ends with blanks: it would not survive the way: take them off")
	}
	return nil
}

// isLoopback says whether only this machine can reach a host.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func (s Security) certificate() (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("--http-cert %s, --http-key %s: %w", s.CertFile, s.KeyFile, err)
	}
	return &cert, nil
}

func (s Security) pool() (*x509.CertPool, error) {
	b, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--http-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("--http-ca %s: it holds no certificate in PEM", s.CAFile)
	}
	return pool, nil
}

// serverTLS is nil without TLS.
func (s Security) serverTLS() (*tls.Config, error) {
	if s.CertFile == "" {
		return nil, nil //nolint:nilnil // none is wanted
	}
	if _, err := s.certificate(); err != nil {
		return nil, err
	}
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() },
	}
	if s.CAFile != "" {
		pool, err := s.pool()
		if err != nil {
			return nil, err
		}
		// Probes come without a certificate: what they may ask for is said by the handlers.
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, pool
	}
	return c, nil
}

func (s Security) clientTLS() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		pool, err := s.pool()
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if s.CertFile != "" {
		if _, err := s.certificate(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.certificate() }
	}
	return c, nil
}

// guard lets in who may ask.
func (g *Gateway) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known := g.cfg.CAFile != "" && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 || g.cfg.Token != "" && g.hasToken(r)
		switch {
		case known:
		case g.cfg.Token != "":
			w.Header().Set("WWW-Authenticate", `Basic realm="troupe, password: the token"`)
			what := "a token is wanted"
			if r.Header.Get("Authorization") != "" {
				what = "the token is not that of this node"
			}
			http.Error(w, what+": Authorization: Bearer TOKEN, or the token as the password of basic authentication", http.StatusUnauthorized)
			return
		case g.cfg.CAFile != "":
			http.Error(w, "a certificate is wanted, signed by the authority of --http-ca", http.StatusUnauthorized)
			return
		}
		// Where nothing else is asked for, a web page elsewhere must not get at the node by a name of its own that points to loopback.
		if g.cfg.Token == "" && g.cfg.CAFile == "" && !g.isOwnHost(r.Host) {
			http.Error(w, "this node is asked under another name than its own: use "+g.url, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g *Gateway) hasToken(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, token, _ = r.BasicAuth()
	}
	return subtle.ConstantTimeCompare([]byte(token), []byte(g.cfg.Token)) == 1
}

func (g *Gateway) isOwnHost(asked string) bool {
	host := asked
	if h, _, err := net.SplitHostPort(asked); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	return isLoopback(host) || strings.HasSuffix(g.url, "://"+asked) || net.ParseIP(host) != nil
}
