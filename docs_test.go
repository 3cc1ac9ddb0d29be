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

// The Go code of these pages is that of tests, letter by letter.
func TestFromFaustIsTested(t *testing.T) {
	t.Parallel()
	checkCode(t, "fromfaust", filepath.Join("docs", "from-faust.md"))
}

func TestGuideIsTested(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join("docs", "guide", "*.md"))
	require.NoError(t, err)
	checkCode(t, "guide", pages...)
}

// checkCode compares the code of pages with that of an example's test.
func checkCode(t *testing.T, example string, pages ...string) {
	t.Helper()
	have := map[string]string{}
	for _, m := range codeOfDoc.FindAllStringSubmatch(readDoc(t, filepath.Join("examples", example, example+"_test.go")), -1) {
		have[m[1]] = dedent(m[2])
	}
	shown := map[string]bool{}
	for _, page := range pages {
		for _, m := range docCode.FindAllStringSubmatch(readDoc(t, page), -1) {
			require.NotEmpty(t, m[2], "%s has Go code without the name of a test's: put <!-- NAME --> before it, and // doc: NAME … // end around it in examples/%s\n%s", page, example, m[3])
			require.Equal(t, have[m[2]], m[3], "%s shows other code for %s than examples/%s has", page, m[2], example)
			shown[m[2]] = true
		}
	}
	for name := range have {
		require.True(t, shown[name], "no page shows %s of examples/%s", name, example)
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

// docs/benchmarks.md has what is known of targets that were missed, as docs/benchmarks/not-reached.md tells it: the bench puts it there.
func TestBenchmarksTellWhyTargetsAreMissed(t *testing.T) {
	t.Parallel()
	require.Contains(t, readDoc(t, "docs/benchmarks.md"), "\n"+strings.TrimSpace(readDoc(t, "docs/benchmarks/not-reached.md"))+"\n")
}
