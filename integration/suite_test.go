//go:build integration

package integration

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
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
	var one sync.Mutex
	start := func(ctx context.Context) error {
		if k.Running(0) {
			return nil
		}
		return k.Restart(ctx, 0)
	}
	mux := http.NewServeMux()
	for path, do := range map[string]func(context.Context) error{"POST /stop": func(ctx context.Context) error { return k.StopBroker(ctx, 0) }, "POST /start": start} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			one.Lock()
			defer one.Unlock()
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
					one.Lock()
					require.NoError(t, start(context.WithoutCancel(t.Context())), "whatever became of the test, the next one has a broker")
					one.Unlock()
					require.NoError(t, err, "%s", out)
					require.NotContains(t, string(out), "--- SKIP")
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
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range parsed.Decls {
			f, is := d.(*ast.FuncDecl)
			if !is || f.Body == nil || f.Name.Name == "copying" {
				continue
			}
			calls := false
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if c, is := n.(*ast.CallExpr); is {
					if name, is := c.Fun.(*ast.Ident); is && (name.Name == "anyBroker" || name.Name == "copying") {
						calls = true
					}
				}
				return true
			})
			if calls {
				require.True(t, strings.HasPrefix(f.Name.Name, "Test"), "%s: %s asks for any broker: have the test do so, which is then known to be of the suite", file, f.Name.Name)
				names = append(names, f.Name.Name)
			}
		}
	}
	require.NotEmpty(t, names)
	return names
}
