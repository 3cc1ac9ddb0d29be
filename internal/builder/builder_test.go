package builder

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository is the root of this repository.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	return root
}

// write makes files in a directory, by their paths.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}

// environ is this process's, without what would change how the go command works.
func environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); name != "GOWORK" && name != "GOFLAGS" {
			env = append(env, kv)
		}
	}
	return env
}

const shop = `package shop

import (
	"github.com/troupe-stream/troupe/topology"
	"github.com/troupe-stream/troupe/topology/codec"
)

func Topology() *topology.Topology {
	t := topology.New("shop")
	orders := topology.NewTopic(t, "orders", codec.String, codec.Int64)
	topology.Count(topology.GroupByKey(topology.From(orders)), topology.NewTable(t, "counts", codec.String, codec.Int64))
	return t
}
`

// module makes a module of a user's that requires this one, tidy, with a replace that is relative, as people write it.
func module(t *testing.T) (dir string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	root := repository(t)
	rel, err := filepath.Rel(dir, root)
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	own, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	write(t, dir, map[string]string{
		"go.mod": strings.Replace(string(own), "module "+Troupe, "module example.org/mod", 1) +
			"\nrequire " + Troupe + " v0.0.0\n\nreplace " + Troupe + " => " + filepath.ToSlash(rel) + "\n",
		"go.sum": string(sums), "shop/shop.go": shop,
	})
	return dir
}

func TestWhatCannotBeBuiltIsSaidWithTheMend(t *testing.T) {
	t.Parallel()
	dir := module(t)
	write(t, dir, map[string]string{
		"untidy/go.mod":               "module example.org/untidy\n\ngo 1.26\n\nrequire " + Troupe + " v0.0.0\n\nreplace " + Troupe + " => " + repository(t) + "\n",
		"untidy/shop/shop.go":         shop,
		"none/none.go":                "package none\n",
		"near/near.go":                "package near\n\nfunc NewTopology() int { return 0 }\n",
		"other/other.go":              "package other\n\nfunc Topology(name string) string { return name }\n",
		"method/method.go":            "package method\n\ntype T struct{}\n\nfunc (T) Topology() int { return 0 }\n",
		"program/main.go":             "package main\n\nfunc main() {}\n",
		"empty/README":                "",
		"file.go":                     "package mod\n",
		"nested/go.mod":               "module example.org/nested\n\ngo 1.26\n",
		"nested/shop/shop.go":         "package shop\n\nfunc Topology() int { return 0 }\n",
		"bare/go.mod":                 "module example.org/bare\n\ngo 1.26\n",
		"bare/shop/shop.go":           "package shop\n\nfunc Topology() int { return 0 }\n",
		"vendored/go.mod":             "module example.org/vendored\n\ngo 1.26\n\nrequire " + Troupe + " v0.0.0\n",
		"vendored/vendor/modules.txt": "# " + Troupe + " v0.0.0\n## explicit; go 1.26\n",
		"vendored/shop/shop.go":       "package shop\n\nfunc Topology() int { return 0 }\n",
		"space/go.work":               "go 1.26\n\nuse ./a\n",
		"space/a/go.mod":              "module example.org/a\n\ngo 1.26\n",
		"space/a/a.go":                "package a\n",
	})
	empty := t.TempDir()
	for _, c := range []struct {
		name, in, pkg string
		env           []string
		want          []string
	}{
		{"no go command", "", "./shop", []string{"PATH=" + empty}, []string{"./shop is a Go package", "not on the PATH", "go.dev/dl"}},
		{"no module", empty, "./shop", nil, []string{"no go.mod here or above", "node new"}},
		{"no directory", "", "./shopp", nil, []string{"there is no directory ./shopp"}},
		{"a file", "", "./file.go", nil, []string{"./file.go is a file", "directory of the package"}},
		{"no Go files", "", "./empty", nil, []string{"there is no Go package in ./empty"}},
		{"no such package", "", "example.org/mod/shopp", nil, []string{"there is no package example.org/mod/shopp"}},
		{"a directory without its dot", "", "nested/shop", nil, []string{"there is no package nested/shop", "is ./nested/shop meant?"}},
		{"many packages", "", "./...", nil, []string{"./... names several packages"}},
		{"no function", "", "./none", nil, []string{"./none has no function Topology", "func Topology() *topology.Topology"}},
		{"another name", "", "./near", nil, []string{"is NewTopology meant?"}},
		{"another function", "", "./other", nil, []string{"but not the one that is wanted", "func Topology() *topology.Topology"}},
		{"a method", "", "./method", nil, []string{"./method has no function Topology"}},
		{"a program", "", "./program", nil, []string{"./program is a program", "go run ./program"}},
		{"another module below", "", "./nested/shop", nil, []string{"./nested/shop is in another module", "go there and name it ./shop"}},
		{"another module above", "nested", "../shop", nil, []string{"../shop is in another module", "go there and name it ./shop"}},
		{"outside every module", "", empty, nil, []string{empty + " is outside the module of the current directory"}},
		{"no requirement", "bare", "./shop", nil, []string{"does not require " + Troupe, "go get " + Troupe}},
		{"vendor directory", "vendored", "./shop", nil, []string{"has a vendor directory without the package", "troupe.Main(shop.Topology())"}},
		{"not tidy", "untidy", "./shop", nil, []string{"is not up to date", "go mod tidy"}},
		{"workspace", "space/a", ".", nil, []string{"go.work has several modules", "GOWORK=off", "troupe.Main("}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at := c.in
			if !filepath.IsAbs(at) {
				at = filepath.Join(dir, at)
			}
			env := append(environ(), c.env...)
			_, err := Build(t.Context(), Config{Package: c.pkg, Dir: at, Environ: env, Cache: t.TempDir()})
			require.ErrorAs(t, err, new(*UseError))
			for _, w := range c.want {
				require.ErrorContains(t, err, w)
			}
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

// The program of a package, through all that may become of one: it is built, it is there, it does not compile, it is another.
func TestBuild(t *testing.T) {
	t.Parallel()
	dir, cache := module(t), t.TempDir()
	before := tree(t, dir)
	said := 0
	cfg := Config{Package: "./shop", Dir: dir, Environ: environ(), Cache: cache, Building: func() { said++ }}

	_, err := Built(t.Context(), cfg)
	require.ErrorIs(t, err, fs.ErrNotExist)
	p, err := Build(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.Equal(t, 1, said)
	require.Equal(t, before, tree(t, dir), "nothing is written into the user's tree")
	describe := func(env ...string) string {
		cmd := exec.CommandContext(t.Context(), p.Path, "describe", "--topology", "./shop")
		cmd.Env = append(environ(), env...)
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	require.Contains(t, describe("TROUPE_PACKAGE=./shop"), "topology shop\n")
	built, err := os.Stat(p.Path)
	require.NoError(t, err)

	// By its import path it is the same program, and it is up to date.
	cfg.Package = "example.org/mod/shop"
	again, err := Build(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.Equal(t, p.Path, again.Path)
	path, err := Built(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, p.Path, path)
	info, err := os.Stat(p.Path)
	require.NoError(t, err)
	require.True(t, os.SameFile(built, info), "it was not linked again")
	require.Equal(t, 1, said)

	// What the compiler says comes through, with the user's own path and line.
	write(t, dir, map[string]string{"shop/shop.go": strings.Replace(shop, "return t", "return x", 1)})
	cfg.Package = "./shop"
	_, err = Build(t.Context(), cfg)
	var failed *CompileError
	require.ErrorAs(t, err, &failed)
	require.Contains(t, failed.Output, "shop/shop.go:12:9: undefined: x")
	require.NotContains(t, failed.Output, mainDir)
	write(t, dir, map[string]string{"shop/shop.go": "package shop\n\nfunc Topology() {\n"})
	_, err = Build(t.Context(), cfg)
	require.ErrorAs(t, err, &failed)
	require.Contains(t, failed.Output, "shop/shop.go:4:1: syntax error")
	write(t, dir, map[string]string{"shop/shop.go": "package shop\n\nfunc Topology() int { return 0 }\n"})
	_, err = Build(t.Context(), cfg)
	require.ErrorAs(t, err, new(*UseError))
	require.ErrorContains(t, err, "func Topology() *topology.Topology")

	write(t, dir, map[string]string{"shop/shop.go": strings.Replace(shop, `New("shop")`, `New("store")`, 1)})
	p, err = Build(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.Contains(t, describe("TROUPE_PACKAGE=./shop"), "topology store\n")
}

// A module that imports package topology alone has, tidied, no sums of the rest of troupe: its program is built all the same. What its own
// packages import without a requirement is not looked for anywhere.
func TestBuildInAModuleThatNeedsLess(t *testing.T) {
	t.Parallel()
	dir := module(t)
	tidy := exec.CommandContext(t.Context(), "go", "mod", "tidy")
	tidy.Dir, tidy.Env = dir, environ()
	out, err := tidy.CombinedOutput()
	require.NoError(t, err, "%s", out)
	before := tree(t, dir)
	require.NotContains(t, before[filepath.Join(dir, "go.mod")], "cobra", "there is nothing to try")
	cfg := Config{Package: "./shop", Dir: dir, Environ: environ(), Cache: t.TempDir()}
	p, err := Build(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.Equal(t, before, tree(t, dir), "nothing is written into the user's tree")

	write(t, dir, map[string]string{"shop/more.go": "package shop\n\nimport _ \"example.org/nowhere/atall\"\n"})
	cfg.Cache = t.TempDir()
	_, err = Build(t.Context(), cfg)
	var failed *CompileError
	require.ErrorAs(t, err, &failed)
	require.Contains(t, failed.Output, "no required module provides package example.org/nowhere/atall")
}

// tree are the files below a directory, with their texts.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	}))
	return files
}
