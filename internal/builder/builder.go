package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Troupe is the path of this module.
const Troupe = "github.com/troupe-stream/troupe"

// mainDir is the folder, laid over the user's tree, of the main function. It lies inside the package's own, which may be internal.
const mainDir = "zz_troupe_node"

// Config says what to build.
type Config struct {
	// Package is a directory (./shop) or an import path (example.org/shop/orders).
	Package string
	// Dir is where the go command runs; its module is the one that is built in. Defaults to the current directory.
	Dir string
	// Environ is the environment of the go command, NAME=value. Defaults to none.
	Environ []string
	// Cache is the directory under which programs are kept. Defaults to troupe/programs in the user's cache directory.
	Cache string
	// Building is called before a program is built that was not there, which takes a while. Defaults to nothing.
	Building func()
}

// Program is a program that is built. Nobody builds it anew until it is closed, or this process ends or becomes another program.
type Program struct {
	Path string
	lock *os.File
}

// Close lets go of the program.
func (p *Program) Close() error { return p.lock.Close() }

// CompileError says that a package does not build.
type CompileError struct {
	Package string
	Output  string // what the go command has said, in lines
}

func (e *CompileError) Error() string { return "package " + e.Package + " does not build" }

// UseError says that what was asked for cannot be built as it is, and how to mend that.
type UseError struct{ text string }

func (e *UseError) Error() string { return e.text }

func useError(format string, args ...any) error { return &UseError{fmt.Sprintf(format, args...)} }

// byHand is the mend where only a program of the user's own helps.
const byHand = "write a program of your own, with func main() { troupe.Main(%s.Topology()) }, and run that"

// Build builds the program of a package, or finds that it is built already. It blocks until then, and while another process builds the same. Errors
// are *UseError, *CompileError, or those of the machine.
func Build(ctx context.Context, cfg Config) (*Program, error) {
	g, err := newGoCommand(cfg)
	if err != nil {
		return nil, err
	}
	t, err := find(ctx, g, cfg)
	if err != nil {
		return nil, err
	}
	place, err := placeOf(cfg, t)
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(ctx, filepath.Join(place, "lock"))
	if err != nil {
		return nil, fmt.Errorf("build %s in %s: %w", cfg.Package, place, err)
	}
	p := &Program{Path: filepath.Join(place, "program"), lock: lock}
	if err := build(ctx, g, cfg, t, place, p.Path); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return p, nil
}

// Built finds the program of a package if it was built before, even if the package has changed since: for what has no time to build. It
// fails with fs.ErrNotExist if there is none.
func Built(ctx context.Context, cfg Config) (string, error) {
	g, err := newGoCommand(cfg)
	if err != nil {
		return "", err
	}
	t, err := find(ctx, g, cfg)
	if err != nil {
		return "", err
	}
	place, err := placeOf(cfg, t)
	if err != nil {
		return "", err
	}
	path := filepath.Join(place, "program")
	_, err = os.Stat(path)
	return path, err
}

// placeOf makes the directory in which a program is kept: one for each package and each module that it is built in.
func placeOf(cfg Config, t *target) (string, error) {
	cache := cfg.Cache
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", useError("there is no cache directory to build %s in (%s): set HOME, or name one in TROUPE_PROGRAMS", cfg.Package, err)
		}
		cache = filepath.Join(dir, "troupe", "programs")
	}
	sum := sha256.Sum256([]byte(t.root + "\x00" + t.ImportPath))
	place := filepath.Join(cache, t.Name+"-"+hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(place, 0o700); err != nil {
		return "", fmt.Errorf("build %s: %w: make that directory writable, or name another in TROUPE_PROGRAMS", cfg.Package, err)
	}
	return place, nil
}

// build runs go build, which does nothing if the program is up to date.
func build(ctx context.Context, g *goCommand, cfg Config, t *target, place, program string) error {
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) && cfg.Building != nil {
		cfg.Building()
	}
	over, modfile, err := prepare(t, place)
	if err != nil {
		return fmt.Errorf("build %s: %w", cfg.Package, err)
	}
	rel, err := filepath.Rel(g.dir, over)
	if err != nil {
		return err
	}
	compile := func(flags ...string) (string, error) {
		words := append([]string{"build", "-o", program, "-buildvcs=false", "-overlay", filepath.Join(place, "overlay.json")}, flags...)
		_, said, err := g.run(ctx, append(words, "./"+filepath.ToSlash(rel))...)
		return said, err
	}
	var said string
	if t.vendored {
		said, err = compile("-mod=vendor")
	} else if said, err = compile("-mod=readonly", "-modfile", modfile); err != nil && incomplete.MatchString(said) {
		// A module that imports package topology alone has no sums of what else troupe needs: the copies are completed. What the user's own
		// packages import must be in their go.mod: it is not looked for.
		if err := checkImports(ctx, g, cfg); err != nil {
			return err
		}
		said, err = compile("-mod=mod", "-modfile", modfile)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("build %s: interrupted", cfg.Package)
	case errors.As(err, new(*exec.ExitError)) && strings.Contains(said, mainDir) && strings.Contains(said, "Topology"):
		return useError("package %s has a function Topology, but not the one that is wanted: make it func Topology() *topology.Topology, of %s/topology", cfg.Package, Troupe)
	case errors.As(err, new(*exec.ExitError)):
		return &CompileError{cfg.Package, plain(said)}
	}
	return err
}

// incomplete is what the go command says of a go.mod or go.sum that it would complete.
var incomplete = regexp.MustCompile(`missing go\.sum entry|updates to go\.mod needed`)

// checkImports says which packages, of all that the package needs, no required module has.
func checkImports(ctx context.Context, g *goCommand, cfg Config) error {
	out, said, err := g.run(ctx, "list", "-deps", "-e", "-f", "{{with .Error}}{{.}}{{end}}", "--", cfg.Package)
	if err != nil {
		return &CompileError{cfg.Package, plain(said)}
	}
	if out = strings.TrimSpace(out); out != "" {
		return &CompileError{cfg.Package, out}
	}
	return nil
}

// prepare writes the main function, where it is laid over the tree, and the copies of go.mod and go.sum.
func prepare(t *target, place string) (over, modfile string, err error) {
	inside := t.root
	if t.Module != nil && t.Module.Main {
		inside = t.Dir // it may be an internal package
	}
	over = filepath.Join(inside, mainDir)
	source := filepath.Join(place, "main.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(over, "main.go"): source}})
	if err != nil {
		return "", "", err
	}
	if modfile, err = copyModule(t.root, place); err != nil {
		return "", "", err
	}
	return over, modfile, errors.Join(writeIfOther(source, mainOf(t)), writeIfOther(filepath.Join(place, "overlay.json"), overlay))
}

// plain is what the go command says without what is about its own working.
func plain(said string) string {
	var out []string
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "go: downloading ") {
			out = append(out, line)
		}
	}
	return strings.TrimSpace(strings.Join(out, ""))
}

func mainOf(t *target) []byte {
	return fmt.Appendf(nil, `// Code generated by troupe: the program of a topology. DO NOT EDIT.
package main

import (
	"%s"

	topology "%s"
)

func main() { troupe.Main(topology.Topology()) }
`, Troupe, t.ImportPath)
}

// copyModule copies go.mod and go.sum: the program may need sums that the user's own packages do not. What the go command has added to
// the copies stays until one of the user's files changes.
func copyModule(root, place string) (modfile string, err error) {
	names := []string{"go.mod", "go.sum"}
	texts, changed := map[string][]byte{}, false
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		before, err := os.ReadFile(filepath.Join(place, name+".user"))
		texts[name], changed = text, changed || err != nil || string(before) != string(text)
	}
	for _, name := range names {
		if !changed {
			break
		}
		// Where this is cut short, the last file that is missing has it begun anew.
		err := errors.Join(os.WriteFile(filepath.Join(place, name), texts[name], 0o600), os.WriteFile(filepath.Join(place, name+".user"), texts[name], 0o600))
		if err != nil {
			return "", err
		}
	}
	return filepath.Join(place, "go.mod"), nil
}

// writeIfOther leaves a file alone that has the text already.
func writeIfOther(path string, text []byte) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return nil
	}
	return os.WriteFile(path, text, 0o600)
}
