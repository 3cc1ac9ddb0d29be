//go:build unix

// Package proc runs child processes for tests and benchmarks: their output is kept and can be waited for, they can be killed
// at any moment by the process id that was started, and they do not outlive the parent (on Linux; elsewhere callers must
// stop what they start).
package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// keptLines bounds what is kept of a process's output; older lines are dropped.
const keptLines = 200_000

// Process is a child that was started. All methods may be called from any goroutine.
type Process struct {
	// Name is what errors call it.
	Name string
	// Started is when it was started.
	Started time.Time

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and all its output was read

	mu      sync.Mutex
	lines   []string
	dropped int
	more    chan struct{} // closed and renewed at each new line
	tee     io.Writer
}

// Start starts a command and gathers its standard error, and its standard output unless cmd.Stdout is set, line by line.
// tee, if not nil, is given each line as well, with the name before it.
func Start(name string, cmd *exec.Cmd, tee io.Writer) (*Process, error) {
	p := &Process{Name: name, Started: time.Now(), cmd: cmd, done: make(chan struct{}), more: make(chan struct{}), tee: tee}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	cmd.Stderr = write
	if cmd.Stdout == nil {
		cmd.Stdout = write
	}
	cmd.SysProcAttr = attributes()
	started := make(chan error)
	go func() {
		// The kernel ends a child with the thread that started it: this one lives as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = write.Close() // the child has its own
		started <- err
		if err != nil {
			_ = read.Close()
			return
		}
		var out sync.WaitGroup
		out.Go(func() { p.gather(read) })
		_ = cmd.Wait() // what it says is in cmd.ProcessState
		out.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Pid is the id of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and all its output was taken.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running says whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal; one that comes too late is no error.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s to %s: %w", sig, p.Name, err)
	}
	return nil
}

// Kill ends the process with SIGKILL and waits until it is gone, or ctx ends.
func (p *Process) Kill(ctx context.Context) error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	_, err := p.Wait(ctx)
	return err
}

// Wait waits until the process has ended and returns its exit code: -1 if a signal ended it. The error is of ctx.
func (p *Process) Wait(ctx context.Context) (code int, err error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s has not ended: %w; its last lines:\n%s", p.Name, ctx.Err(), p.Tail(30))
	}
}

// Killed says whether SIGKILL ended the process; false while it runs.
func (p *Process) Killed() bool {
	if p.Running() {
		return false
	}
	st, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && st.Signaled() && st.Signal() == syscall.SIGKILL
}

// Lines returns the lines of output so far.
func (p *Process) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// Tail returns the last n lines of output so far.
func (p *Process) Tail(n int) string {
	lines := p.Lines()
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// WaitLine waits for a line of output, past ones included, and returns the first for which match is true. It returns an error
// with the last lines when ctx ends, or when the process ends without such a line.
func (p *Process) WaitLine(ctx context.Context, match func(line string) bool) (string, error) {
	seen := 0
	for {
		p.mu.Lock()
		fresh, more := p.lines[max(0, seen-p.dropped):], p.more
		seen = p.dropped + len(p.lines)
		p.mu.Unlock()
		for _, l := range fresh {
			if match(l) {
				return l, nil
			}
		}
		select {
		case <-more:
			continue
		default:
		}
		select {
		case <-more:
		case <-p.done:
			if p.count() == seen {
				return "", fmt.Errorf("%s ended without the line that was waited for (%s); its last lines:\n%s", p.Name, p.cmd.ProcessState, p.Tail(30))
			}
		case <-ctx.Done():
			return "", fmt.Errorf("%s has not printed the line that was waited for: %w; its last lines:\n%s", p.Name, ctx.Err(), p.Tail(30))
		}
	}
}

func (p *Process) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped + len(p.lines)
}

// gather reads output until the last holder of the pipe has closed it.
func (p *Process) gather(r io.ReadCloser) {
	defer r.Close() //nolint:errcheck // it was only read
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			p.add(strings.TrimSuffix(line, "\n"))
		}
		if err != nil {
			return
		}
	}
}

func (p *Process) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) >= keptLines {
		n := len(p.lines) / 2
		p.lines, p.dropped = append([]string(nil), p.lines[n:]...), p.dropped+n
	}
	p.lines = append(p.lines, line)
	close(p.more)
	p.more = make(chan struct{})
	if p.tee != nil {
		_, _ = fmt.Fprintf(p.tee, "%s: %s\n", p.Name, line)
	}
}
