package command

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Wrong use is told in one line that names the thing and the mend, with exit code 2, before anything starts.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	missing := filepath.Join(dir, "missing.txt")
	for name, c := range map[string]struct {
		args []string
		env  []string
		want []string
	}{
		"unknown topology":  {[]string{"--topology", "wordcuont"}, nil, []string{`unknown topology "wordcuont"`, `did you mean "wordcount"`, "audit, wordcount"}},
		"far off topology":  {[]string{"--topology", "xxxxxxxxxx"}, nil, []string{`unknown topology "xxxxxxxxxx"`, "audit, wordcount"}},
		"no topology":       {nil, nil, []string{"no topology named", "--topology NAME", "audit, wordcount"}},
		"unknown flag":      {[]string{"--tpology", "wordcount"}, nil, []string{"unknown flag --tpology", "did you mean --topology"}},
		"unknown shorthand": {[]string{"-Z"}, nil, []string{"unknown shorthand flag", "--help"}},
		"flag value":        {[]string{"--commit-interval", "often"}, nil, []string{"--commit-interval", "often"}},
		"unknown command":   {[]string{"sacn"}, nil, []string{`unknown command "sacn"`, `did you mean "scan"`}},
		"topology as command": {
			[]string{"wordcount"},
			nil,
			[]string{`unknown command "wordcount"`, "--topology wordcount"},
		},
		"missing feed file":    {[]string{"-t", "wordcount", "--feed", "lines=" + missing}, nil, []string{"--feed lines", missing, "no such file"}},
		"feed a directory":     {[]string{"-t", "wordcount", "--feed", "lines=" + dir}, nil, []string{"--feed lines", dir, "directory"}},
		"unknown feed topic":   {[]string{"-t", "wordcount", "--feed", "line=" + missing}, nil, []string{`unknown topic "line"`, `did you mean "lines"`}},
		"feed without a topic": {[]string{"-t", "wordcount", "--feed", "book.txt"}, nil, []string{`--feed "book.txt"`, "TOPIC=FILE"}},
		"feed internal topic":  {[]string{"-t", "wordcount", "--feed", "wordcount-counts-changelog=-"}, nil, []string{"internal to the topology"}},
		"stdin twice":          {[]string{"-t", "wordcount", "--feed", "lines=-", "--feed", "numbers=-"}, nil, []string{"standard input", "one topic only"}},
		"keyed without feed":   {[]string{"-t", "wordcount", "--feed-keyed"}, nil, []string{"--feed-keyed", "--feed TOPIC=FILE"}},
		"unknown table":        {[]string{"-t", "wordcount", "--show", "count"}, nil, []string{`unknown table "count"`, `did you mean "counts"`}},
		"unknown table in get": {[]string{"get", "-t", "wordcount", "cuonts", "k"}, nil, []string{`unknown table "cuonts"`, `did you mean "counts"`}},
		"guarantee":            {[]string{"-t", "wordcount", "--guarantee", "maybe"}, nil, []string{`--guarantee "maybe"`, "exactly-once", "at-least-once"}},
		"client":               {[]string{"-t", "wordcount", "--client", "fast"}, nil, []string{`--client "fast"`, "public", "batched"}},
		"zero interval":        {[]string{"-t", "wordcount", "--commit-interval", "0s"}, nil, []string{"--commit-interval", "more than 0"}},
		"kafka setting":        {[]string{"-t", "wordcount", "--kafka", "secret"}, nil, []string{"--kafka", "KEY=VALUE"}},
		"instance id":          {[]string{"-t", "wordcount", "--data-dir", dir, "--instance-id", "a b"}, nil, []string{`instance id "a b"`, "letters"}},
		"log format":           {[]string{"-t", "wordcount", "--log-format", "xml"}, nil, []string{`--log-format "xml"`, "text or json"}},
		"scan format":          {[]string{"scan", "-t", "wordcount", "counts", "--format", "xml"}, nil, []string{`--format "xml"`, "table, tsv or json"}},
		"scan arguments":       {[]string{"scan", "-t", "wordcount"}, nil, []string{"scan takes one table"}},
		"send arguments":       {[]string{"send", "-t", "wordcount", "lines"}, nil, []string{"a value, or --null"}},
		"send a key":           {[]string{"send", "-t", "wordcount", "lines", "k", "v"}, nil, []string{"send takes a topic and a value", "the key goes into --key"}},
		"send bad value":       {[]string{"send", "-t", "wordcount", "numbers", "x"}, nil, []string{`value "x" of topic numbers is not an int64`}},
		"environment":          {[]string{"-t", "wordcount"}, []string{"TROUPE_COMMIT_INTERVAL=often"}, []string{"TROUPE_COMMIT_INTERVAL", "often"}},
		"missing config":       {[]string{"-t", "wordcount", "--config", missing}, nil, []string{"--config", missing}},
		"config key":           {[]string{"-t", "wordcount", "--config", config("a.yaml", "brokrs: x\n")}, nil, []string{`unknown key "brokrs"`, `did you mean "brokers"`}},
		"config syntax":        {[]string{"-t", "wordcount", "--config", config("b.yaml", "brokers: [\n")}, nil, []string{"--config", "b.yaml"}},
		"config value":         {[]string{"-t", "wordcount", "--config", config("c.yaml", "commit-interval: often\n")}, nil, []string{"commit-interval", "often"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, c.env, c.args...)
			require.Equal(t, exitWrongUse, r.code, r.err)
			line := oneLineOf(t, r)
			for _, w := range c.want {
				require.Contains(t, line, w)
			}
			require.NotContains(t, line, "secret", "settings may be secrets")
		})
	}
}

func TestUnusableDataDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	r := run(t, nil, "-t", "wordcount", "--data-dir", file)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, oneLineOf(t, r), file+" is a file: name a directory with --data-dir")

	r = run(t, nil, "-t", "wordcount", "--data-dir", filepath.Join(file, "below"))
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, oneLineOf(t, r), "cannot be written")

	if runtime.GOOS == "linux" { // where even root cannot write there
		r = run(t, nil, "-t", "wordcount", "--data-dir", "/sys/troupe")
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, oneLineOf(t, r), "/sys/troupe cannot be written")
	}

	used, err := host.OpenDir(t.TempDir(), "")
	require.NoError(t, err)
	defer func() { require.NoError(t, used.Close()) }()
	r = run(t, nil, "-t", "wordcount", "--data-dir", used.Path)
	require.Equal(t, exitFailed, r.code)
	line := oneLineOf(t, r)
	require.Contains(t, line, used.Path+" is in use by another node (process ")
	require.Contains(t, line, "--data-dir")
}

func TestFaultyTopology(t *testing.T) {
	t.Parallel()
	faulty := fakeTopology{p: &plan.Plan{Name: "faulty"}, err: errors.Join(errors.New("first fault"), errors.New("second fault"))}
	r := runWith(t.Context(), nil, []Topology{faulty})
	require.Equal(t, exitFailed, r.code)
	require.Empty(t, r.out)
	require.Equal(t, "node: topology faulty cannot run: it has 2 faults\n  first fault\n  second fault\n", r.err)
}

// A broker that takes connections and never answers, and one that is not there, are told after ten seconds.
func TestUnreachableBroker(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, silent.Close()) }) // the subtests run after this function
	gone, err := net.Listen("tcp", "127.0.0.1:0")            //nolint:noctx // only to find a free port
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	for name, addr := range map[string]string{"silent": silent.Addr().String(), "gone": gone.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, nil, "-t", "wordcount", "--data-dir", t.TempDir(), "--brokers", addr)
			require.Equal(t, exitFailed, r.code)
			line := oneLineOf(t, r)
			require.Contains(t, line, "no broker answers at "+addr+" within 10s")
			require.Contains(t, line, "--brokers")
		})
	}
}
