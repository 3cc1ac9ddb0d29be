package command

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// layered reads a command line without running it.
func layered(t *testing.T, env []string, args ...string) *cli {
	t.Helper()
	c := &cli{app: &App{Name: "node", Topologies: []Topology{fakeTopology{p: wordcount()}}, Out: new(bytes.Buffer), Err: new(bytes.Buffer), Environ: env}}
	root := c.root()
	root.RunE = func(*cobra.Command, []string) error { return nil }
	root.SetArgs(args)
	require.NoError(t, root.ExecuteContext(t.Context()))
	return c
}

func TestFlagsOverEnvironmentOverFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "node.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
brokers: [file1:9092, file2:9092]
data-dir: /file
guarantee: at-least-once
create-topics: true
commit-interval: 1s
format: json # a flag of other commands
kafka:
  sasl.username: file
  sasl.password: file
  client.dns.lookup: use_all_dns_ips
  socket.timeout.ms: 5000
`), 0o600))
	env := []string{
		"TROUPE_CONFIG=" + file, "TROUPE_DATA_DIR=/env", "TROUPE_COMMIT_INTERVAL=2s",
		"TROUPE_KAFKA_SASL_PASSWORD=a=b,c", "TROUPE_KAFKA_SASL_USERNAME=env", "UNRELATED=x",
	}
	c := layered(t, env, "--commit-interval", "3s", "--kafka", "sasl.username=flag")
	require.Equal(t, []string{"file1:9092", "file2:9092"}, c.brokers)
	require.Equal(t, "/env", c.dataDir)
	require.Equal(t, AtLeastOnce, c.run.guarantee)
	require.True(t, c.run.createTopics)
	require.Equal(t, "3s", c.run.commitInterval.String())
	settings, err := c.settings()
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"sasl.username": "flag", "sasl.password": "a=b,c", "client.dns.lookup": "use_all_dns_ips", "socket.timeout.ms": "5000",
	}, settings)
}

func TestListsFromTheEnvironment(t *testing.T) {
	t.Parallel()
	c := layered(t, []string{"TROUPE_BROKERS=a:1,b:2", "TROUPE_FEED=lines=a,b.txt", "TROUPE_DEBUG=true"})
	require.Equal(t, []string{"a:1", "b:2"}, c.brokers)
	require.Equal(t, []string{"lines=a,b.txt"}, c.run.feed)
	require.True(t, c.debug)
}

func TestEmptyConfigFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "node.yaml")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	layered(t, nil, "--config", file)
}
