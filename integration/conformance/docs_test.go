package conformance

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	docs      = "../../docs/simulation.md"
	docsBegin = "<!-- from the tables of integration/conformance: go test ./integration/conformance -run Docs -update -->\n"
	docsEnd   = "<!-- end -->\n"
)

// TestDocs compares the list in the documentation with the tables, and with -update writes it.
func TestDocs(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(docs)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(raw), docsBegin)
	require.True(t, ok, "%s has no line %q", docs, docsBegin)
	was, after, ok := strings.Cut(rest, docsEnd)
	require.True(t, ok, "%s has no line %q", docs, docsEnd)
	is := listed(t)
	if flag.Lookup("update").Value.String() == "true" {
		require.NoError(t, os.WriteFile(docs, []byte(before+docsBegin+is+docsEnd+after), 0o644)) //nolint:gosec // documentation
		return
	}
	require.Equal(t, is, was, "%s is not what the tables say: run go test ./integration/conformance -run Docs -update", docs)
}

// listed is the list in Markdown. What a Kafka answers where kfake differs is taken from a run of the model.
func listed(t *testing.T) string {
	t.Helper()
	var out, differences strings.Builder
	checks, differ := 0, 0
	for _, b := range behaviours() {
		want := b.on(t, newModel(t))
		checks += len(want)
		fmt.Fprintf(&out, "- `%s`: %s\n", b.name, b.does)
		if len(b.kfake) > 0 {
			differ++
		}
		for _, check := range sorted(b.kfake) {
			fmt.Fprintf(&differences, "| `%s` | %s | %s | %s |\n", b.name, check, shown(want[check]), shown(b.kfake[check]))
		}
	}
	var clients strings.Builder
	for _, b := range clientBehaviours() {
		fmt.Fprintf(&clients, "- `%s`: %s\n", b.name, b.does)
	}
	return fmt.Sprintf("\n%d behaviours, %d checks:\n\n%s\nkfake differs in %d of them:\n\n| behaviour | check | Kafka | kfake |\n|---|---|---|---|\n%s\n"+
		"Behaviours of librdkafka, on kfake and on Kafka, and of its model:\n\n%s\n", len(behaviours()), checks, &out, differ, &differences, &clients)
}

func shown(answer string) string {
	if answer == "" {
		return "nothing"
	}
	return answer
}
