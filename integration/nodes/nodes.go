// Package nodes runs node processes for whole-system tests: builds the command once, starts it, kills it, and reads what it
// traces of its transactions.
package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build builds the node command, with its crash points, into dir and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	return BuildPackage(ctx, dir, "cmd/node", "-tags", "crashpoints")
}

// BuildPackage builds a command of this module, named by its folder, with flags of `go build`, into dir and returns its path.
func BuildPackage(ctx context.Context, dir, folder string, flags ...string) (string, error) {
	path := filepath.Join(dir, "node")
	args := append(append([]string{"build"}, flags...), "-o", path, "github.com/troupe-stream/troupe/"+folder)
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", folder, err, out)
	}
	return path, nil
}

// Node is a running process.
type Node struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	err  error
}

// Start starts the command with arguments and additions to the environment, VAR=VALUE.
func Start(path string, env []string, args ...string) (*Node, error) {
	n := &Node{cmd: exec.Command(path, args...), out: newOutput(), done: make(chan struct{})} //nolint:noctx // Kill and Stop end it
	n.cmd.Env = append(append(os.Environ(), "TROUPE_TRACE=1"), env...)
	n.cmd.Stdout, n.cmd.Stderr = n.out, n.out
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go func() {
		defer close(n.done)
		n.err = n.cmd.Wait()
	}()
	return n, nil
}

// Output returns what the process has printed so far.
func (n *Node) Output() string { return n.out.String() }

// Done is closed when the process has ended.
func (n *Node) Done() <-chan struct{} { return n.done }

// Await waits until the output satisfies a condition. It fails when the process ends before, or ctx does.
func (n *Node) Await(ctx context.Context, enough func(output string) bool) error {
	for {
		changed := n.out.changed()
		if enough(n.out.String()) {
			return nil
		}
		select {
		case <-changed:
		case <-n.done:
			if enough(n.out.String()) {
				return nil
			}
			return fmt.Errorf("the node ended (%w) before: %s", errors.Join(n.err, errEnded), n.Output())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", ctx.Err(), n.Output())
		}
	}
}

var errEnded = errors.New("ended")

// Signal sends a signal; one that comes too late is no error.
func (n *Node) Signal(sig os.Signal) error {
	if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Code is the exit code of a process that has ended; -1 if a signal ended it.
func (n *Node) Code() int {
	<-n.done
	return n.cmd.ProcessState.ExitCode()
}

// Kill ends the process as kill -9 does, and waits for that.
func (n *Node) Kill() {
	_ = n.cmd.Process.Kill()
	<-n.done
}

// Stop asks the process to stop in order, and returns how it ended.
func (n *Node) Stop(ctx context.Context) error {
	if err := n.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return n.Wait(ctx)
}

// Wait waits until the process ends by itself. An exit code other than 0 is an error with the output.
func (n *Node) Wait(ctx context.Context) error {
	select {
	case <-n.done:
		if n.err != nil {
			return fmt.Errorf("%w: %s", n.err, n.Output())
		}
		return nil
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("the node did not end: %w: %s", ctx.Err(), n.Output())
	}
}

// Moment returns the last step of a commit that the process has traced (begun, produced, offsets, committed, aborted) and
// how many transactions it has begun.
func (n *Node) Moment() (last string, begun int) {
	for line := range strings.Lines(n.Output()) {
		if rest, ok := strings.CutPrefix(line, "trace commit."); ok {
			last, _, _ = strings.Cut(rest, " ")
			if last == "begun" {
				begun++
			}
		}
	}
	return last, begun
}

// Steps returns how often the process has traced each of its crash points.
func (n *Node) Steps() map[string]int {
	count := map[string]int{}
	for line := range strings.Lines(n.Output()) {
		if rest, ok := strings.CutPrefix(line, "trace "); ok {
			name, _, _ := strings.Cut(rest, " ")
			count[name]++
		}
	}
	return count
}

// Run runs the command to its end and returns its standard output, also where it fails.
func Run(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", filepath.Base(path), strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}

// output keeps what a process prints, and tells when there is more.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newOutput() *output { return &output{more: make(chan struct{})} }

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	close(o.more)
	o.more = make(chan struct{})
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.more
}
