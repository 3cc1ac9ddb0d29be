package scaffold

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteRequiresTheVersion(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "shop")
	m, err := Write(Options{Dir: dir, Version: "v1.2.3"})
	require.NoError(t, err)
	require.Equal(t, &Module{
		Name: "shop", Package: "shop", Path: "example.org/shop",
		Files: []string{"README.md", "events.tsv", "go.mod", "main.go", "shop/shop.go", "shop/shop_test.go"},
	}, m)
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	require.Equal(t, "module example.org/shop\n\ngo "+GoVersion+"\n\nrequire github.com/troupe-stream/troupe v1.2.3\n", string(mod))
}

// A module that requires troupe cannot ask for an older Go than troupe does.
func TestGoVersionIsThatOfThisModule(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	require.NoError(t, err)
	require.Contains(t, strings.Split(string(mod), "\n"), "go "+GoVersion)
}

func TestPackageNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"shop": "shop", "My-2nd.Shop": "my2ndshop", "2nd": "nd", "42": "stream", "main": "mainstream", "func": "funcstream", "topology": "topologystream",
	} {
		require.Equal(t, want, packageName(name))
	}
}

func TestWriteRefusesBadModulePaths(t *testing.T) {
	for _, path := range []string{"a b", "/shop", "example.org/shop/", "example.org//shop", "ex@mple/shop", "-shop"} {
		dir := filepath.Join(t.TempDir(), "shop")
		_, err := Write(Options{Dir: dir, Module: path})
		require.ErrorContains(t, err, "use one as in example.org/shop", path)
		require.NoDirExists(t, dir, path)
	}
}
