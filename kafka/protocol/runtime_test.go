package protocol_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNothingWaitsByItself: outside of Real, this package starts no goroutine, reads no clock, draws no random number and
// blocks on no channel: a simulation could not see it.
func TestNothingWaitsByItself(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(os.DirFS("."), "*.go")
	require.NoError(t, err)
	checked := 0
	for _, name := range files {
		if name == "runtime.go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		checked++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		require.NoError(t, err)
		for _, what := range alone(set, file) {
			t.Error(what)
		}
	}
	require.Greater(t, checked, 5)
}

func TestWhatWaitsByItselfIsFound(t *testing.T) {
	t.Parallel()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "x.go", `package x
import "math/rand/v2"
func f() {
	go f()
	select {}
	<-c
	c <- 1
	time.Now()
	time.AfterFunc(1, f)
	context.WithTimeout(ctx, 1)
	wg.Wait()
	time.Duration(1).Seconds()
}`, 0)
	require.NoError(t, err)
	require.Len(t, alone(set, file), 9)
}

// alone returns what a file does that only a Runtime may.
func alone(set *token.FileSet, file *ast.File) (found []string) {
	note := func(n ast.Node, what string) {
		found = append(found, set.Position(n.Pos()).String()+": "+what+"; use Runtime")
	}
	for _, imp := range file.Imports {
		if strings.Contains(imp.Path.Value, "rand") {
			note(imp, "random numbers")
		}
	}
	calls := []string{
		"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick",
		"context.WithTimeout", "context.WithTimeoutCause", "context.WithDeadline", "context.WithDeadlineCause", "context.AfterFunc",
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			note(n, "go")
		case *ast.SelectStmt:
			note(n, "select")
		case *ast.SendStmt:
			note(n, "a send")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				note(n, "a receive")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && (slices.Contains(calls, x.Name+"."+n.Sel.Name) || n.Sel.Name == "Wait") {
				note(n, x.Name+"."+n.Sel.Name)
			}
		}
		return true
	})
	return found
}
