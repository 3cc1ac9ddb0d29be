package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-stream/troupe/internal/builder"
)

// builtFrom is the variable in which the program that was built of a package finds how the user has named that package: the name stands
// for its only topology.
const builtFrom = envPrefix + "PACKAGE"

// programsDir is the variable that says where the programs of packages are kept.
const programsDir = envPrefix + "PROGRAMS"

// isPackage says whether a --topology names a Go package: names of topologies have no slash.
func isPackage(name string) bool {
	return strings.Contains(name, "/") || name == "." || name == ".."
}

// alone says whether a command is the shell's affair, and reads no settings.
func alone(cmd *cobra.Command) bool {
	for ; cmd != nil; cmd = cmd.Parent() {
		if slices.Contains([]string{"completion", "help", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, cmd.Name()) && cmd.HasParent() {
			return true
		}
	}
	return false
}

// packageless are the commands that have nothing to do with a topology.
var packageless = []string{"version", "broker", "new"}

// hand makes this process the program of the package that --topology names, with the same arguments. It returns where there is none to
// hand over to, or with an error.
func (c *cli) hand(cmd *cobra.Command) error {
	if !isPackage(c.topology) || slices.Contains(packageless, cmd.Name()) {
		return nil
	}
	if c.app.builtFrom == c.topology && len(c.app.Topologies) == 1 {
		c.topology = c.app.Topologies[0].Name()
		return nil
	}
	cfg := c.building()
	cfg.Building = func() { c.app.say("building %s: the first time takes a while", c.topology) }
	p, err := builder.Build(cmd.Context(), cfg)
	if failed, ok := errors.AsType[*builder.CompileError](err); ok {
		_, _ = io.WriteString(c.app.Err, failed.Output+"\n") // in lines, as the compiler says it
		return fmt.Errorf("--topology %w: see above", failed)
	}
	if use, ok := errors.AsType[*builder.UseError](err); ok {
		return wrongUse("--topology: %w", use)
	}
	if err != nil {
		return err
	}
	// The lock on the program ends when this process becomes it.
	return errors.Join(c.become(p.Path), p.Close())
}

// building is where and how packages are built.
func (c *cli) building() builder.Config {
	return builder.Config{Package: c.topology, Environ: c.app.Environ, Cache: variable(c.app.Environ, programsDir)}
}

// become makes this process another program, with its arguments.
func (c *cli) become(path string) error {
	env := slices.DeleteFunc(slices.Clone(c.app.Environ), func(kv string) bool { return strings.HasPrefix(kv, builtFrom+"=") })
	if err := c.app.Exec(path, append([]string{c.app.Name}, c.app.args...), append(env, builtFrom+"="+c.topology)); err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}

// handCompletion makes this process the program of the package, if that has been built, for what the shell asks.
func (c *cli) handCompletion(ctx context.Context) error {
	path, err := builder.Built(ctx, c.building())
	if err != nil {
		return err
	}
	return c.become(path)
}

// packageHint adds to the error for an unknown topology that there is a directory of that name.
func packageHint(name string) string {
	if info, err := os.Stat(name); err == nil && info.IsDir() && name != "" {
		return fmt.Sprintf("; for the package in the directory %s, say --topology ./%s", name, filepath.ToSlash(name))
	}
	return ""
}
