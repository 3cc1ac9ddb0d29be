// Package points finds the steps of package crashpoint in the code, for tests that walk them all.
package points

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const imported = "github.com/troupe-stream/troupe/internal/crashpoint"

var form = regexp.MustCompile(`^[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*$`)

// Point is a step at which a process can be made to end.
type Point struct {
	Name string
	At   string // file:line, the file as seen from the module's root
}

// Find returns all steps in the code below the module's root, in the order of their names; tests aside. It refuses what
// would make its list incomplete or ambiguous: a name that is no literal, stands in two places, or is not AREA.STEP, and
// the package under another name or as a value.
func Find(root string) ([]Point, error) {
	var found []Point
	var faults []error
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		shown, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		points, err := inFile(path, filepath.ToSlash(shown))
		found, faults = append(found, points...), append(faults, err)
		return nil
	})
	slices.SortFunc(found, func(a, b Point) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(found); i++ {
		if found[i].Name == found[i-1].Name {
			faults = append(faults, fmt.Errorf("%s: step %s is at %s already", found[i].At, found[i].Name, found[i-1].At))
		}
	}
	return found, errors.Join(err, errors.Join(faults...))
}

func inFile(path, shown string) (found []Point, err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	at := func(n ast.Node) string { return fmt.Sprintf("%s:%d", shown, files.Position(n.Pos()).Line) }
	var faults []error
	uses := false
	for _, i := range file.Imports {
		if i.Path.Value == strconv.Quote(imported) {
			if uses = true; i.Name != nil {
				faults = append(faults, fmt.Errorf("%s: package crashpoint must be imported by its own name", at(i)))
			}
		}
	}
	if !uses {
		return nil, nil
	}
	called := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if !isHit(n.Fun) {
				break
			}
			called[n.Fun] = true
			name := literal(n.Args)
			if !form.MatchString(name) {
				faults = append(faults, fmt.Errorf("%s: the name of a step must be a literal AREA.STEP of small letters and dashes", at(n)))
				break
			}
			found = append(found, Point{name, at(n)})
		case *ast.SelectorExpr:
			if isHit(n) && !called[n] {
				faults = append(faults, fmt.Errorf("%s: crashpoint.Hit must be called where the step is", at(n)))
			}
		}
		return true
	})
	return found, errors.Join(faults...)
}

func isHit(x ast.Expr) bool {
	f, ok := x.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "Hit" {
		return false
	}
	pkg, ok := f.X.(*ast.Ident)
	return ok && pkg.Name == "crashpoint"
}

// literal is the only argument, if that is the literal of a string.
func literal(args []ast.Expr) string {
	if len(args) != 1 {
		return ""
	}
	lit, ok := args[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	name, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return name
}
