package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// configOf runs node config and returns its settings by name.
func configOf(t *testing.T, env []string, args ...string) map[string]setting {
	t.Helper()
	r := run(t, env, append([]string{"config", "--format", "json"}, args...)...)
	require.Zero(t, r.code, r.err)
	var all []setting
	require.NoError(t, json.Unmarshal([]byte(r.out), &all), r.out)
	out := map[string]setting{}
	for _, s := range all {
		out[s.Name] = s
	}
	require.Len(t, out, len(all), "no setting twice")
	return out
}

func TestConfigTellsWhereEachSettingComesFrom(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "node.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
brokers: [file1:9092, file2:9092]
data-dir: /file
guarantee: at-least-once
create-topics: true
format: mermaid # a flag of other commands
limit: 3
http-token: hush-file
kafka:
  sasl.username: file
  sasl.password: hush-file
  socket.timeout.ms: 5000
`), 0o600))
	env := []string{
		"TROUPE_CONFIG=" + file, "TROUPE_DATA_DIR=/env", "TROUPE_COMMIT_INTERVAL=2s", "TROUPE_CLIENT=public", "TROUPE_HTTP_TOKEN=hush-env",
		"TROUPE_KAFKA_SASL_PASSWORD=hush=env,c", "TROUPE_KAFKA_SSL_KEY_PASSWORD=hush-key",
	}
	args := []string{"--topology", "wordcount", "--commit-interval", "3s", "--kafka", "sasl.username=flag", "--feed", "lines=-", "--feed-keyed", "--drain"}
	got := configOf(t, env, args...)
	for _, want := range []setting{
		{Name: "topology", Value: "wordcount", From: "flag"},
		{Name: "commit-interval", Value: "3s", From: "flag"},
		{Name: "feed", Value: []any{"lines=-"}, From: "flag"},
		{Name: "feed-keyed", Value: true, From: "flag"},
		{Name: "kafka.sasl.username", Value: "flag", From: "flag"},
		{Name: "config", Value: file, From: "environment", At: "TROUPE_CONFIG"},
		{Name: "client", Value: "public", From: "environment", At: "TROUPE_CLIENT"},
		{Name: "data-dir", Value: "/env", From: "environment", At: "TROUPE_DATA_DIR"},
		{Name: "http-token", Value: hidden, From: "environment", At: "TROUPE_HTTP_TOKEN"},
		{Name: "kafka.sasl.password", Value: hidden, From: "environment", At: "TROUPE_KAFKA_SASL_PASSWORD"},
		{Name: "kafka.ssl.key.password", Value: hidden, From: "environment", At: "TROUPE_KAFKA_SSL_KEY_PASSWORD"},
		{Name: "brokers", Value: []any{"file1:9092", "file2:9092"}, From: "file", At: file},
		{Name: "guarantee", Value: "at-least-once", From: "file", At: file},
		{Name: "create-topics", Value: true, From: "file", At: file},
		{Name: "kafka.socket.timeout.ms", Value: "5000", From: "file", At: file},
		{Name: "stop-timeout", Value: "30s", From: "default"},
		{Name: "http", Value: "127.0.0.1:6066", From: "default"},
		{Name: "http-cert", From: "default"},
	} {
		require.Equal(t, want, got[want.Name])
	}
	for _, format := range []string{"table", "tsv", "json"} {
		r := run(t, env, append([]string{"config", "--format", format}, args...)...)
		require.Zero(t, r.code, r.err)
		require.NotContains(t, r.out, "hush")
		require.Contains(t, r.out, "TROUPE_DATA_DIR")
	}
	// The format that the file has for describe is not refused here.
	r := run(t, env, "config")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, "environment TROUPE_DATA_DIR")
}

// Whatever a node takes, config takes, and shows.
func TestConfigTakesEveryFlagOfTheNode(t *testing.T) {
	t.Parallel()
	c := &cli{app: &App{Name: "node"}}
	root := c.root()
	got := configOf(t, nil)
	for _, name := range allFlags(root) {
		if f := root.Flags().Lookup(name); (f == nil && root.PersistentFlags().Lookup(name) == nil) || name == "kafka" || name == "version" {
			continue
		}
		require.Contains(t, got, name)
	}
	require.Contains(t, got, "feed")
	require.Contains(t, got, "data-dir")
	require.Nil(t, got["topology"].Value, "there are two: none is chosen")
	require.Equal(t, 2, run(t, nil, "config", "--format", "mermaid").code)
}

func TestConfigOfTheOnlyTopology(t *testing.T) {
	t.Parallel()
	r := runWith(t.Context(), nil, []Topology{fakeTopology{p: wordcount()}}, "config", "--format", "tsv")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, "topology\twordcount\tdefault\n")
	for line := range strings.Lines(r.out) {
		if at, ok := strings.CutPrefix(line, "data-dir\t"); ok {
			require.True(t, strings.HasSuffix(at, filepath.Join("troupe", "wordcount")+"\tdefault\n"), at)
		}
	}
}
