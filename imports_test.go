package troupe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/troupe-stream/troupe"

// layers says which parts of this module a part may import. A part is a folder with everything below it; the most specific
// one counts. Tests may import whatever their package may, and what is in testLayers.
var layers = map[string][]string{
	"internal/allocs":       {},
	"internal/cmem":         {},
	"internal/crashpoint":   {},
	"internal/plant":        {},
	"internal/poison":       {},
	"internal/redact":       {},
	"kafka":                 {"internal/crashpoint", "internal/poison"},
	"kafka/protocol":        {"kafka", "internal/crashpoint", "internal/plant"},
	"kafka/confluent":       {"kafka", "kafka/protocol"},
	"kafka/embedded":        {"kafka"},
	"topology/codec":        {},
	"tables":                {"internal/crashpoint", "internal/plant", "internal/poison", "internal/redact", "kafka", "topology/codec"},
	"topology/plan":         {"kafka", "tables", "topology/codec"},
	"topology":              {"internal/redact", "kafka", "tables", "topology/codec", "topology/plan"},
	"topology/topologytest": {"kafka", "tables", "topology", "topology/codec", "topology/plan", "actors"},
	"internal/status":       {},
	"actors":                {"internal/crashpoint", "internal/status", "internal/plant", "internal/poison", "internal/redact", "kafka", "kafka/protocol", "tables", "topology", "topology/codec", "topology/plan"},
	"licenses":              {},
	"internal/gateway":      {"internal/cmem", "internal/status", "kafka"},
	"internal/host":         {"actors", "internal/gateway", "kafka", "kafka/confluent", "kafka/embedded", "tables", "topology", "topology/plan", "internal/status"},
	"internal/ask":          {"internal/gateway", "kafka", "topology", "topology/plan"},
	"internal/builder":      {},
	"internal/scaffold":     {},
	"internal/command":      {"actors", "internal/ask", "internal/builder", "internal/cmem", "internal/gateway", "internal/host", "internal/scaffold", "internal/status", "kafka", "kafka/embedded", "licenses", "tables", "topology", "topology/codec", "topology/plan"},
	"":                      {"actors", "internal/ask", "internal/command", "internal/gateway", "internal/host", "kafka/protocol", "tables", "topology", "topology/plan"},
	"examples":              {"", "topology", "topology/codec"},
	"cmd":                   {"", "examples"},
	"integration":           {"*"},
	"tools":                 {},

	// Apart from topology/codec, so that nobody links what he does not use.
	"topology/codec/avro":     {"topology/codec"},
	"topology/codec/registry": {"topology/codec", "topology/codec/avro"},
}

// testLayers are what the tests of a part may import beyond that.
var testLayers = map[string][]string{
	"actors":           {"internal/allocs", "kafka/confluent", "kafka/embedded", "topology/topologytest", "examples", "internal/host"},
	"kafka/confluent":  {"internal/allocs", "internal/cmem", "kafka/embedded"},
	"kafka/embedded":   {"kafka/confluent"},
	"tables":           {"internal/allocs"},
	"topology":         {"topology/topologytest"},
	"topology/codec":   {"topology", "topology/plan"},
	"internal/host":    {"examples", "topology/codec"},
	"internal/ask":     {"topology/codec"},
	"internal/command": {"examples"},
	"cmd":              {"internal/command", "internal/host", "topology", "topology/codec"},
	"examples":         {"topology/topologytest"},
	"":                 {"examples", "topology/codec", "kafka", "kafka/confluent", "kafka/embedded"},

	"topology/codec/registry": {"topology", "topology/topologytest"},
}

// clients are the Kafka clients, and clientUsers who may import them. Tests of those parts may too.
var (
	clients     = []string{"github.com/confluentinc/confluent-kafka-go", "github.com/twmb/franz-go"}
	clientUsers = []string{"kafka/confluent", "kafka/embedded", "integration"}
	// registryClient is of the same family and no Kafka client; only its user may import it.
	registryClient, registryUser = "github.com/twmb/franz-go/pkg/sr", "topology/codec/registry"
	// testClientUsers may in their tests: to start a broker with settings or rights of its own, and to look at what a node has
	// written.
	testClientUsers = append(slices.Clone(clientUsers), "actors", "internal/command")
)

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// TestImportsPointOneWay holds the direction of imports: cmd, examples, integration → troupe → actors → topology → tables
// → kafka, and a Kafka client behind kafka/confluent and kafka/embedded alone.
func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	for _, p := range goList(t) {
		part := partOf(within(p.ImportPath))
		for _, imp := range p.Imports {
			if why := refused(part, imp, layers[part], clientUsers); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, why)
			}
		}
		for _, imp := range append(p.TestImports, p.XTestImports...) {
			if why := refused(part, imp, append(slices.Clone(layers[part]), testLayers[part]...), testClientUsers); why != "" {
				t.Errorf("a test of %s imports %s: %s", p.ImportPath, imp, why)
			}
		}
	}
}

// refused says why a part may not import something, or nothing.
func refused(part, imp string, allowed, clientUsers []string) string {
	if imp == registryClient && part == registryUser {
		return ""
	}
	for _, client := range clients {
		if (imp == client || strings.HasPrefix(imp, client+"/")) && !slices.Contains(clientUsers, part) {
			return "only " + strings.Join(clientUsers, ", ") + " may import a Kafka client"
		}
	}
	if imp != module && !strings.HasPrefix(imp, module+"/") {
		return ""
	}
	to := partOf(within(imp))
	if to == part || slices.Contains(allowed, "*") || slices.Contains(allowed, to) {
		return ""
	}
	return "imports point cmd, examples, integration → troupe → actors → topology → tables → kafka; if the edge is right, add it to layers in imports_test.go and say why in ARCHITECTURE.md"
}

// within is a package's path inside the module.
func within(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(path, "_test"), module), "/")
}

// partOf finds the part that a folder belongs to.
func partOf(folder string) string {
	for f := folder; f != ""; {
		if _, ok := layers[f]; ok {
			return f
		}
		i := strings.LastIndexByte(f, '/')
		f = f[:max(i, 0)]
	}
	return ""
}

// TestTheNodeLinksNoMore: who uses neither Avro nor a schema registry has neither in his program.
func TestTheNodeLinksNoMore(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/node").Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	require.Contains(t, deps, module+"/topology/codec")
	for _, p := range []string{module + "/topology/codec/avro", module + "/topology/codec/registry", "github.com/twmb/avro", registryClient} {
		require.NotContains(t, deps, p)
	}
}

func TestEveryFolderHasItsPlace(t *testing.T) {
	t.Parallel()
	for _, p := range goList(t) {
		folder := within(p.ImportPath)
		require.True(t, folder == "" || partOf(folder) != "", "folder %s has no entry in layers: add it, with what it may import", folder)
	}
}

func goList(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags=integration", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list: %s", &stderr)
	var all []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		all = append(all, p)
	}
	require.Greater(t, len(all), 10)
	return all
}
