package licenses_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/licenses"
)

// Every module that is linked into node has its notices in the text.
func TestEveryModuleIsThere(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "../cmd/node")
	out, err := cmd.Output()
	require.NoError(t, err)
	modules := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(modules)
	modules = slices.DeleteFunc(slices.Compact(modules), func(m string) bool { return m == "" })
	require.NotEmpty(t, modules)
	for _, m := range modules {
		require.Contains(t, licenses.Text, "\n"+m+": ", "%s has no notice: go run ./tools/licenses", m)
	}
}

// librdkafka is linked in through the client, with what it bundles.
func TestLibrdkafka(t *testing.T) {
	t.Parallel()
	for _, w := range []string{"librdkafka - Apache Kafka C driver library", "tinycthread", "LZ4", "snappy", "OpenSSL", "zlib", "Zstandard", "Daniel Stenberg", "The Go Authors"} {
		require.Contains(t, licenses.Text, w)
	}
}
