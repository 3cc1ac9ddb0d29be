package topology_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whoever looks a function up finds an example that is run by the tests.
func TestEveryFunctionHasAnExample(t *testing.T) {
	t.Parallel()
	all, err := os.ReadDir(".")
	require.NoError(t, err)
	set, files := token.NewFileSet(), []*ast.File{}
	for _, f := range all {
		if !strings.HasSuffix(f.Name(), ".go") {
			continue
		}
		file, err := parser.ParseFile(set, f.Name(), nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(set, files, "github.com/troupe-stream/troupe/topology")
	require.NoError(t, err)
	funcs := pkg.Funcs
	for _, typ := range pkg.Types {
		funcs = append(funcs, typ.Funcs...)
	}
	require.Greater(t, len(funcs), 80)
	for _, f := range funcs {
		if len(f.Examples) == 0 {
			t.Errorf("topology.%s has no example: write an Example%s with an // Output: comment", f.Name, f.Name)
		}
		for _, e := range f.Examples {
			require.True(t, e.Output != "" || e.EmptyOutput, "the example of %s has no // Output: comment, so it is not run", f.Name)
		}
	}
}
