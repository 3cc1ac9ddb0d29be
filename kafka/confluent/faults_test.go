package confluent

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TestExplain: what clients and brokers have said, from a real Kafka, and what is made of it. integration: TestSecuredKafka has the
// same with the real ones.
func TestExplain(t *testing.T) {
	t.Parallel()
	const at = "kafka:9093"
	plainKafka, tlsKafka := door{kafka: true}, door{kafka: true, tls: true}
	scram := []string{"SCRAM-SHA-512"}
	set := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	ssl, sasl := set("security.protocol", "SSL"), set("security.protocol", "sasl_plaintext", "sasl.mechanism", "PLAIN", "sasl.username", "me", "sasl.password", "secret")
	dial := func(err error) error {
		return fmt.Errorf("unable to dial: %w", &net.OpError{Op: "dial", Net: "tcp", Err: err})
	}
	verify := func(err error) error {
		return dial(&tls.CertificateVerificationError{Err: err})
	}
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}
	eof := errors.New("it closes the connection")
	for name, x := range map[string]struct {
		settings map[string]string
		cause    error
		found    door
		says     string
		lasting  bool
	}{
		"refused":     {nil, dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), door{}, "nothing listens at kafka:9093: check --brokers, host and port, and that the broker runs", false},
		"no host":     {nil, dial(&net.DNSError{Err: "no such host", Name: "kafka"}), door{}, "no broker at kafka:9093: the host name kafka is not known: check --brokers", false},
		"unreachable": {nil, dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), door{}, "kafka:9093 cannot be reached: check --brokers, and what is between: network, firewall", false},
		"time out":    {nil, dial(os.ErrDeadlineExceeded), door{}, "kafka:9093 cannot be reached: check --brokers, and what is between: network, firewall", false},
		"authority": {
			ssl, verify(x509.UnknownAuthorityError{Cert: &x509.Certificate{Issuer: pkix.Name{CommonName: "us"}}}), tlsKafka,
			"the certificate of kafka:9093 is signed by an unknown authority (CN=us): name a file with the certificate of its authority, in PEM format: --kafka ssl.ca.location=FILE", true,
		},
		"authority, with another": {
			set("security.protocol", "ssl", "ssl.ca.location", "ca.pem"), verify(x509.UnknownAuthorityError{}), tlsKafka,
			"the certificate of kafka:9093 is signed by an unknown authority: it is not in ssl.ca.location=ca.pem: add the authority's certificate there", true,
		},
		"host": {
			ssl, verify(x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a", "b"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}, Host: "kafka"}), tlsKafka,
			"the certificate of kafka:9093 is for another host, a, b, 10.0.0.1: use in --brokers, and in the brokers' advertised.listeners, a name that it is for, or give the broker a certificate for this one", true,
		},
		"expired": {
			ssl, verify(x509.CertificateInvalidError{Reason: x509.Expired}), tlsKafka,
			"the certificate of kafka:9093 has expired, or is not valid yet: renew it, and check this machine's clock", true,
		},
		"not for servers": {ssl, verify(x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}), tlsKafka, "the certificate of kafka:9093 is not valid: give the broker another", true},
		"client certificate": {
			ssl, alert,
			door{tls: true, clientCert: true},
			"kafka:9093 wants a certificate of the client's: --kafka ssl.certificate.location=FILE --kafka ssl.key.location=FILE", true,
		},
		"client certificate refused": {
			set("security.protocol", "ssl", "ssl.certificate.location", "me.pem"), alert,
			door{tls: true, clientCert: true},
			"kafka:9093 refuses the client's certificate: ssl.certificate.location must hold one that is signed by an authority that the broker trusts, and ssl.key.location its key", true,
		},
		"password": {
			sasl, fmt.Errorf("%w: invalid credentials", kerr.SaslAuthenticationFailed),
			door{kafka: true, mechanisms: scram},
			`kafka:9093 refuses the SASL login of user "me" by PLAIN: check sasl.username and sasl.password, and that the user exists for this mechanism`, true,
		},
		"mechanism":         {sasl, kerr.UnsupportedSaslMechanism, door{kafka: true, mechanisms: []string{"A", "B"}}, "kafka:9093 takes no SASL login by PLAIN: --kafka sasl.mechanism=A or B", true},
		"mechanism, untold": {sasl, kerr.UnsupportedSaslMechanism, door{}, "kafka:9093 takes no SASL login by PLAIN: check sasl.mechanism", true},
		"no logins": {
			sasl, kerr.IllegalSaslState, plainKafka,
			"kafka:9093 takes no SASL login, and security.protocol=sasl_plaintext asks for one: --kafka security.protocol=plaintext, or the port where logins are taken", true,
		},
		"other": {nil, eof, door{banner: "SSH-2.0"}, `what listens at kafka:9093 is not Kafka, it says "SSH-2.0": check the port in --brokers`, true},
		"TLS": {
			nil, eof, tlsKafka,
			"kafka:9093 wants TLS, and security.protocol is plaintext: --kafka security.protocol=ssl, and ssl.ca.location=FILE if its authority is not one that the system knows", true,
		},
		"TLS, perhaps with logins": {
			set("ssl.ca.location", "ca.pem"), eof,
			door{tls: true},
			"kafka:9093 wants TLS, and security.protocol is plaintext: --kafka security.protocol=ssl (or sasl_ssl)", true,
		},
		"no TLS": {ssl, eof, plainKafka, "kafka:9093 does not speak TLS, and security.protocol=ssl asks for it: --kafka security.protocol=plaintext, or the port where TLS is spoken", true},
		"no TLS, logins": {
			ssl, eof,
			door{kafka: true, mechanisms: scram},
			"kafka:9093 does not speak TLS, and security.protocol=ssl asks for it: --kafka security.protocol=sasl_plaintext, with sasl.mechanism=SCRAM-SHA-512, sasl.username and sasl.password, or the port where TLS is spoken", true,
		},
		"login": {
			nil, eof,
			door{kafka: true, mechanisms: scram},
			"kafka:9093 wants a SASL login, and security.protocol is plaintext: --kafka security.protocol=sasl_plaintext, with sasl.mechanism=SCRAM-SHA-512, sasl.username and sasl.password", true,
		},
		"silent":            {nil, eof, door{}, "what listens at kafka:9093 takes the connection and does not answer as Kafka does: check the port in --brokers, and that the broker is well", false},
		"well by the looks": {nil, eof, plainKafka, "the broker at kafka:9093 does not answer: check --brokers", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := explain(at, securityOf(x.settings), x.cause, x.found)
			require.Equal(t, x.says, f.text)
			require.Equal(t, x.lasting, f.lasting)
			require.ErrorIs(t, f, x.cause)
			require.Equal(t, fmt.Sprintf("%s (%v)", x.says, x.cause), f.Error())
		})
	}
}

// TestSurvey looks at doors that are no Kafka's. Those of a Kafka are in integration: TestSecuredKafka.
func TestSurvey(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		answer string
		want   door
	}{
		"web":      {"HTTP/1.1 400 Bad Request\r\n\r\n", door{banner: "HTTP/1.1 400 Bad Request"}},
		"short":    {"-ERR\r\n", door{banner: "-ERR"}},
		"nothing":  {"", door{}},
		"not text": {"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09", door{}},
		"alert":    {"\x15\x03\x03\x00\x02\x02\x50", door{tls: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Read(make([]byte, 1024))
					_, _ = io.WriteString(c, x.answer)
					_ = c.Close()
				}
			}()
			require.Equal(t, x.want, survey(t.Context(), l.Addr().String()))
			require.NoError(t, l.Close())
			<-served
		})
	}
}
