//go:build integration

package crashpoints

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-stream/troupe/integration/nodes"
)

// What trials wait for, at most. Sessions are short, so that another node soon takes over.
const (
	stepWait  = 40 * time.Second
	drainWait = 90 * time.Second
	session   = 3 * time.Second
	feedEvery = 25 * time.Millisecond
)

// errAtPoint ends a scenario: the node has come to its crash point.
var errAtPoint = errors.New("the node has come to its crash point")

// trial is one topology on the broker that all share, with its topics, data directories and input.
type trial struct {
	*bench
	name   string
	point  string // NAME@N; empty: nothing is armed
	dir    string
	rng    *rand.Rand
	lane   string        // where nodes find the broker; empty: where it listens
	again  bool          // at-least-once: what is sent may be sent again
	armed  []*nodes.Node // all that were started with the point armed, the last one runs
	others []*nodes.Node

	mu     sync.Mutex
	lines  []string // acknowledged
	failed error    // of feeding
	stop   context.CancelFunc
	fed    sync.WaitGroup
}

// code is how a process ends at its point.
const code = 77

func (b *bench) trial(name, point, dir string, seed uint64) *trial {
	return &trial{bench: b, name: name, point: point, dir: dir, rng: rand.New(rand.NewPCG(seed, 1))}
}

// start starts a node on a data directory: A, B, and so on.
func (x *trial) start(dir string, env []string, more ...string) (*nodes.Node, error) {
	args := append([]string{
		"--topology", x.name, "--brokers", cmp.Or(x.lane, x.brokers), "--data-dir", x.data(dir), "--create-topics",
		"--kafka", fmt.Sprintf("session.timeout.ms=%d", session.Milliseconds()), "--kafka", "heartbeat.interval.ms=500", "--topic-refresh", "500ms",
	}, more...)
	if x.again {
		args = append(args, "--guarantee", "at-least-once")
	}
	return nodes.Start(x.binary, append(env, "TROUPE_PAUSE=300ms"), args...)
}

func (x *trial) data(dir string) string { return filepath.Join(x.dir, dir) }

// arm starts the node that is to come to the point.
func (x *trial) arm() (*nodes.Node, error) {
	var env []string
	if x.point != "" {
		env = append(env, "TROUPE_CRASHPOINT="+x.point)
	}
	n, err := x.start("A", env)
	if err == nil {
		x.armed = append(x.armed, n)
	}
	return n, err
}

// other starts a node that is not armed.
func (x *trial) other(dir string) (*nodes.Node, error) {
	n, err := x.start(dir, nil)
	if err == nil {
		x.others = append(x.others, n)
	}
	return n, err
}

// steps waits until a node has come to a step so many times since a moment, given as the counts of then.
func (x *trial) steps(ctx context.Context, n *nodes.Node, since map[string]int, name string, times int) error {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	want := fmt.Sprintf("trace %s %d\n", name, since[name]+times)
	err := n.Await(ctx, func(out string) bool { return strings.Contains(out, want) })
	return x.judge(n, err, fmt.Sprintf("%s, %d times", name, times))
}

// ended waits until a node that was told to stop has stopped.
func (x *trial) ended(ctx context.Context, n *nodes.Node) error {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	if err := n.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return x.judge(n, n.Wait(ctx), "its end")
}

func (x *trial) judge(n *nodes.Node, err error, what string) error {
	if err == nil {
		return nil
	}
	select {
	case <-n.Done():
		if x.point != "" && n.Code() == code {
			return errAtPoint
		}
		return fmt.Errorf("wait for %s: the node ended with code %d; its last lines:\n%s", what, n.Code(), tail(n))
	default:
	}
	return fmt.Errorf("wait for %s: it has not come; the node's last lines:\n%s", what, tail(n))
}

// tail is the end of what a node has printed, and the last steps before.
func tail(n *nodes.Node) string {
	var said, steps []string
	for line := range strings.Lines(n.Output()) {
		if name, ok := strings.CutPrefix(line, "trace "); ok {
			steps = append(steps, strings.TrimSpace(name))
		} else {
			said = append(said, line)
		}
	}
	return fmt.Sprintf("%slast steps: %s", strings.Join(said[max(0, len(said)-15):], ""), strings.Join(steps[max(0, len(steps)-15):], ", "))
}

// kill ends whatever still runs.
func (x *trial) kill() {
	for _, n := range append(x.armed, x.others...) {
		n.Kill()
	}
}

// feed feeds lines at a steady pace from when their topic is there, until halt.
func (x *trial) feed(ctx context.Context) {
	ctx, x.stop = context.WithCancel(ctx)
	x.fed.Go(func() {
		tick := time.NewTicker(feedEvery)
		defer tick.Stop()
		for there := false; ; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if !there {
				have, err := x.admin.Topics(ctx, x.name+"-lines")
				there = err == nil && len(have) > 0
				continue
			}
			x.send(context.WithoutCancel(ctx), x.name+"-lines", x.line(300))
		}
	})
}

// line is some words of a vocabulary of that size.
func (x *trial) line(vocabulary int) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var b strings.Builder
	for range 1 + x.rng.IntN(8) {
		fmt.Fprintf(&b, "w%d ", x.rng.IntN(vocabulary))
	}
	return b.String()
}

// send sends lines to a topic, and notes those that are acknowledged.
func (x *trial) send(ctx context.Context, topic string, lines ...string) {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	records := make([]*kgo.Record, len(lines))
	for i, l := range lines {
		records[i] = &kgo.Record{Topic: topic, Value: []byte(l)}
	}
	err := x.client.ProduceSync(ctx, records...).FirstErr()
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil {
		x.failed = errors.Join(x.failed, err)
		return
	}
	x.lines = append(x.lines, lines...)
}

// halt ends feeding, and returns whether all of it was acknowledged.
func (x *trial) halt() error {
	if x.stop != nil {
		x.stop()
	}
	x.fed.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed
}

// drain runs a node on a data directory, feeds some more lines through it, and waits until all is counted.
func (x *trial) drain(ctx context.Context, dir string) error {
	var lines []string
	for range 10 {
		lines = append(lines, x.line(300))
	}
	path := filepath.Join(x.dir, "text")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	n, err := x.start(dir, nil, "--drain", "--feed", x.name+"-lines="+path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, drainWait)
	defer cancel()
	if err := n.Wait(ctx); err != nil {
		return fmt.Errorf("the node that counts the rest on %s has not ended well (%v):\n%s", dir, errors.Join(ctx.Err(), fmt.Errorf("code %d", n.Code())), tail(n)) //nolint:errorlint // its text is the output
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lines = append(x.lines, lines...)
	return nil
}
