//go:build planted

package world

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPlantedFaultsAreFound plants each fault that the code has a place for, and runs seeds until one fails.
func TestPlantedFaultsAreFound(t *testing.T) {
	const limit = 2000
	names := planted(t)
	require.GreaterOrEqual(t, len(names), 18)
	doc, err := os.ReadFile("../../../docs/simulation.md")
	require.NoError(t, err)
	for _, name := range names {
		if only := os.Getenv("PLANT"); only != "" && only != name {
			continue
		}
		seeds, r := FindPlanted(name, limit)
		text := r.Err.Error()
		t.Logf("| %s | %d | %s | %.80s |", name, seeds, r.Case, strings.ReplaceAll(text, "\n", " "))
		if seeds == 0 {
			t.Errorf("%s is not found by %d seeds", name, limit)
		}
		if !strings.Contains(string(doc), "| "+name+" |") {
			t.Errorf("docs/simulation.md does not list %q", name)
		}
	}
}

// planted returns the names of all faults, from the code.
func planted(t *testing.T) (names []string) {
	t.Helper()
	seen := map[string]bool{}
	root := "../../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root:
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go"):
			return nil
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
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Is" && fmt.Sprint(f.X) == "plant" {
				lit, ok := call.Args[0].(*ast.BasicLit)
				require.True(t, ok, "%s: the name of a planted fault must be a literal", path)
				name, err := strconv.Unquote(lit.Value)
				require.NoError(t, err)
				if !seen[name] {
					seen[name] = true
					names = append(names, name)
				}
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	slices.Sort(names)
	return names
}
