package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/troupe-stream/troupe/internal/host"
	"github.com/troupe-stream/troupe/topology/plan"
)

// Topology is what the commands need of a *topology.Topology.
type Topology interface {
	Name() string
	Plan() (*plan.Plan, error)
}

// App is the command line, for one process or one test.
type App struct {
	Name       string // of the program, for messages
	Topologies []Topology
	In         io.Reader
	Out, Err   io.Writer
	Terminal   bool     // Out and Err are a terminal
	Asks       bool     // In and Err are a terminal: questions can be asked
	Environ    []string // NAME=value
	// Exec makes this process another program. Defaults to execve.
	Exec func(path string, args, env []string) error

	args      []string // of the run
	builtFrom string   // how the user names the package that this program was built of
}

// sameSignal is how long after the first signal another one is taken for the same: timeout(1) and supervisors send one to the
// process and one to its group.
const sameSignal = time.Second

// Main runs the command line of this process and returns its exit code. The first SIGINT or SIGTERM stops it in order, the
// next one that comes a second after it, or later, at once.
func Main(topologies ...Topology) int {
	app := &App{
		Name:       strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"),
		Topologies: topologies,
		In:         os.Stdin, Out: os.Stdout, Err: locked(os.Stderr),
		Terminal: term.IsTerminal(int(os.Stdout.Fd())) && term.IsTerminal(int(os.Stderr.Fd())),
		Asks:     term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())),
		Environ:  os.Environ(),
	}
	// It is about this process, not about those that it may start.
	_ = os.Unsetenv(builtFrom) // fails for invalid names only
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var watcher sync.WaitGroup
	watcher.Go(func() { app.watch(signals, time.Now, cancel, os.Exit) })
	code := app.Run(ctx, os.Args[1:])
	signal.Stop(signals)
	close(signals)
	watcher.Wait()
	return code
}

// watch cancels at the first signal and exits at the next that is not the same; it ends when signals is closed.
func (a *App) watch(signals <-chan os.Signal, now func() time.Time, cancel context.CancelFunc, exit func(int)) {
	defer cancel()
	sig, ok := <-signals
	if !ok {
		return
	}
	first := now()
	a.say("%s: stopping in order; again to stop at once", sig)
	cancel()
	for range signals {
		if now().Sub(first) < sameSignal {
			continue
		}
		a.say("stopped at once: what was not committed will be done again")
		exit(exitFailed)
		return
	}
}

// Run runs one command and returns its exit code. An error is one line on Err, but for the faults of a topology, which are a line each.
func (a *App) Run(ctx context.Context, args []string) int {
	if err := host.CheckPlatform(); err != nil {
		a.say("%s", err)
		return exitFailed
	}
	shared := *a
	shared.args, shared.builtFrom = args, variable(a.Environ, builtFrom)
	if a.Exec == nil {
		shared.Exec = becomeProgram
	}
	shared.Out, shared.Err = locked(a.Out), locked(a.Err)
	c := &cli{app: &shared}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(a.In)
	root.SetOut(shared.Out)
	root.SetErr(shared.Err)
	err := root.ExecuteContext(ctx)
	if err != nil {
		a.say("%s", forPeople(err))
	}
	return exitCode(err)
}

// variable is the value of an environment variable; empty: it is not set.
func variable(environ []string, name string) string {
	value := ""
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// say writes a line for people: on the error stream, after the program's name.
func (a *App) say(format string, args ...any) {
	// There is nowhere to say that this failed.
	_, _ = fmt.Fprintf(a.Err, "%s: %s\n", a.Name, fmt.Sprintf(format, args...))
}

// logger makes the log that the flags ask for. On a terminal, where a banner tells what happens, it starts at warnings.
func (c *cli) logger() *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if c.app.Terminal {
		opts.Level = slog.LevelWarn
	}
	if c.debug {
		opts.Level, opts.AddSource = slog.LevelDebug, true
	}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(c.app.Err, opts))
	}
	return slog.New(slog.NewTextHandler(c.app.Err, opts))
}
