package crashpoint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNamesAreLiteralsAndUnique holds what who walks all steps relies on.
func TestNamesAreLiteralsAndUnique(t *testing.T) {
	t.Parallel()
	where := map[string]string{}
	root := "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if x, named := selected(f, ok); !named || x != "crashpoint" || f.Sel.Name != "Hit" {
				return true
			}
			lit, ok := call.Args[0].(*ast.BasicLit)
			require.True(t, ok, "%s: the name of a step must be a literal", path)
			name, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			require.Empty(t, where[name], "%s: step %s is there already", path, name)
			where[name] = path
			return true
		})
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(where), 20)
}

func selected(f *ast.SelectorExpr, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	x, ok := f.X.(*ast.Ident)
	if !ok {
		return "", false
	}
	return x.Name, true
}
