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
	inside := t.root
	if t.Module != nil && t.Module.Main {
		inside = t.Dir
	}
	over := filepath.Join(inside, mainDir)
	source := filepath.Join(place, "main.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(over, "main.go"): source}})
	if err != nil {
		return err
	}
	modfile, err := copyModule(t.root, place)
	if err == nil {
		err = errors.Join(writeIfOther(source, mainOf(t)), writeIfOther(filepath.Join(place, "overlay.json"), overlay))
	}
	if err != nil {
		return fmt.Errorf("build %s: %w", cfg.Package, err)
	}
	args := []string{"build", "-o", program, "-buildvcs=false", "-overlay", filepath.Join(place, "overlay.json")}
	if t.vendored {
		args = append(args, "-mod=vendor")
	} else {
		args = append(args, "-mod=mod", "-modfile", modfile)
	}
	rel, err := filepath.Rel(g.dir, over)
	if err != nil {
		return err
	}
	_, said, err := g.run(ctx, append(args, "./"+filepath.ToSlash(rel))...)
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
// the copies stays until the user's files change.
func copyModule(root, place string) (modfile string, err error) {
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		before := filepath.Join(place, name+".user")
		if old, err := os.ReadFile(before); err == nil && string(old) == string(text) {
			continue
		}
		// Both anew: the one belongs to the other.
		for _, name := range []string{"go.mod", "go.sum"} {
			text, err := os.ReadFile(filepath.Join(root, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
			if err := os.WriteFile(filepath.Join(place, name), text, 0o600); err != nil {
				return "", err
			}
			if err := os.WriteFile(filepath.Join(place, name+".user"), text, 0o600); err != nil {
				return "", err
			}
		}
		break
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
