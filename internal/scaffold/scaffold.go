// Package scaffold writes the module of a new topology: node new shop. What it writes builds, passes its own test and runs on the embedded broker.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/mod/module"
)

// GoVersion is what this module asks for in its go.mod, so that a module that requires it asks for that too.
const GoVersion = "1.26.7"

const troupe = "github.com/troupe-stream/troupe"

//go:embed files
var files embed.FS

// Options say what to write.
type Options struct {
	// Dir is the directory, which is made. Its last element names the topology.
	Dir string
	// Module is the path of the module. Defaults to example.org/ and the name of the topology.
	Module string
	// Version of troupe to require; empty: the go.mod requires none, unless Replace is given.
	Version string
	// Replace is a directory with the source of troupe, to be used instead of a version. Defaults to none.
	Replace string
}

// Module is what was written.
type Module struct {
	Name    string // of the topology
	Package string // its Go package, a folder of the same name
	Path    string // of the module
	Files   []string
}

var legalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Write writes the module. It refuses a directory that is not empty, and leaves it as it is.
func Write(o Options) (*Module, error) {
	name := filepath.Base(filepath.Clean(o.Dir))
	if !legalName.MatchString(name) || len(name) > 100 {
		return nil, fmt.Errorf("%q cannot be the name of a topology, which is part of the names of its topics: use letters, digits, dots, dashes and underscores, beginning with a letter or digit", name)
	}
	m := &Module{Name: name, Package: packageName(name), Path: o.Module}
	if m.Path == "" {
		m.Path = "example.org/" + name
	}
	if err := module.CheckImportPath(m.Path); err != nil {
		return nil, fmt.Errorf("module path %q: %w: use one as in example.org/%s", m.Path, errors.Unwrap(err), name)
	}
	sums, err := o.checkReplace()
	if err != nil {
		return nil, err
	}
	if err := checkEmpty(o.Dir); err != nil {
		return nil, err
	}
	texts, err := m.texts(o)
	if err != nil {
		return nil, err
	}
	if sums != nil {
		texts["go.sum"] = sums
	}
	for path, text := range texts {
		at := filepath.Join(o.Dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // a source tree is for others to read
			return nil, err
		}
		if err := os.WriteFile(at, text, 0o644); err != nil { //nolint:gosec // as above
			return nil, err
		}
		m.Files = append(m.Files, path)
	}
	slices.Sort(m.Files)
	return m, nil
}

// checkReplace checks that there is troupe, and returns its sums: with them the new module needs nothing that troupe has not needed.
func (o Options) checkReplace() ([]byte, error) {
	if o.Replace == "" {
		return nil, nil
	}
	mod, err := os.ReadFile(filepath.Join(o.Replace, "go.mod"))
	if err != nil || !bytes.HasPrefix(bytes.TrimSpace(mod), []byte("module "+troupe+"\n")) {
		return nil, fmt.Errorf("%s is not the source of troupe (its go.mod would begin with module %s): name the root of a checkout", o.Replace, troupe)
	}
	return os.ReadFile(filepath.Join(o.Replace, "go.sum"))
}

func checkEmpty(dir string) error {
	there, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		if info, e := os.Stat(dir); e == nil && !info.IsDir() {
			return fmt.Errorf("%s is a file: choose another name", dir)
		}
		return err
	case len(there) > 0:
		return fmt.Errorf("directory %s is not empty (it has %s): choose another name, or empty it", dir, there[0].Name())
	}
	return nil
}

// packageName makes a Go package's name of that of a topology.
func packageName(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' && b.Len() > 0 {
			b.WriteRune(r)
		}
	}
	p := b.String()
	// Those that the files use themselves, or that Go does not take.
	if p == "" || token.IsKeyword(p) || slices.Contains([]string{"main", "topology", "topologytest", "codec", "troupe", "testing", "maps", "internal", "vendor", "testdata"}, p) {
		p += "stream"
	}
	return p
}

// texts are the files, by their paths.
func (m *Module) texts(o Options) (map[string][]byte, error) {
	type data struct {
		*Module
		Options
		GoVersion, Troupe string
	}
	if o.Version == "" && o.Replace != "" {
		o.Version = "v0.0.0"
	}
	out := map[string][]byte{}
	err := fs.WalkDir(files, "files", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		t, err := template.New(path).Parse(string(text))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, data{m, o, GoVersion, troupe}); err != nil {
			return err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(path, "files/"), ".tmpl")
		if rest, ok := strings.CutPrefix(name, "package"); ok {
			name = m.Package + "/" + m.Package + rest
		}
		out[name] = b.Bytes()
		return nil
	})
	return out, err
}
