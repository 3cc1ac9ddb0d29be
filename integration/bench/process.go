package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-stream/troupe/integration/proc"
)

// clockTicks is how many of /proc's ticks a second has: sysconf(_SC_CLK_TCK) is 100 on every Linux that Go runs on.
const clockTicks = 100

// runTimeout bounds one run of one contender.
const runTimeout = 5 * time.Minute

// measure is what one run of a contender gave.
type measure struct {
	Records int     // that were handled
	Wall    float64 // seconds, from the first record handled to the last committed result
	CPU     float64 // seconds of the contender's process in that time, user and system
	Startup float64 // seconds from the start of the process to the first record
	Memory  int64   // bytes that the process had resident at the end
	Peak    int64   // and at the most
	Figures sample  // that it has said itself
}

func (m measure) perCPU() float64  { return float64(m.Records) / m.CPU }
func (m measure) byClock() float64 { return float64(m.Records) / m.Wall }

// running is a contender's process.
type running struct {
	*proc.Process
	stdin io.WriteCloser
	who   contender
}

// start starts a contender on a job.
func (p *programs) start(c contender, j job) (*running, error) {
	if err := p.missing[c.kind]; err != nil {
		return nil, err
	}
	if err := os.MkdirAll(j.Dir, 0o750); err != nil {
		return nil, err
	}
	args := append(append([]string{}, p.command[c.kind]...), j.args()...)
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // end ends it
	cmd.Dir = j.Dir
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	x, err := proc.Start(c.label, cmd, nil)
	if err != nil {
		return nil, err
	}
	return &running{x, stdin, c}, nil
}

// await waits for a line of the contender's, such as "begin", and returns what is behind the word.
func (r *running) await(ctx context.Context, what string) (string, error) {
	line, err := r.WaitLine(ctx, func(l string) bool { return strings.HasPrefix(l, word+what) })
	return strings.TrimSpace(strings.TrimPrefix(line, word+what)), err
}

// knows waits until the contender has said which client it runs on, and fails if it is not the one it was asked for.
func (r *running) knows(ctx context.Context) error {
	client, err := r.await(ctx, "client")
	if err == nil && client != r.who.client {
		err = fmt.Errorf("%s was asked for the client %s and runs on %s", r.who.label, r.who.client, client)
	}
	return err
}

// cpu is the processor time that it has used, in seconds.
func (r *running) cpu() (float64, error) { return cpuOf(r.Pid()) }

// lines are the last that it has printed.
func (r *running) lines() string { return r.Tail(20) }

// end lets the process go, and kills it if it does not.
func (r *running) end() {
	_ = r.stdin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := r.Wait(ctx); err != nil {
		_ = r.Kill(context.Background())
	}
}

// run runs a contender through a job and measures it.
func (p *programs) run(ctx context.Context, c contender, j job) (m measure, err error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	r, err := p.start(c, j)
	if err != nil {
		return m, err
	}
	defer r.end()
	if err := r.knows(ctx); err != nil {
		return m, err
	}
	if _, err := r.await(ctx, "begin"); err != nil {
		return m, err
	}
	began := time.Now()
	used, err := cpuOf(r.Pid())
	if err != nil {
		return m, err
	}
	if _, err := r.await(ctx, "end"); err != nil {
		return m, err
	}
	wall := time.Since(began)
	all, err := cpuOf(r.Pid())
	if err != nil {
		return m, err
	}
	memory, peak, err := memoryOf(r.Pid())
	if err == nil && c.kind == kindOurs {
		err = r.ask(ctx)
	}
	return measure{Records: j.Records, Wall: wall.Seconds(), CPU: all - used, Startup: began.Sub(r.Started).Seconds(), Memory: memory, Peak: peak, Figures: r.figures()}, err
}

// ask lets a contender of this module's own that has ended tell what of its heap lives.
func (r *running) ask(ctx context.Context) error {
	if _, err := io.WriteString(r.stdin, "\n"); err != nil {
		return fmt.Errorf("ask %s for its heap: %w", r.who.label, err)
	}
	_, err := r.await(ctx, "figure heap ")
	return err
}

// figures are those that the contender has said.
func (r *running) figures() sample {
	out := sample{}
	for _, l := range r.Lines() {
		var name string
		var v float64
		if n, _ := fmt.Sscanf(l, word+"figure %s %g", &name, &v); n == 2 {
			out[name] = v
		}
	}
	return out
}

// cpuOf is the processor time that a process has used, user and system, in seconds.
func cpuOf(pid int) (float64, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("measure a process, which needs Linux: %w", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // behind the name, which may hold anything
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return float64(user+system) / clockTicks, err
}

// memoryOf is what a process has resident, and had at the most, in bytes; both of one moment.
func memoryOf(pid int) (now, most int64, err error) {
	status := text(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	for name, to := range map[string]*int64{"VmRSS": &now, "VmHWM": &most} {
		kb, err := strconv.ParseInt(strings.TrimSuffix(field(status, name), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s of process %d: %w", name, pid, err)
		}
		*to = kb << 10
	}
	return now, most, nil
}
