package command

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/builder"
	"github.com/troupe-stream/troupe/internal/scaffold"
)

func (c *cli) newCommand() *cobra.Command {
	var o scaffold.Options
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a module with a topology, a program and a test to begin with",
		Long: `Writes a module into the new directory NAME: a package with a topology, a program that runs it, a test and a README. NAME is that of
the topology too. The module requires the version of troupe that this program has. A development build has none: then --replace
names the source of troupe, or the go.mod is left for you to complete.`,
		Example: fmt.Sprintf("  %s new shop && cd shop && go test ./... && go run . --feed events=events.tsv --feed-keyed --drain", c.app.Name),
		Args:    exactly("the name of a directory to make", 1, 1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.Dir = args[0]
			if info, ok := debug.ReadBuildInfo(); ok {
				o.Version = released(info)
			}
			if o.Replace != "" {
				if o.Replace, err = filepath.Abs(o.Replace); err != nil {
					return err
				}
				o.Version = ""
			}
			m, err := scaffold.Write(o)
			if err != nil {
				return wrongUse("new: %w", err)
			}
			c.app.say("wrote the module %s in %s: %s", m.Path, o.Dir, strings.Join(m.Files, ", "))
			return c.complete(cmd, o, m)
		},
	}
	cmd.Flags().StringVar(&o.Module, "module", "", "`PATH` of the module (default: example.org/NAME)")
	cmd.Flags().StringVar(&o.Replace, "replace", "", "use the source of troupe in `DIR` instead of a version")
	_ = cmd.RegisterFlagCompletionFunc("replace", directories)
	return cmd
}

// complete lets the go command complete go.mod and go.sum, and says what is left to do.
func (c *cli) complete(cmd *cobra.Command, o scaffold.Options, m *scaffold.Module) error {
	next := fmt.Sprintf("next: cd %s && go test ./... && go run . --feed events=events.tsv --feed-keyed --drain", o.Dir)
	if o.Version == "" && o.Replace == "" {
		c.app.say("this program is a development build of troupe, without a version: go.mod does not require troupe yet. In %s, run go get %s, or for a checkout of yours "+
			"go mod edit -require %[2]s@v0.0.0 -replace %[2]s=DIR; then go mod tidy", o.Dir, builder.Troupe)
		return nil
	}
	if o.Replace != "" {
		c.app.say("go.mod replaces troupe by the source in %s: take that line out for a release", o.Replace)
	}
	tidy := exec.CommandContext(cmd.Context(), "go", "mod", "tidy")
	tidy.Dir, tidy.Env = o.Dir, append(slices.Clip(c.app.Environ), "GOWORK=off")
	said, err := tidy.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		c.app.say("the go command is not on the PATH: install Go (https://go.dev/dl), then run go mod tidy in %s", o.Dir)
		return nil
	case err != nil:
		_, _ = c.app.Err.Write(said) // in lines, as the go command says it
		return fmt.Errorf("the module %s is written, but go mod tidy fails in %s: see above; run it again there", m.Path, o.Dir)
	}
	c.app.say("%s", next)
	return nil
}

var pseudoVersion = regexp.MustCompile(`[-.]\d{14}-[0-9a-f]{12}`)

// released is the version of troupe in a build, if others can have it: one of a release, or one that came from a module proxy. Empty: it is a
// development build.
func released(info *debug.BuildInfo) string {
	m := &info.Main
	for _, d := range info.Deps {
		if d.Path == builder.Troupe {
			m = d
		}
	}
	switch {
	case m.Path != builder.Troupe || m.Replace != nil, !strings.HasPrefix(m.Version, "v"), strings.HasSuffix(m.Version, "+dirty"):
		return ""
	case m.Sum == "" && pseudoVersion.MatchString(m.Version):
		return "" // of a checkout: its commit may be nowhere else
	}
	return m.Version
}
