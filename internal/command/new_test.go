package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/builder"
)

// What node new writes passes its test, builds, and runs on the embedded broker.
func TestNewModuleWorks(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "my-2nd.shop")
	r := run(t, os.Environ(), "new", dir, "--replace", root, "--module", "example.org/try/it")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "go.mod replaces troupe by the source in "+root)
	require.Contains(t, r.err, "next: cd "+dir)
	command := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %s: %s", strings.Join(args, " "), out)
		return string(out)
	}
	command("vet", "./...")
	require.Contains(t, command("test", "./..."), "ok  \texample.org/try/it/my2ndshop")
	command("mod", "tidy", "-diff")
	data := t.TempDir()
	command("run", ".", "--feed", "events=events.tsv", "--feed-keyed", "--drain", "--data-dir", data, "--http", "off")
	require.Equal(t, "ada\t2\ngrace\t1\n", command("run", ".", "scan", "counts", "--data-dir", data, "--format", "tsv"))
}

func TestNewOfADevelopmentBuildSaysWhatIsLeftToDo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "shop")
	r := run(t, os.Environ(), "new", dir)
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "development build of troupe, without a version")
	require.Contains(t, r.err, "-replace github.com/troupe-stream/troupe=DIR")
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	require.NotContains(t, string(mod), "troupe")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine.txt"), []byte("mine"), 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "new takes the name of a directory"},
		{[]string{dir}, "is not empty (it has mine.txt)"},
		{[]string{filepath.Join(dir, "mine.txt")}, "mine.txt is a file"},
		{[]string{filepath.Join(dir, "a b")}, `"a b" cannot be the name of a topology`},
		{[]string{filepath.Join(dir, "x"), "--replace", dir}, "is not the source of troupe"},
		{[]string{filepath.Join(dir, "x"), "--module", "a b"}, `module path "a b"`},
	} {
		r := run(t, os.Environ(), append([]string{"new"}, c.args...)...)
		require.Equal(t, 2, r.code, c.want)
		require.Contains(t, oneLineOf(t, r), c.want)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing was written")
}

func TestReleased(t *testing.T) {
	t.Parallel()
	own := func(version, sum string) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Path: builder.Troupe, Version: version, Sum: sum}}
	}
	of := func(m debug.Module) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Path: "example.org/shop", Version: "v9.9.9"}, Deps: []*debug.Module{&m}}
	}
	for name, c := range map[string]struct {
		info *debug.BuildInfo
		want string
	}{
		"of a release":              {own("v1.2.3", ""), "v1.2.3"},
		"installed":                 {own("v1.2.3", "h1:x"), "v1.2.3"},
		"a commit, installed":       {own("v0.0.0-20260918054303-01f206a7e32c", "h1:x"), "v0.0.0-20260918054303-01f206a7e32c"},
		"a checkout":                {own("v0.0.0-20260918054303-01f206a7e32c", ""), ""},
		"a checkout behind a tag":   {own("v1.2.4-0.20260918054303-01f206a7e32c", ""), ""},
		"a checkout with changes":   {own("v1.2.3+dirty", ""), ""},
		"without a version control": {own("(devel)", ""), ""},
		"a user's program":          {of(debug.Module{Path: builder.Troupe, Version: "v1.2.3", Sum: "h1:x"}), "v1.2.3"},
		"a user's, with a replace":  {of(debug.Module{Path: builder.Troupe, Version: "v1.2.3", Replace: &debug.Module{Path: "../troupe"}}), ""},
		"another program":           {&debug.BuildInfo{Main: debug.Module{Path: "example.org/shop", Version: "v9.9.9"}}, ""},
	} {
		require.Equal(t, c.want, released(c.info), name)
	}
}
