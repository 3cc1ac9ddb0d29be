package gateway

import (
	"crypto/tls"
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnknownHost(t *testing.T) {
	t.Parallel()
	err := explain("http://nod1:6066", &url.Error{Op: "Get", URL: "http://nod1:6066", Err: &net.OpError{Op: "dial", Err: &net.DNSError{Name: "nod1", IsNotFound: true}}})
	require.EqualError(t, err, "http://nod1:6066: the host name nod1 is not known: name a node's address, HOST:PORT")
}

// What is at the address speaks something else than TLS, and not HTTP either.
func TestNoTLS(t *testing.T) {
	t.Parallel()
	err := explain("https://nod1:6066", &url.Error{Op: "Get", URL: "https://nod1:6066", Err: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}})
	require.EqualError(t, err, "https://nod1:6066 speaks no TLS: write http:// before the address")
}
