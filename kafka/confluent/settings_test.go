package confluent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/troupe-stream/troupe/kafka"
)

func TestSettingsThatAreTheEnginesAreRefusedByName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"group.id", "group.instance.id", "transactional.id", "enable.auto.commit", "enable.auto.offset.store", "isolation.level",
		"partition.assignment.strategy", "group.protocol", "enable.idempotence", "bootstrap.servers", "go.events.channel.enable",
		"auto.offset.reset", "enable.partition.eof", "acks", "request.required.acks", "partitioner", "rebalance_cb", "sasl.jaas.config",
	} {
		err := Validate(map[string]string{name: "x"})
		require.ErrorContains(t, err, "setting "+name+": ", name)
		require.ErrorContains(t, err, "; remove it", name)
		_, err = settings(map[string]string{name: "x"}, roleGroup)
		require.ErrorContains(t, err, "setting "+name+": ", name)
	}
}

func TestEverySettingOfLibrdkafkaIsKnown(t *testing.T) {
	t.Parallel()
	names := settingNames()
	require.True(t, slices.IsSorted(names))
	for _, name := range names {
		require.Empty(t, ownedBecause(name), name)
	}
	for _, name := range append(producerOnly(), consumerOnly()...) {
		require.Contains(t, names, name)
	}
}

func TestValidateReportsEveryFault(t *testing.T) {
	t.Parallel()
	err := Validate(map[string]string{
		"lingr.ms": "5", "fetch_wait_max_ms": "1", "wholly.unlike.anything": "1", "group.id": "g", "linger.ms": "soon", "socket.keepalive.enable": "perhaps",
		"security.protocol": "tls", "compression.type": "lz4",
	})
	for _, part := range []string{
		"lingr.ms: librdkafka knows no such setting; did you mean linger.ms?", "did you mean fetch.wait.max.ms?",
		"wholly.unlike.anything: librdkafka knows no such setting; see", "group.id: the group is the topology's name",
		"setting linger.ms=soon: ", "setting socket.keepalive.enable=perhaps: ", "setting security.protocol=tls: ",
	} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), "compression.type")
	require.NoError(t, Validate(nil))
	require.NoError(t, Validate(map[string]string{"linger.ms": "5", "session.timeout.ms": "10000", "client.rack": "r1", "compression.type": "zstd"}))
}

func TestSettingsOfOneRoleDoNotReachTheOther(t *testing.T) {
	t.Parallel()
	user := map[string]string{"linger.ms": "5", "session.timeout.ms": "10000", "socket.timeout.ms": "5000"}
	producer, err := settings(user, roleProducer)
	require.NoError(t, err)
	require.Len(t, *producer, 2)
	require.NotContains(t, *producer, "session.timeout.ms")
	group, err := settings(user, roleGroup)
	require.NoError(t, err)
	require.Len(t, *group, 2)
	require.NotContains(t, *group, "linger.ms")
}

func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()
	user := map[string]string{"sasl.password": "hunter2", "ssl.key.password": "hunter3", "ssl.key.pem": "hunter4", "sasl.oauthbearer.client.secret": "hunter5", "linger.ms": "5"}
	shown := Redacted(user)
	require.Equal(t, "5", shown["linger.ms"])
	require.Equal(t, "hunter2", user["sasl.password"], "the settings themselves stay")
	for name := range user {
		require.NotContains(t, shown[name], "hunter")
	}
	user["security.protocol"], user["sasl.mechanism"], user["sasl.username"] = "SASL_SSL", "PLAIN", "me"
	err := Validate(user)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter")
}

func TestSecurityThatTheEngineCannotDoIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user map[string]string
		want string
	}{
		"oauth":          {map[string]string{"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.config": "x=1"}, "PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512"},
		"no mechanism":   {map[string]string{"security.protocol": "SASL_PLAINTEXT"}, "sasl.mechanism"},
		"no password":    {map[string]string{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}, "sasl.password"},
		"no such CA":     {map[string]string{"security.protocol": "SSL", "ssl.ca.location": "/nonexistent/ca.pem"}, "ssl.ca.location"},
		"key without":    {map[string]string{"security.protocol": "ssl", "ssl.key.location": "/nonexistent/key.pem"}, "ssl.key.location"},
		"keystore":       {map[string]string{"security.protocol": "ssl", "ssl.keystore.location": "/nonexistent/k.p12"}, "ssl.keystore.location"},
		"other protocol": {map[string]string{"security.protocol": "tls"}, "sasl_ssl"},
	} {
		_, err := rawClient([]string{"127.0.0.1:1"}, c.user, "x")
		require.ErrorContains(t, err, c.want, name)
	}
}

// certificates writes a CA, and a certificate of a broker for 127.0.0.1 or for another name.
func certificates(t *testing.T, name string) (ca string, broker *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	require.NoError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		leaf.IPAddresses = []net.IP{ip}
	} else {
		leaf.DNSNames = []string{name}
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), key)
	require.NoError(t, err)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return ca, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		host string
		user map[string]string
		fine bool
	}{
		"the right name":          {"127.0.0.1", nil, true},
		"another name, unchecked": {"elsewhere.example", map[string]string{"ssl.endpoint.identification.algorithm": "none"}, true},
		"nothing checked":         {"elsewhere.example", map[string]string{"enable.ssl.certificate.verification": "false"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, config := certificates(t, c.host)
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(config), kfake.SeedTopics(1, "a"))
			require.NoError(t, err)
			t.Cleanup(cluster.Close)
			user := map[string]string{"security.protocol": "SSL", "ssl.ca.location": ca}
			maps.Copy(user, c.user)
			require.NoError(t, Validate(user))
			d, err := New(Config{Brokers: cluster.ListenAddrs(), Settings: user, Logger: logger(t)})
			require.NoError(t, err)
			a, err := d.OpenAdmin()
			require.NoError(t, err)
			out := new(kafka.Outputs)
			out.Append(0, 0, 0, nil, []byte("x"), nil)
			_, err = a.Produce(t.Context(), []string{"a"}, out)
			require.NoError(t, err)
			require.NoError(t, a.Close())
			r := readerOf(t, d)
			bs, err := kafka.ReadAll(t.Context(), r, tpOf("a", 0), 0, 1)
			require.NoError(t, err)
			require.Equal(t, "x", string(bs[0].Value(0)))
		})
	}
}

func TestTLSChecksTheChainEvenWithoutTheName(t *testing.T) {
	t.Parallel()
	_, config := certificates(t, "127.0.0.1")
	otherCA, _ := certificates(t, "127.0.0.1")
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(config))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	raw, err := rawClient(cluster.ListenAddrs(), map[string]string{"security.protocol": "ssl", "ssl.ca.location": otherCA, "ssl.endpoint.identification.algorithm": "none"}, "x")
	require.NoError(t, err)
	defer raw.Close()
	require.ErrorContains(t, raw.Ping(t.Context()), "certificate")
}
