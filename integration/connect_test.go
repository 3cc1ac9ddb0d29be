//go:build integration

package integration

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/troupe-stream/troupe/integration/nodes"
	"github.com/troupe-stream/troupe/integration/realkafka"
	"github.com/troupe-stream/troupe/kafka"
)

// The listeners of the secured Kafka.
const (
	tlsListener = iota
	otherHostListener
	expiredListener
	clientTLSListener
	saslListener
	saslTLSListener
	shortListener // a login is good for some seconds
)

const password = "open sesame"

// soon is how long a node may take to say what is wrong: it waits ten seconds for a broker that may be starting.
const soon = 20 * time.Second

// nowhere is an address at which nothing listens.
func nowhere(t *testing.T) string {
	t.Helper()
	return freeAddr(t)
}

func kafkaArgs(settings ...string) (out []string) {
	for _, x := range settings {
		out = append(out, "--kafka", x)
	}
	return out
}

// login are the settings of the user troupe.
func (s *secured) login(more ...string) []string {
	return append([]string{"ssl.ca.location=" + s.ca, "sasl.mechanism=SCRAM-SHA-512", "sasl.username=troupe", "sasl.password=" + password}, more...)
}

// run runs a command to its end, and returns what it said.
func run(t *testing.T, within time.Duration, args ...string) (string, error) {
	t.Helper()
	n, err := nodes.Start(binary, nil, args...)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	err = n.Wait(ctx)
	return n.Output(), err
}

// secured is a Kafka with TLS, logins by SCRAM and ACLs. Who comes in by its plain door may do anything.
type secured struct {
	*realkafka.Kafka
	root *kgo.Client
	ca   string // files
	own  string // a client's certificate and its key
	// Of another authority, which the brokers do not know.
	otherCA, stranger string
}

func startSecured(t *testing.T) *secured {
	t.Helper()
	ca, err := realkafka.NewAuthority("troupe test authority")
	require.NoError(t, err)
	other, err := realkafka.NewAuthority("another authority")
	require.NoError(t, err)
	issue := func(lifetime time.Duration, hosts ...string) []byte {
		pem, err := ca.Issue(lifetime, hosts...)
		require.NoError(t, err)
		return pem
	}
	s := &secured{ca: keep(t, "ca.pem", ca.PEM()), otherCA: keep(t, "other.pem", other.PEM()), own: keep(t, "client.pem", issue(time.Hour, "client"))}
	strange, err := other.Issue(time.Hour, "client")
	require.NoError(t, err)
	s.stranger = keep(t, "stranger.pem", strange)
	good := issue(time.Hour, "localhost", "127.0.0.1")
	s.Kafka, err = realkafka.StartConfig(t.Context(), t.TempDir(), realkafka.Config{
		Lanes: [][]string{{nowhere(t)}},
		Listeners: []realkafka.Listener{
			tlsListener:       {Protocol: "SSL", Certificate: good},
			otherHostListener: {Protocol: "SSL", Certificate: issue(time.Hour, "kafka.example.com")},
			expiredListener:   {Protocol: "SSL", Certificate: issue(-time.Hour, "127.0.0.1")},
			clientTLSListener: {Protocol: "SSL", Certificate: good, Properties: map[string]string{
				"ssl.client.auth": "required", "ssl.truststore.type": "PEM", "ssl.truststore.location": s.ca,
			}},
			saslListener:    {Protocol: "SASL_PLAINTEXT", Mechanisms: []string{"SCRAM-SHA-512"}},
			saslTLSListener: {Protocol: "SASL_SSL", Certificate: good, Mechanisms: []string{"SCRAM-SHA-256", "SCRAM-SHA-512"}},
			shortListener: {Protocol: "SASL_SSL", Certificate: good, Mechanisms: []string{"SCRAM-SHA-512"}, Properties: map[string]string{
				"connections.max.reauth.ms": "3000",
			}},
		},
		Properties: map[string]string{
			"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"super.users":           "User:ANONYMOUS",
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	s.root, err = kgo.NewClient(kgo.SeedBrokers(s.Brokers()...))
	require.NoError(t, err)
	t.Cleanup(s.root.Close)
	s.setPassword(t, "troupe", password)
	return s
}

func keep(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// setPassword makes a user of both SCRAM mechanisms, or gives it another password.
func (s *secured) setPassword(t *testing.T, user, password string) {
	t.Helper()
	const iterations = 4096
	salt := []byte("salt of " + user)
	salted256, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	require.NoError(t, err)
	salted512, err := pbkdf2.Key(sha512.New, password, salt, iterations, sha512.Size)
	require.NoError(t, err)
	for mechanism, salted := range map[int8][]byte{1: salted256, 2: salted512} { // two of one user in a request are refused
		rq := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		rq.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{
			Name: user, Mechanism: mechanism, Iterations: iterations, Salt: salt, SaltedPassword: salted,
		}}
		r, err := rq.RequestWith(t.Context(), s.root)
		require.NoError(t, err)
		for _, x := range r.Results {
			require.NoError(t, kerr.ErrorForCode(x.ErrorCode))
		}
	}
}

// TestSecuredKafka holds docs/connect.md against a Kafka with TLS, logins and ACLs.
func TestSecuredKafka(t *testing.T) {
	s := startSecured(t)
	t.Run("faults", func(t *testing.T) { testConnectionFaults(t, s) })
	root := admin(t, s.Brokers()[0])
	require.NoError(t, root.Create(t.Context(), kafka.TopicSpec{Name: "lines", Partitions: 4}, kafka.TopicSpec{Name: "words", Partitions: 4}))
	g := &guardedWordcount{secured: s, dir: t.TempDir(), want: map[string]int64{}}
	t.Run("documented rights", g.testDocumented)
	t.Run("rights missing at the start", g.testMissing)
	t.Run("rights taken away", g.testTakenAway)
	t.Run("password changed", g.testPasswordChanged)
	t.Run("fencing", g.testFencing)
	t.Run("commands", g.testCommands)
}

// serve listens at an address and gives each connection to f, until the test ends.
func serve(t *testing.T, f func(net.Conn)) (addr string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		serving.Wait()
	})
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = c.Close() }()
				f(c)
			})
		}
	})
	return l.Addr().String()
}

// connectionFault is a way to connect that cannot work, and what the node must say: fault and mend.
type connectionFault struct {
	name     string
	at       string
	settings []string
	says     []string // with AT for the address
}

// atAddress puts an address for the word AT.
func atAddress(text, at string) string {
	return regexp.MustCompile(`\bAT\b`).ReplaceAllLiteralString(text, at)
}

func testConnectionFaults(t *testing.T, s *secured) {
	t.Helper()
	nothing := nowhere(t)
	web := serve(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
	})
	silent := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	tls := []string{"security.protocol=ssl", "ssl.ca.location=" + s.ca}
	tlsAt, saslAt, saslTLSAt := s.Listener(tlsListener)[0], s.Listener(saslListener)[0], s.Listener(saslTLSListener)[0]
	for _, x := range []connectionFault{
		{"nothing listens", nothing, nil, []string{"no broker answers at AT within 10s: nothing listens at AT: check --brokers"}},
		{"unknown host", "kafka.invalid:9092", nil, []string{"no broker answers at AT within 10s", "the host name kafka.invalid is not known: check --brokers"}},
		{"not Kafka", web, nil, []string{`what listens at AT is not Kafka, it says "HTTP/1.1 400 Bad Request": check the port in --brokers`}},
		{"not Kafka, asked by TLS", web, tls, []string{`what listens at AT is not Kafka, it says "HTTP/1.1 400 Bad Request": check the port in --brokers`}},
		{"silent", silent, nil, []string{"what listens at AT takes the connection and does not answer as Kafka does: check the port in --brokers"}},
		{"advertised address", s.Lane(0)[0], nil, []string{"the broker at AT answers, and tells clients to go to 127.0.0.1:", "by its advertised.listeners: nothing listens at 127.0.0.1:"}},
		{"TLS expected", tlsAt, nil, []string{"AT wants TLS, and security.protocol is plaintext: --kafka security.protocol=ssl, and ssl.ca.location=FILE"}},
		{"TLS not expected", s.Brokers()[0], tls, []string{"AT does not speak TLS, and security.protocol=ssl asks for it: --kafka security.protocol=plaintext"}},
		{"unknown authority, none given", tlsAt, []string{"security.protocol=ssl"}, []string{"the certificate of AT is signed by an unknown authority (CN=troupe test authority): name a file", "--kafka ssl.ca.location=FILE"}},
		{"unknown authority, another given", tlsAt, []string{"security.protocol=ssl", "ssl.ca.location=" + s.otherCA}, []string{
			"the certificate of AT is signed by an unknown authority (CN=troupe test authority): it is not in ssl.ca.location=" + s.otherCA + ": add the authority's certificate there",
		}},
		{"certificate for another host", s.Listener(otherHostListener)[0], tls, []string{"the certificate of AT is for another host, kafka.example.com: use in --brokers, and in the brokers' advertised.listeners, a name that it is for"}},
		{"certificate expired", s.Listener(expiredListener)[0], tls, []string{"the certificate of AT has expired, or is not valid yet: renew it"}},
		{"client certificate expected", s.Listener(clientTLSListener)[0], tls, []string{"AT wants a certificate of the client's: --kafka ssl.certificate.location=FILE --kafka ssl.key.location=FILE"}},
		{"client certificate of a stranger", s.Listener(clientTLSListener)[0], append([]string{"ssl.certificate.location=" + s.stranger, "ssl.key.location=" + s.stranger}, tls...), []string{
			"AT refuses the client's certificate: ssl.certificate.location must hold one that is signed by an authority that the broker trusts",
		}},
		{"login expected", saslAt, nil, []string{"AT wants a SASL login, and security.protocol is plaintext: --kafka security.protocol=sasl_plaintext, with sasl.mechanism=SCRAM-SHA-512, sasl.username and sasl.password"}},
		{"login expected by TLS", saslTLSAt, tls, []string{"AT wants a SASL login, and security.protocol is ssl: --kafka security.protocol=sasl_ssl, with sasl.mechanism=SCRAM-SHA-"}},
		{"login and TLS expected", saslTLSAt, nil, []string{"AT wants TLS, and security.protocol is plaintext: --kafka security.protocol=sasl_ssl, and ssl.ca.location=FILE", "with sasl.mechanism=SCRAM-SHA-"}},
		{"login without the TLS that is expected", saslTLSAt, s.login("security.protocol=sasl_plaintext"), []string{"AT wants TLS, and security.protocol is sasl_plaintext: --kafka security.protocol=sasl_ssl"}},
		{"login with TLS that is not expected", saslAt, s.login("security.protocol=sasl_ssl"), []string{"AT does not speak TLS, and security.protocol=sasl_ssl asks for it: --kafka security.protocol=sasl_plaintext"}},
		{"login not expected", s.Brokers()[0], s.login("security.protocol=sasl_plaintext"), []string{"AT takes no SASL login, and security.protocol=sasl_plaintext asks for one: --kafka security.protocol=plaintext"}},
		{"login by TLS not expected", tlsAt, s.login("security.protocol=sasl_ssl"), []string{"AT takes no SASL login, and security.protocol=sasl_ssl asks for one: --kafka security.protocol=ssl"}},
		{"wrong mechanism", saslAt, s.login("security.protocol=sasl_plaintext", "sasl.mechanism=SCRAM-SHA-256"), []string{"AT takes no SASL login by SCRAM-SHA-256: --kafka sasl.mechanism=SCRAM-SHA-512"}},
		{"no password of SCRAM", saslAt, s.login("security.protocol=sasl_plaintext", "sasl.mechanism=PLAIN"), []string{"AT takes no SASL login by PLAIN: --kafka sasl.mechanism=SCRAM-SHA-512"}},
		{"wrong password", saslTLSAt, s.login("security.protocol=sasl_ssl", "sasl.password=guessed"), []string{
			`AT refuses the SASL login of user "troupe" by SCRAM-SHA-512: check sasl.username and sasl.password`, "invalid credentials",
		}},
		{"unknown user", saslTLSAt, s.login("security.protocol=sasl_ssl", "sasl.username=nobody"), []string{`AT refuses the SASL login of user "nobody" by SCRAM-SHA-512: check sasl.username and sasl.password, and that the user exists`}},
	} {
		args := append([]string{"--topology", "wordcount", "--brokers", x.at, "--data-dir", t.TempDir()}, kafkaArgs(x.settings...)...)
		n, err := nodes.Start(binary, nil, args...) // all at once: some wait for ten seconds
		require.NoError(t, err)
		t.Cleanup(n.Kill)
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			out := ends(t, n, soon)
			for _, want := range x.says {
				require.Contains(t, out, atAddress(want, x.at))
			}
			require.NotContains(t, out, password)
			require.NotContains(t, out, "guessed")
		})
	}
	t.Run("all right", func(t *testing.T) { // these get as far as the topics, which are not there
		for name, x := range map[string]connectionFault{
			"TLS":        {at: tlsAt, settings: tls},
			"mutual TLS": {at: s.Listener(clientTLSListener)[0], settings: append([]string{"ssl.certificate.location=" + s.own, "ssl.key.location=" + s.own}, tls...)},
			"SASL":       {at: saslAt, settings: s.login("security.protocol=sasl_plaintext")},
			"SASL, TLS":  {at: saslTLSAt, settings: s.login("security.protocol=sasl_ssl", "sasl.mechanism=SCRAM-SHA-256")},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				out, err := run(t, soon, append([]string{"--topology", "wordcount", "--brokers", x.at, "--data-dir", t.TempDir()}, kafkaArgs(x.settings...)...)...)
				require.Error(t, err)
				require.Regexp(t, "topics lines, words do not exist|User:(troupe|CN=client) lacks ", out)
			})
		}
	})
}
