package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// goCommand is the user's go command.
type goCommand struct {
	path, dir string
	env       []string
}

// newGoCommand finds it on the PATH of the configuration's environment.
func newGoCommand(cfg Config) (*goCommand, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	list := ""
	for _, kv := range cfg.Environ { // the last one holds
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			list = v
		}
	}
	for _, at := range filepath.SplitList(list) {
		if path, err := exec.LookPath(filepath.Join(at, "go")); err == nil && at != "" {
			return &goCommand{path, dir, cfg.Environ}, nil
		}
	}
	return nil, useError("%s is a Go package, and building it needs the go command, which is not on the PATH: install Go (https://go.dev/dl), or run a program that is built already", cfg.Package)
}

// run runs the go command and returns what it says.
func (g *goCommand) run(ctx context.Context, args ...string) (out, said string, err error) {
	cmd := exec.CommandContext(ctx, g.path, args...)
	cmd.Dir, cmd.Env = g.dir, append(slices.Clip(g.env), "PWD="+g.dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// target is a package to make a program of, as go list tells it.
type target struct {
	Dir, ImportPath, Name string
	GoFiles, CgoFiles     []string
	Module                *struct {
		Path, Dir string
		Main      bool
	}
	Error *struct{ Err string }

	root     string // of the module that is built in
	vendored bool
}

// find finds the package and checks everything about it that can be said better than the compiler would.
func find(ctx context.Context, g *goCommand, cfg Config) (*target, error) {
	if strings.Contains(cfg.Package, "...") {
		return nil, useError("%s names several packages: name one", cfg.Package)
	}
	root, err := moduleRoot(ctx, g, cfg)
	if err != nil {
		return nil, err
	}
	if err := checkDirectory(g, cfg, root); err != nil {
		return nil, err
	}
	out, said, err := g.run(ctx, "list", "-e", "-find", "-json=Dir,ImportPath,Name,GoFiles,CgoFiles,Module,Error", "--", cfg.Package)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("find %s: interrupted", cfg.Package)
		}
		if strings.Contains(said, "updates to go.mod needed") {
			return nil, useError("the go.mod in %s is not up to date: run go mod tidy there, then this again", root)
		}
		return nil, &CompileError{cfg.Package, plain(said)}
	}
	t := &target{root: root}
	if err := json.Unmarshal([]byte(out), t); err != nil {
		return nil, fmt.Errorf("go list %s: %w", cfg.Package, err)
	}
	if t.Error != nil && len(t.GoFiles)+len(t.CgoFiles) == 0 {
		if isDirectory(cfg.Package) {
			return nil, useError("there is no Go package in %s: %s", cfg.Package, firstLine(t.Error.Err))
		}
		if info, err := os.Stat(filepath.Join(g.dir, cfg.Package)); err == nil && info.IsDir() {
			return nil, useError("there is no package %s for the module in %s, but a directory of that name: is ./%s meant?", cfg.Package, root, filepath.ToSlash(filepath.Clean(cfg.Package)))
		}
		return nil, useError("there is no package %s for the module in %s: %s", cfg.Package, root, plainLine(t.Error.Err))
	}
	if t.Error != nil {
		return nil, &CompileError{cfg.Package, t.Error.Err}
	}
	if t.Name == "main" {
		return nil, useError("package %s is a program: run it (go run %s), or move Topology to a package that is none", cfg.Package, cfg.Package)
	}
	if err := t.checkModule(); err != nil {
		return nil, err
	}
	return t, t.checkFunction(cfg)
}

// moduleRoot is the directory of the module that the go command runs in.
func moduleRoot(ctx context.Context, g *goCommand, cfg Config) (string, error) {
	out, said, err := g.run(ctx, "env", "-json", "GOMOD", "GOWORK")
	if err != nil {
		return "", fmt.Errorf("go env: %w: %s", err, plain(said))
	}
	var env struct{ GOMOD, GOWORK string }
	if err := json.Unmarshal([]byte(out), &env); err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	if env.GOWORK != "" && env.GOWORK != "off" {
		return "", useError("the workspace %s has several modules, and which versions a program of %s has is not told: set GOWORK=off to build in the module of the current directory alone, or "+byHand,
			env.GOWORK, cfg.Package, filepath.Base(cfg.Package))
	}
	if env.GOMOD == "" || env.GOMOD == os.DevNull {
		return "", useError("%s is a Go package, and there is no go.mod here or above, so nothing says with which versions to build it: go to the directory of its module, or make one (node new NAME)", cfg.Package)
	}
	return filepath.Dir(env.GOMOD), nil
}

// checkDirectory checks a package that is named by its directory.
func checkDirectory(g *goCommand, cfg Config, root string) error {
	if !isDirectory(cfg.Package) {
		return nil
	}
	dir := cfg.Package
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(g.dir, dir)
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return useError("there is no directory %s: name the directory of a Go package, or its import path", cfg.Package)
	case !info.IsDir():
		return useError("%s is a file: name the directory of the package that it is in", cfg.Package)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			if same(at, root) {
				return nil
			}
			rel, err := filepath.Rel(at, dir)
			if err != nil {
				return err
			}
			return useError("%s is in another module, that of %s, not in that of the current directory: go there and name it ./%s, or name it by its import path if the module here requires it",
				cfg.Package, at, filepath.ToSlash(rel))
		}
		if at == filepath.Dir(at) {
			return useError("%s is outside the module of the current directory, in %s: go to its module", cfg.Package, root)
		}
	}
}

// same says whether two paths are one directory.
func same(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

func isDirectory(name string) bool {
	return name == "." || name == ".." || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") || filepath.IsAbs(name)
}

var requires = regexp.MustCompile(`(?m)^\s*(require\s+|module\s+)?"?` + regexp.QuoteMeta(Troupe) + `"?(\s|$)`)

// checkModule checks that the module has what the main function needs.
func (t *target) checkModule() error {
	mod, err := os.ReadFile(filepath.Join(t.root, "go.mod"))
	if err != nil {
		return err
	}
	if !requires.Match(mod) {
		return useError("the module in %s does not require %s: add it with go get %[2]s", t.root, Troupe)
	}
	if _, err := os.Stat(filepath.Join(t.root, "vendor", "modules.txt")); err != nil {
		return nil //nolint:nilerr // it has no vendor directory
	}
	if _, err := os.Stat(filepath.Join(t.root, "vendor", filepath.FromSlash(Troupe), "troupe.go")); err != nil {
		return useError("the module in %s has a vendor directory without the package %s: "+byHand+"; go mod vendor then brings the package",
			t.root, Troupe, t.Name)
	}
	t.vendored = true
	return nil
}

// checkFunction looks for the function in the package's files. What cannot be parsed is left to the compiler.
func (t *target) checkFunction(cfg Config) error {
	var near string
	for _, name := range append(t.GoFiles, t.CgoFiles...) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(t.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil //nolint:nilerr // the compiler says it
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !strings.Contains(strings.ToLower(fn.Name.Name), "topology") {
				continue
			}
			if fn.Name.Name == "Topology" {
				if fn.Type.Params.NumFields() == 0 && fn.Type.Results.NumFields() == 1 && fn.Type.TypeParams == nil {
					return nil
				}
				return useError("package %s has a function Topology, but not the one that is wanted: make it func Topology() *topology.Topology, of %s/topology", cfg.Package, Troupe)
			}
			near = fn.Name.Name
		}
	}
	if near != "" {
		return useError("package %s has no function Topology: it needs func Topology() *topology.Topology; is %s meant?", cfg.Package, near)
	}
	return useError("package %s has no function Topology: it needs func Topology() *topology.Topology", cfg.Package)
}

// plainLine is all of a message in one line.
func plainLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
