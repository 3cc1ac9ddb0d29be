package confluent

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// rawClient makes a client for single requests of the protocol, with the security that librdkafka's settings ask for. It
// connects to nothing yet. The caller closes it.
func rawClient(brokers []string, user map[string]string, clientID string, more ...kgo.Opt) (*kgo.Client, error) {
	opts, err := rawOpts(brokers, user, clientID)
	if err != nil {
		return nil, secretless(user, err)
	}
	cl, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, fmt.Errorf("client for requests: %w", secretless(user, err))
	}
	return cl, nil
}

// rawOpts translates librdkafka's settings.
func rawOpts(brokers []string, user map[string]string, clientID string) ([]kgo.Opt, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.OffsetCommit.Int16(), 9) // from 10 on they want topic ids
	versions.SetMaxKeyVersion(kmsg.OffsetFetch.Int16(), 9)
	opts := []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.MaxVersions(versions)}
	if id := user["client.id"]; id != "" {
		clientID = id
	}
	if clientID != "" {
		opts = append(opts, kgo.ClientID(clientID))
	}
	protocol := strings.ToLower(user["security.protocol"])
	withTLS, withSASL := false, false
	switch protocol {
	case "", "plaintext":
	case "ssl":
		withTLS = true
	case "sasl_plaintext":
		withSASL = true
	case "sasl_ssl":
		withTLS, withSASL = true, true
	default:
		return nil, fmt.Errorf("setting security.protocol=%s: it is plaintext, ssl, sasl_plaintext or sasl_ssl", protocol)
	}
	var faults []error
	if withTLS {
		config, err := tlsConfig(user)
		faults = append(faults, err)
		opts = append(opts, kgo.DialTLSConfig(config))
	}
	if withSASL {
		mechanism, err := saslMechanism(user)
		faults = append(faults, err)
		if err == nil {
			opts = append(opts, kgo.SASL(mechanism))
		}
	}
	return opts, errors.Join(faults...)
}

// saslMechanism translates sasl.mechanism and what belongs to it.
func saslMechanism(user map[string]string) (sasl.Mechanism, error) {
	mechanism := user["sasl.mechanisms"]
	if m, ok := user["sasl.mechanism"]; ok {
		mechanism = m
	}
	name, password := user["sasl.username"], user["sasl.password"]
	if name == "" || password == "" {
		switch mechanism {
		case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
			return nil, fmt.Errorf("setting sasl.mechanism=%s: sasl.username and sasl.password are needed too", mechanism)
		}
	}
	switch mechanism {
	case "PLAIN":
		return plain.Auth{User: name, Pass: password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: name, Pass: password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: name, Pass: password}.AsSha512Mechanism(), nil
	case "":
		return nil, fmt.Errorf("setting security.protocol=%s: sasl.mechanism is needed too: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", user["security.protocol"])
	}
	return nil, fmt.Errorf("setting sasl.mechanism=%s: the engine can only do PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512", mechanism)
}

// tlsConfig translates the ssl settings. Those that would make the connection weaker if they were left out are refused.
func tlsConfig(user map[string]string) (*tls.Config, error) {
	var faults []error
	for _, name := range []string{"ssl.keystore.location", "ssl.crl.location", "ssl.engine.location", "ssl.key.password"} {
		if user[name] != "" {
			faults = append(faults, fmt.Errorf("setting %s: not supported; use ssl.ca.location, ssl.certificate.location and ssl.key.location with files in PEM format, the key unencrypted", name))
		}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	roots, err := authorities(user)
	faults = append(faults, err)
	config.RootCAs = roots
	pair, err := keyPair(user)
	faults = append(faults, err)
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	switch {
	case user["enable.ssl.certificate.verification"] == "false":
		config.InsecureSkipVerify = true
	case strings.EqualFold(user["ssl.endpoint.identification.algorithm"], "none"):
		config.InsecureSkipVerify = true // of the name only: the chain is checked here
		config.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, roots) }
	}
	return config, errors.Join(faults...)
}

// verifyChain checks who signed a broker's certificate, not for which host.
func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the broker shows no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

// authorities returns the certificates to trust; nil for the system's.
func authorities(user map[string]string) (*x509.CertPool, error) {
	if text := user["ssl.ca.pem"]; text != "" {
		return pool("ssl.ca.pem", []byte(text))
	}
	where := user["ssl.ca.location"]
	if where == "" || where == "probe" {
		return nil, nil
	}
	info, err := os.Stat(where)
	if err != nil {
		return nil, fmt.Errorf("setting ssl.ca.location: %w", err)
	}
	files := []string{where}
	if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(where, "*")); err != nil {
			return nil, fmt.Errorf("setting ssl.ca.location: %w", err)
		}
	}
	var all []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("setting ssl.ca.location: %w", err)
		}
		all = append(append(all, text...), '\n')
	}
	return pool("ssl.ca.location="+where, all)
}

func pool(setting string, text []byte) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("setting %s: no certificate in PEM format in it", setting)
	}
	return p, nil
}

// keyPair returns the client's own certificate; nil if none is given.
func keyPair(user map[string]string) (*tls.Certificate, error) {
	cert, err := textOf(user, "ssl.certificate.pem", "ssl.certificate.location")
	if err != nil {
		return nil, err
	}
	key, err := textOf(user, "ssl.key.pem", "ssl.key.location")
	if err != nil {
		return nil, err
	}
	switch {
	case cert == nil && key == nil:
		return nil, nil
	case cert == nil || key == nil:
		return nil, errors.New("settings ssl.certificate.location and ssl.key.location: both are needed, or none")
	}
	if block, _ := pem.Decode(key); block != nil && strings.Contains(block.Type+block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("setting ssl.key.location: the key is encrypted, which is not supported; decrypt it, with `openssl pkey` for instance")
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("settings ssl.certificate.location and ssl.key.location: %w", err)
	}
	return &pair, nil
}

// textOf returns what a setting holds, or the file that another names; nil if neither is given.
func textOf(user map[string]string, inline, location string) ([]byte, error) {
	if text := user[inline]; text != "" {
		return []byte(text), nil
	}
	if user[location] == "" {
		return nil, nil
	}
	text, err := os.ReadFile(user[location])
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", location, err)
	}
	return text, nil
}

// checkBrokers refuses addresses that no client could connect to.
func checkBrokers(brokers []string) error {
	var faults []error
	for _, b := range brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			faults = append(faults, fmt.Errorf("broker address %q is not host:port; check --brokers", b))
		}
	}
	return errors.Join(faults...)
}
