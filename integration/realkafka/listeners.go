//go:build unix

package realkafka

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Listener is one more door to the cluster, with security of its own.
type Listener struct {
	// Protocol is SSL, SASL_PLAINTEXT or SASL_SSL.
	Protocol string
	// Certificate is what the brokers show, with its key: PEM, as Authority.Issue makes it. Needed with TLS.
	Certificate []byte
	// Mechanisms are those of SCRAM that clients may log in with: SCRAM-SHA-256, SCRAM-SHA-512. Needed with SASL.
	Mechanisms []string
	// Properties are set for this listener alone. Defaults to none.
	Properties map[string]string
}

func (l Listener) validate() error {
	var errs []error
	switch l.Protocol {
	case "SSL", "SASL_PLAINTEXT", "SASL_SSL":
	default:
		errs = append(errs, fmt.Errorf("protocol %q: use SSL, SASL_PLAINTEXT or SASL_SSL", l.Protocol))
	}
	if strings.HasSuffix(l.Protocol, "SSL") && len(l.Certificate) == 0 {
		errs = append(errs, errors.New("no certificate"))
	}
	if strings.HasPrefix(l.Protocol, "SASL") && len(l.Mechanisms) == 0 {
		errs = append(errs, errors.New("no mechanism"))
	}
	return errors.Join(errs...)
}

// Listener is where the brokers listen with the security of the configuration's listener i, host:port.
func (k *Kafka) Listener(i int) []string {
	out := make([]string, len(k.nodes))
	for n, b := range k.nodes {
		out[n] = fmt.Sprintf("127.0.0.1:%d", b.secure[i])
	}
	return out
}

// secured are the properties of a broker's listeners with security, and the files that they name.
func (k *Kafka) secured(b *broker) (lines []string, err error) {
	for i, l := range k.cfg.Listeners {
		prefix := fmt.Sprintf("listener.name.secure%d.", i)
		if len(l.Certificate) > 0 {
			file := filepath.Join(b.dir, fmt.Sprintf("listener-%d.pem", i))
			if err := os.WriteFile(file, l.Certificate, 0o600); err != nil {
				return nil, err
			}
			lines = append(lines, prefix+"ssl.keystore.type=PEM", prefix+"ssl.keystore.location="+file)
		}
		if len(l.Mechanisms) > 0 {
			lines = append(lines, prefix+"sasl.enabled.mechanisms="+strings.Join(l.Mechanisms, ","))
		}
		for _, m := range l.Mechanisms {
			lines = append(lines, prefix+strings.ToLower(m)+".sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;")
		}
		for _, name := range slices.Sorted(maps.Keys(l.Properties)) {
			lines = append(lines, prefix+name+"="+l.Properties[name])
		}
	}
	return lines, nil
}
