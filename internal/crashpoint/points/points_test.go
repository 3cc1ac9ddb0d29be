package points

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOfThisModule holds what those who walk all steps rely on.
func TestOfThisModule(t *testing.T) {
	t.Parallel()
	found, err := Find("../../..")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, p := range found {
		names[p.Name] = true
	}
	require.Len(t, names, len(found))
	for _, area := range []string{"commit.begun", "take.marked", "release.marked", "lose.told", "checkpoint.marked", "restore.done", "create.slots-made", "start.running", "stop.closed", "decide.told"} {
		require.True(t, names[area], area)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	const head = "package x\n\nimport \"github.com/troupe-stream/troupe/internal/crashpoint\"\n\n"
	for _, x := range []struct{ name, code, want string }{
		{"two", head + `func f() { crashpoint.Hit("a.b"); crashpoint.Hit("a.c"); crashpoint.Hit("a.b") }`, "x.go:5: step a.b is at x.go:5 already"},
		{"variable", head + `func f(name string) { crashpoint.Hit(name) }`, "x.go:5: the name of a step must be a literal"},
		{"sum", head + `func f() { crashpoint.Hit("a." + "b") }`, "must be a literal"},
		{"form", head + `func f() { crashpoint.Hit("Begun") }`, "AREA.STEP"},
		{"value", head + "var hit = crashpoint.Hit", "must be called where the step is"},
		{"alias", "package x\n\nimport c \"github.com/troupe-stream/troupe/internal/crashpoint\"\n\nfunc f() { c.Hit(\"a.b\") }", "by its own name"},
		{"syntax", "package x\n\nfunc", "expected"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "x.go"), []byte(x.code), 0o600))
			_, err := Find(dir)
			require.ErrorContains(t, err, x.want)
		})
	}
}

func TestFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code := "package x\n\nimport \"github.com/troupe-stream/troupe/internal/crashpoint\"\n\nfunc f() {\n\tcrashpoint.Hit(\"b.two-words\")\n\tgo crashpoint.Hit(`a.one`)\n}\n"
	for _, path := range []string{"x.go", "x_test.go", "testdata/y.go", ".git/z.go"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(dir, path), []byte(code), 0o600))
	}
	found, err := Find(dir)
	require.NoError(t, err)
	require.Equal(t, []Point{{"a.one", "x.go:7"}, {"b.two-words", "x.go:6"}}, found)
}
