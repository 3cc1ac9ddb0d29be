package world

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/troupe-stream/troupe/actors"
	"github.com/troupe-stream/troupe/integration/simulate/ground"
	"github.com/troupe-stream/troupe/integration/simulate/sched"
	"github.com/troupe-stream/troupe/topology/plan"
)

// node is a machine: a data directory, and the process that runs on it.
type node struct {
	w        *World
	name     string
	instance string // kept in the data directory
	disk     *disk
	version  int  // of the topology
	twin     bool // a copy of another machine
	away     int  // how many steps it takes about until it is started again
	runs     int  // version that the process runs
	asked    bool // to stop
	starts   int

	proc   *sched.Proc
	node   *actors.Node
	ground *ground.Ground
	until  time.Time // paused
	err    error     // of the last process
}

// running says whether there is a process.
func (n *node) running() bool { return n.proc != nil && !n.proc.Dead() }

// start starts a process on the machine.
func (n *node) start() {
	n.starts++
	s := n.w.s
	n.proc = s.Proc(fmt.Sprintf("%s.%d", n.name, n.starts))
	n.ground = ground.New(s, n.proc)
	if n.w.watched != "" {
		n.w.started[n.proc] = n.w.Committed(n.w.watched)
	}
	n.ground.Met, n.ground.Users = n.w.met, n.w.users
	n.err, n.runs, n.asked = nil, n.version, false
	if n.away = 40; s.Rand().IntN(2) == 0 {
		n.away = 500
	}
	p := n.proc
	log := slog.New(&tracer{n.w.s, p.Name})
	var err error
	n.node, err = actors.NewNode(n.w.plans[n.version], n.w.driver(n, log), actors.Config{
		DataDir: "data", Instance: n.instance, Nonce: p.Name, CreateTopics: true, CommitInterval: 100 * time.Millisecond,
		CheckpointInterval: 300 * time.Millisecond, TopicRefresh: 500 * time.Millisecond, StopTimeout: n.w.patience, Logger: log, Ground: n.ground, Disk: n.disk,
		AtLeastOnce: n.w.c.AtLeastOnce,
	})
	if err != nil {
		s.Fail(fmt.Errorf("%s: %w", p.Name, err))
		return
	}
	me := n.node
	s.Logf("%s starts as %s", p.Name, n.instance)
	s.Go(p, "main", func() {
		err := me.Start(context.Background())
		if err == nil {
			s.Wait(func() bool { return isDone(me) })
			err = me.Err()
		}
		n.err = err
		s.Logf("%s ended: %v", p.Name, err)
		s.Kill(p)
	})
}

func isDone(n *actors.Node) bool {
	select {
	case <-n.Done():
		return true
	default:
		return false
	}
}

// kill ends the process as kill -9 does.
func (n *node) kill() {
	n.w.s.Logf("%s is killed", n.proc.Name)
	n.w.s.Kill(n.proc)
	n.disk.tear()
}

// stop asks the process to stop in order.
func (n *node) stop() {
	me := n.node
	n.asked = true
	n.w.s.Logf("%s is to stop", n.proc.Name)
	n.w.s.Go(n.proc, "stop", func() { _ = me.Stop(context.Background()) })
}

// pause stops the process, as SIGSTOP does.
func (n *node) pause(d time.Duration) {
	n.until = n.w.s.Now().Add(d)
	n.w.s.Logf("%s stands still for %v", n.proc.Name, d)
	n.w.s.Pause(n.proc)
}

// wake lets a process go on that stands still, once its time is over, or now.
func (n *node) wake(now bool) {
	if !n.until.IsZero() && (now || !n.w.s.Now().Before(n.until)) {
		n.resume()
	}
}

func (n *node) resume() {
	n.until = time.Time{}
	n.w.s.Logf("%s goes on", n.proc.Name)
	n.w.s.Resume(n.proc)
}

// tracer writes what a node logs to the trace.
type tracer struct {
	s    *sched.Sched
	name string
}

// Enabled implements slog.Handler.
func (t *tracer) Enabled(context.Context, slog.Level) bool { return t.s.Tracing() }

// Handle implements slog.Handler.
func (t *tracer) Handle(_ context.Context, r slog.Record) error {
	line := ""
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	t.s.Logf("%s %s %s%s", t.name, r.Level, r.Message, line)
	return nil
}

// WithAttrs implements slog.Handler.
func (t *tracer) WithAttrs([]slog.Attr) slog.Handler { return t }

// WithGroup implements slog.Handler.
func (t *tracer) WithGroup(string) slog.Handler { return t }

// plansOf makes the plans of all versions of a case's topology.
func plansOf(c *Case, h *Hooks) (plans []*plan.Plan, err error) {
	for version := range 2 {
		p, err := c.Define(h, version).Plan()
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", c.Name, err)
		}
		plans = append(plans, p)
	}
	return plans, nil
}
