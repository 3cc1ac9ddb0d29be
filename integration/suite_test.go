//go:build integration

package integration

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/integration/realkafka"
)

// TestTheClientsSuiteOnKafka runs those tests of kafka/confluent on a real Kafka that make nothing up of what a broker says, with each client, while
// the race detector looks: records as they were, pauses, rebalances, fenced transactions, a broker that is stopped and started again.
func TestTheClientsSuiteOnKafka(t *testing.T) {
	suite := suiteOf(t)
	program := filepath.Join(t.TempDir(), "suite")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-race", "-o", program, "github.com/troupe-stream/troupe/kafka/confluent").CombinedOutput()
	require.NoError(t, err, "%s", out)
	k, err := realkafka.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Stop(context.Background())) })
	t.Logf("on Kafka %s at %s", realkafka.Version, k.Brokers())
	mux := http.NewServeMux()
	for path, do := range map[string]func(context.Context) error{
		"POST /stop":  func(ctx context.Context) error { return k.StopBroker(ctx, 0) },
		"POST /start": func(ctx context.Context) error { return errors.Join(k.Restart(ctx, 0), k.Ready(ctx)) },
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := do(context.WithoutCancel(r.Context())); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	control := httptest.NewServer(mux)
	t.Cleanup(control.Close)
	for _, client := range clients() {
		t.Run(client, func(t *testing.T) {
			for _, test := range suite {
				t.Run(test, func(t *testing.T) {
					cmd := exec.CommandContext(t.Context(), program, "-test.v", "-test.parallel=1", "-test.timeout=4m", "-test.run=^"+test+"$")
					cmd.Dir = t.TempDir()
					cmd.Env = append(os.Environ(), "TROUPE_CLIENT="+client, "TROUPE_TEST_BROKERS="+strings.Join(k.Brokers(), ","), "TROUPE_TEST_CONTROL="+control.URL)
					out, err := cmd.CombinedOutput()
					require.NoError(t, err, "%s", out)
					require.Contains(t, string(out), "with the client: "+client+"\n")
					require.Contains(t, string(out), "\n--- PASS: "+test+" (")
				})
			}
		})
	}
}

// suiteOf names the tests of kafka/confluent that run on any broker.
func suiteOf(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("../kafka/confluent/*_test.go")
	require.NoError(t, err)
	test := regexp.MustCompile(`(?ms)^func (Test\w+)\(t \*testing\.T\) \{$(.*?)^\}$`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range test.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[2], "anyBroker(t, ") || strings.Contains(m[2], "copying(t, ") {
				names = append(names, m[1])
			}
		}
	}
	require.Greater(t, len(names), 20)
	return names
}
