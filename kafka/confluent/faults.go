package confluent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"
)

// fault is why a broker cannot be used, told apart as far as that is possible from outside.
type fault struct {
	text    string // what is wrong at which address, and the mend
	lasting bool   // to wait does not mend it
	err     error  // what the client said
}

func (f *fault) Error() string { return fmt.Sprintf("%s (%v)", f.text, f.err) }

func (f *fault) Unwrap() error { return f.err }

// security is what the settings ask for.
type security struct {
	protocol        string // of security.protocol, in small letters
	tls, login      bool
	mechanism, user string
	ca              string // the setting that names the authorities; empty: those of the system
	certificate     bool   // the client shows one
}

func securityOf(user map[string]string) security {
	s := security{protocol: strings.ToLower(user["security.protocol"]), user: user["sasl.username"], mechanism: user["sasl.mechanisms"]}
	if s.protocol == "" {
		s.protocol = "plaintext"
	}
	s.tls, s.login = strings.HasSuffix(s.protocol, "ssl"), strings.HasPrefix(s.protocol, "sasl")
	if m := user["sasl.mechanism"]; m != "" {
		s.mechanism = m
	}
	switch where := user["ssl.ca.location"]; {
	case user["ssl.ca.pem"] != "":
		s.ca = "ssl.ca.pem"
	case where != "" && where != "probe":
		s.ca = "ssl.ca.location=" + where
	}
	s.certificate = user["ssl.certificate.location"] != "" || user["ssl.certificate.pem"] != ""
	return s
}

// explain tells what is wrong with the broker at an address: by what the client said of it, and by what listens there.
func explain(at string, s security, cause error, found door) *fault {
	for _, look := range []func(string, security, error, door) *fault{explainDial, explainCertificate, explainLogin, explainDoor} {
		if f := look(at, s, cause, found); f != nil {
			f.err = cause
			return f
		}
	}
	return &fault{text: "the broker at " + at + " does not answer: check --brokers", err: cause}
}

// explainDial knows the faults on the way to the broker.
func explainDial(at string, _ security, cause error, _ door) *fault {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(cause, &dns):
		return &fault{text: fmt.Sprintf("no broker at %s: the host name %s is not known: check --brokers", at, dns.Name)}
	case errors.Is(cause, syscall.ECONNREFUSED):
		return &fault{text: fmt.Sprintf("nothing listens at %s: check --brokers, host and port, and that the broker runs", at)}
	case errors.Is(cause, syscall.EHOSTUNREACH), errors.Is(cause, syscall.ENETUNREACH), errors.As(cause, &op) && op.Op == "dial" && op.Timeout():
		return &fault{text: fmt.Sprintf("%s cannot be reached: check --brokers, and what is between: network, firewall", at)}
	}
	return nil
}

// explainCertificate knows why a certificate is not believed, the broker's or the client's.
func explainCertificate(at string, s security, cause error, found door) *fault {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(cause, &authority):
		mend := "name a file with the certificate of its authority, in PEM format: --kafka ssl.ca.location=FILE"
		if s.ca != "" {
			mend = "it is not in " + s.ca + ": add the authority's certificate there"
		}
		return &fault{text: fmt.Sprintf("the certificate of %s is signed by an unknown authority%s: %s", at, issuer(authority.Cert), mend), lasting: true}
	case errors.As(cause, &host):
		return &fault{text: fmt.Sprintf("the certificate of %s is for another host, %s: use in --brokers, and in the brokers' advertised.listeners, a name that it is for, or give the broker a certificate for this one",
			at, hosts(host.Certificate)), lasting: true}
	case errors.As(cause, &invalid) && invalid.Reason == x509.Expired:
		return &fault{text: fmt.Sprintf("the certificate of %s has expired, or is not valid yet: renew it, and check this machine's clock", at), lasting: true}
	case errors.As(cause, new(*tls.CertificateVerificationError)):
		return &fault{text: fmt.Sprintf("the certificate of %s is not valid: give the broker another", at), lasting: true}
	case s.tls && (isAlert(cause) || found.clientCert) && found.tls && s.certificate:
		return &fault{text: fmt.Sprintf("%s refuses the client's certificate: ssl.certificate.location must hold one that is signed by an authority that the broker trusts, and ssl.key.location its key", at), lasting: true}
	case s.tls && found.clientCert:
		return &fault{text: fmt.Sprintf("%s wants a certificate of the client's: --kafka ssl.certificate.location=FILE --kafka ssl.key.location=FILE", at), lasting: true}
	}
	return nil
}

// issuer names who has signed a certificate.
func issuer(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf(" (%s)", c.Issuer)
}

// hosts names whom a certificate is for.
func hosts(c *x509.Certificate) string {
	if c == nil {
		return "unnamed"
	}
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return c.Subject.String()
	}
	return strings.Join(names, ", ")
}

// explainLogin knows why a login is refused.
func explainLogin(at string, s security, cause error, found door) *fault {
	switch {
	case errors.Is(cause, kerr.SaslAuthenticationFailed):
		return &fault{text: fmt.Sprintf("%s refuses the SASL login of user %q by %s: check sasl.username and sasl.password, and that the user exists for this mechanism", at, s.user, s.mechanism), lasting: true}
	case errors.Is(cause, kerr.UnsupportedSaslMechanism):
		mend := "check sasl.mechanism"
		if len(found.mechanisms) > 0 {
			mend = "--kafka sasl.mechanism=" + strings.Join(found.mechanisms, " or ")
		}
		return &fault{text: fmt.Sprintf("%s takes no SASL login by %s: %s", at, s.mechanism, mend), lasting: true}
	case errors.Is(cause, kerr.IllegalSaslState):
		return &fault{text: fmt.Sprintf("%s takes no SASL login, and security.protocol=%s asks for one: --kafka security.protocol=%s, or the port where logins are taken", at, s.protocol, protocolFor(s.tls, false)), lasting: true}
	}
	return nil
}

// explainDoor compares what the settings ask for with what listens.
func explainDoor(at string, s security, _ error, found door) *fault {
	switch {
	case found.banner != "":
		return &fault{text: fmt.Sprintf("what listens at %s is not Kafka, it says %q: check the port in --brokers", at, found.banner), lasting: true}
	case found.tls && !s.tls:
		return &fault{text: fmt.Sprintf("%s wants TLS, and security.protocol is %s: --kafka %s", at, s.protocol, rightSettings(s, found)), lasting: true}
	case found.kafka && !found.tls && s.tls:
		return &fault{text: fmt.Sprintf("%s does not speak TLS, and security.protocol=%s asks for it: --kafka %s, or the port where TLS is spoken", at, s.protocol, rightSettings(s, found)), lasting: true}
	case found.kafka && found.mechanisms != nil && !s.login:
		return &fault{text: fmt.Sprintf("%s wants a SASL login, and security.protocol is %s: --kafka %s", at, s.protocol, rightSettings(s, found)), lasting: true}
	case !found.kafka && !found.tls:
		return &fault{text: fmt.Sprintf("what listens at %s takes the connection and does not answer as Kafka does: check the port in --brokers, and that the broker is well", at)}
	}
	return nil
}

// rightSettings are those with which a client comes in.
func rightSettings(s security, found door) string {
	out := "security.protocol=" + protocolFor(found.tls, found.mechanisms != nil)
	if found.tls && !found.kafka {
		out += " (or sasl_ssl)"
	}
	if found.tls && s.ca == "" {
		out += ", and ssl.ca.location=FILE if its authority is not one that the system knows"
	}
	if found.mechanisms != nil && (!s.login || !slices.Contains(found.mechanisms, s.mechanism)) {
		out += fmt.Sprintf(", with sasl.mechanism=%s, sasl.username and sasl.password", strings.Join(found.mechanisms, " or "))
	}
	return out
}

func protocolFor(tls, login bool) string {
	switch {
	case tls && login:
		return "sasl_ssl"
	case tls:
		return "ssl"
	case login:
		return "sasl_plaintext"
	}
	return "plaintext"
}
