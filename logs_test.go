package troupe_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Attributes of log lines are those that docs/logs.md lists, and all of these are in use.
func TestLogVocabulary(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("docs/logs.md")
	require.NoError(t, err)
	var listed []string
	for line := range strings.Lines(string(doc)) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				listed = append(listed, name[1])
			}
		}
	}
	require.Contains(t, listed, "topology")
	used := map[string]bool{}
	for _, dir := range []string{"actors", "kafka", "tables", "topology", "internal"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			for name := range attributes(file) {
				used[name] = true
				require.True(t, slices.Contains(listed, name), "%s logs the attribute %q, which docs/logs.md does not list", path, name)
			}
			return nil
		}))
	}
	for _, name := range listed {
		require.True(t, used[name], "docs/logs.md lists the attribute %q, which nothing logs", name)
	}
	require.NotEmpty(t, used)
}

// attributes are the names of attributes in the calls of loggers in a file, and in slices of arguments that are made for them.
func attributes(file *ast.File) map[string]bool {
	names := map[string]bool{}
	pairs := func(args []ast.Expr) {
		for i := 0; i+1 < len(args); i += 2 {
			if lit, ok := args[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					names[s] = true
				}
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			switch f := n.Fun.(type) {
			case *ast.SelectorExpr:
				isLog := strings.HasSuffix(strings.ToLower(lastName(f.X)), "log") || strings.HasSuffix(strings.ToLower(lastName(f.X)), "logger")
				switch {
				case isLog && f.Sel.Name == "With":
					pairs(n.Args)
				case isLog && slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, f.Sel.Name):
					pairs(n.Args[1:])
				}
			case *ast.Ident:
				if f.Name == "append" && len(n.Args) > 0 && slices.Contains([]string{"args", "last"}, lastName(n.Args[0])) {
					pairs(n.Args[1:])
				}
			}
		case *ast.AssignStmt:
			if lit, ok := n.Rhs[0].(*ast.CompositeLit); ok && lastName(n.Lhs[0]) == "args" {
				pairs(lit.Elts)
			}
		}
		return true
	})
	return names
}

// lastName is the last name of a selector: log of a.b.log.
func lastName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}
