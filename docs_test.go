package troupe_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	namedTest   = regexp.MustCompile(`\bTest[A-Z]\w*`)
	testFunc    = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(`)
	requestMade = regexp.MustCompile(`kmsg\.NewPtr(\w+?)Request\(`)
)

// eachGoFile calls f with the text of every Go file below a directory.
func eachGoFile(t *testing.T, dir string, f func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			f(path, string(text))
		}
		return err
	})
	require.NoError(t, err)
}

func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// TestNamedTestsExist: a claim in the documentation is worth what the test behind it is.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	eachGoFile(t, ".", func(path, text string) {
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
				have[m[1]] = true
			}
		}
	})
	named := namedTest.FindAllString(readDoc(t, filepath.Join("docs", "guarantees.md")), -1)
	require.Greater(t, len(named), 40)
	for _, name := range named {
		if !have[name] {
			t.Errorf("docs/guarantees.md names the test %s, which does not exist: name the one that holds the claim now", name)
		}
	}
}

// TestRequestsAreDocumented: whoever gives a node its rights must know every request that it sends.
func TestRequestsAreDocumented(t *testing.T) {
	t.Parallel()
	doc := readDoc(t, filepath.Join("docs", "guarantees.md"))
	rights := doc[strings.Index(doc, "## Access rights"):strings.Index(doc, "## What is outside")]
	found := 0
	eachGoFile(t, "kafka", func(path, text string) {
		if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "embedded") {
			return
		}
		for _, m := range requestMade.FindAllStringSubmatch(text, -1) {
			found++
			if !regexp.MustCompile(`\b` + m[1] + `\b`).MatchString(rights) {
				t.Errorf("%s sends %s requests, which docs/guarantees.md does not name under Access rights: say which right they need", path, m[1])
			}
		}
	})
	require.Greater(t, found, 10)
}

var (
	docCode   = regexp.MustCompile("(?s)(<!-- (\\S+) -->\n)?```go\n(.*?)\n```")
	codeOfDoc = regexp.MustCompile(`(?ms)^[ \t]*// doc: (\S+)\n(.*?)^[ \t]*// end$`)
)

// TestFromFaustIsTested: the Go code of the page is that of a test, letter by letter.
func TestFromFaustIsTested(t *testing.T) {
	t.Parallel()
	have := map[string]string{}
	for _, m := range codeOfDoc.FindAllStringSubmatch(readDoc(t, filepath.Join("examples", "fromfaust", "fromfaust_test.go")), -1) {
		have[m[1]] = dedent(m[2])
	}
	shown := map[string]bool{}
	for _, m := range docCode.FindAllStringSubmatch(readDoc(t, filepath.Join("docs", "from-faust.md")), -1) {
		require.NotEmpty(t, m[2], "docs/from-faust.md has Go code without the name of a test's: put <!-- NAME --> before it, and // doc: NAME … // end around it in examples/fromfaust\n%s", m[3])
		require.Equal(t, have[m[2]], m[3], "docs/from-faust.md shows other code for %s than examples/fromfaust has", m[2])
		shown[m[2]] = true
	}
	for name := range have {
		require.True(t, shown[name], "docs/from-faust.md does not show %s of examples/fromfaust", name)
	}
	require.Greater(t, len(shown), 10)
}

// dedent takes the tabs off that all lines of code begin with, and empty lines off both ends.
func dedent(code string) string {
	lines := strings.Split(strings.Trim(code, "\n"), "\n")
	tabs := -1
	for _, l := range lines {
		if n := len(l) - len(strings.TrimLeft(l, "\t")); l != "" && (tabs < 0 || n < tabs) {
			tabs = n
		}
	}
	for i, l := range lines {
		if l != "" {
			lines[i] = l[tabs:]
		}
	}
	return strings.Join(lines, "\n")
}
