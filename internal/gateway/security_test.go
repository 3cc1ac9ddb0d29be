package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/gateway"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.make(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, "ca")
	a.file = filepath.Join(a.dir, "ca.crt")
	return a
}

// make makes a certificate, and files for it.
func (a *authority) make(c *x509.Certificate, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	write := func(ext, kind string, b []byte) {
		require.NoError(a.t, os.WriteFile(filepath.Join(a.dir, name+ext), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
	}
	write(".crt", "CERTIFICATE", der)
	write(".key", "PRIVATE KEY", pkcs8)
	made, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return made, key
}

// leaf makes the certificate of a node or of a client.
func (a *authority) leaf(name string) gateway.Security {
	a.make(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, name)
	return gateway.Security{CertFile: filepath.Join(a.dir, name+".crt"), KeyFile: filepath.Join(a.dir, name+".key"), CAFile: a.file}
}

func TestToken(t *testing.T) {
	t.Parallel()
	g := listen(t, "a", func(c *gateway.Config) { c.Token = "sesame" })
	n := node("a")
	g.Set("shop", n, nil)
	_, err := client(t, gateway.Security{}).Status(t.Context(), g.URL(), gateway.Query{})
	require.ErrorContains(t, err, "a token is wanted")
	require.ErrorContains(t, err, "--http-token")
	_, err = client(t, gateway.Security{Token: "sesam"}).Resume(t.Context(), g.URL(), gateway.Query{}, nil)
	require.ErrorContains(t, err, "the token is not that of this node")
	require.Zero(t, n.asked)
	_, err = client(t, gateway.Security{Token: "sesame"}).Status(t.Context(), g.URL(), gateway.Query{})
	require.NoError(t, err)
	for _, path := range []string{"/", "/metrics", "/tree", "/status", "/debug/pprof/"} {
		code, _ := get(t, "GET", g.URL()+path)
		require.Equal(t, 401, code, path)
	}
	code, _ := get(t, "GET", g.URL()+"/readyz")
	require.Equal(t, 200, code)
	code, _ = get(t, "GET", strings.Replace(g.URL(), "://", "://any:sesame@", 1)+"/")
	require.Equal(t, 200, code, "as a browser says it")
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	a := listen(t, "a", func(c *gateway.Config) { c.Security = ca.leaf("a") })
	b := listen(t, "b", func(c *gateway.Config) { c.Security = ca.leaf("b") })
	all := members(gateway.Member{Instance: "a", ClientID: "x@" + a.URL()}, gateway.Member{Instance: "b", ClientID: "x@" + b.URL()})
	a.Set("shop", node("a"), all)
	b.Set("shop", node("b"), all)
	require.True(t, strings.HasPrefix(a.URL(), "https://"))
	got, err := client(t, ca.leaf("me")).Status(t.Context(), a.URL(), gateway.Query{})
	require.NoError(t, err)
	require.Len(t, got.Nodes, 2, "nodes show each other their certificates")
	require.Empty(t, got.Unreachable)

	_, err = client(t, gateway.Security{CAFile: ca.file}).Status(t.Context(), a.URL(), gateway.Query{})
	require.ErrorContains(t, err, "a certificate is wanted")
	_, err = client(t, gateway.Security{}).Status(t.Context(), a.URL(), gateway.Query{})
	require.ErrorContains(t, err, "unknown authority")
	require.ErrorContains(t, err, "name who signed it with --http-ca")
	_, err = client(t, gateway.Security{}).Status(t.Context(), strings.Replace(a.URL(), "https", "http", 1), gateway.Query{})
	require.ErrorContains(t, err, "write https://")
	stranger := newAuthority(t).leaf("me")
	stranger.CAFile = ca.file
	_, err = client(t, stranger).Status(t.Context(), a.URL(), gateway.Query{})
	require.Error(t, err)

	plain := listen(t, "c", nil)
	_, err = client(t, ca.leaf("me")).Status(t.Context(), strings.Replace(plain.URL(), "http", "https", 1), gateway.Query{})
	require.ErrorContains(t, err, "write http://")

	// A probe has no certificate.
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL()+"/readyz", nil)
	require.NoError(t, err)
	res, err := (&http.Client{Transport: tr}).Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 200, res.StatusCode)
}

// A certificate that is renewed while the node runs is used.
func TestRenewedCertificate(t *testing.T) {
	t.Parallel()
	old, renewed := newAuthority(t), newAuthority(t)
	s := old.leaf("a")
	g := listen(t, "a", func(c *gateway.Config) { c.CertFile, c.KeyFile, c.Token = s.CertFile, s.KeyFile, "x" })
	g.Set("shop", node("a"), nil)
	ask := func(ca string) error {
		_, err := client(t, gateway.Security{CAFile: ca, Token: "x"}).Status(t.Context(), g.URL(), gateway.Query{})
		return err
	}
	require.NoError(t, ask(old.file))
	next := renewed.leaf("a")
	for from, to := range map[string]string{next.CertFile: s.CertFile, next.KeyFile: s.KeyFile} {
		require.NoError(t, os.Rename(from, to))
	}
	require.NoError(t, ask(renewed.file))
	require.Error(t, ask(old.file))
}

// What would let others in, or cannot work, is refused before anything is served.
func TestSecurityFaults(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	mine := ca.leaf("a")
	for name, c := range map[string]struct {
		cfg  gateway.Config
		want string
	}{
		"open to others":  {gateway.Config{Addr: "0.0.0.0:0"}, "others can reach that address"},
		"all addresses":   {gateway.Config{Addr: ":0"}, "others can reach that address"},
		"TLS alone":       {gateway.Config{Addr: "0.0.0.0:0", Security: gateway.Security{CertFile: mine.CertFile, KeyFile: mine.KeyFile}}, "others can reach that address"},
		"no port":         {gateway.Config{Addr: "127.0.0.1"}, "HOST:PORT"},
		"half a pair":     {gateway.Config{Security: gateway.Security{CertFile: mine.CertFile}}, "give both"},
		"authority alone": {gateway.Config{Security: gateway.Security{CAFile: ca.file}}, "add --http-cert"},
		"no such file":    {gateway.Config{Addr: "127.0.0.1:0", Security: gateway.Security{CertFile: "nowhere", KeyFile: "nowhere"}}, "nowhere"},
		"not PEM":         {gateway.Config{Addr: "127.0.0.1:0", Security: gateway.Security{CertFile: mine.CertFile, KeyFile: mine.KeyFile, CAFile: mine.KeyFile}}, "no certificate in PEM"},
		"blanks":          {gateway.Config{Security: gateway.Security{Token: "x\n"}}, "blanks"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.cfg.Logger = slog.New(slog.DiscardHandler)
			_, err := gateway.Listen(c.cfg)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// With an authority and a token, either will do: so a token can go over TLS that a private authority has signed. It does not go in the clear.
func TestTokenOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	g := listen(t, "a", func(c *gateway.Config) { c.Security = ca.leaf("a"); c.Token = "sesame" })
	g.Set("shop", node("a"), nil)
	for _, s := range []gateway.Security{{CAFile: ca.file, Token: "sesame"}, ca.leaf("me")} {
		_, err := client(t, s).Status(t.Context(), g.URL(), gateway.Query{})
		require.NoError(t, err)
	}
	_, err := client(t, gateway.Security{CAFile: ca.file}).Status(t.Context(), g.URL(), gateway.Query{})
	require.ErrorContains(t, err, "a token is wanted")

	// Who pretends to be a member learns nothing.
	got := make(chan string, 1)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Authorization") }))
	defer thief.Close()
	g.Set("shop", node("a"), members(gateway.Member{Instance: "b", ClientID: "x@" + thief.URL}))
	answer, err := client(t, gateway.Security{CAFile: ca.file, Token: "sesame"}).Status(t.Context(), g.URL(), gateway.Query{})
	require.NoError(t, err)
	require.Contains(t, answer.Unreachable[0].Why, "the token is not sent in the clear")
	require.Empty(t, got)
}
